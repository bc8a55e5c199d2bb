"""Answers of archives, spoilt by chance: what every parser of listings has to survive.

Belongs here: the generator that the sources' tests share. What a parser shall make of an answer does not.
"""

import copy
from collections.abc import Callable
from random import Random
from typing import Any

ADDRESSES = (
    "javascript:alert(1)",
    "file:///etc/passwd",
    "http://[::1",
    "http://[::1]:99999/a.jpg",
    "https://user:secret@example.org/a.jpg",
    "http://",
    "//",
    "data:image/png;base64,AAAA",
    "ftp://example.org/a.jpg",
    "https://example.org:port/a.jpg",
    "https://example.org/" + "a" * 5000,
    "https://example.org/a b.jpg\r\nX-Evil: 1",
    "https://exa\u202emple.org/a.jpg",
    "https://\ud800.org/a.jpg",
    "https://xn--\u0130.org/\u2028",
)
TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "a\nb\r\nc",
    "\ud800",
    "\u202egnp.exe",
    "x" * 100_000,
    "9" * 5000,
    "<script>alert(1)</script>",
    "&#x110000;&#0;&amp;",
    "../../etc/passwd",
    "194?-19--/[0000]",
    "-1",
    "1e400",
    "NaN",
    "%s%n{0}",
    "\u0661\u0669\u0664\u0663",
    "²",
)
NUMBERS = (0, -1, 1, 2**31, 2**63, -(10**30), 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"))
OTHERS = (None, True, False, [], {}, [[]], [None], {"": None}, [[], {}, "a", 1], {"a": {"a": {"a": {}}}})


def mutated(value: Any, random: Random) -> Any:
    """A copy of a JSON value with one to four places deleted, doubled, nested, swapped or replaced by rubbish.

    The result is JSON as `json.dumps` writes it, NaN and lone surrogates included; it may be of another
    type than ``value``, but seldom, for most places lie deep.
    """
    whole = [copy.deepcopy(value)]
    for _ in range(random.randint(1, 4)):
        container, place = random.choice(list(_places(whole)))
        random.choices(_CHANGES, _WEIGHTS)[0](container, place, random)
        if not whole:
            whole.append(None)
    return whole[0]


def _places(container: Any) -> list[tuple[Any, Any]]:
    """Every container inside ``container`` with every key or index in it."""
    found: list[tuple[Any, Any]] = []
    waiting = [container]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else list(range(len(one)))
        found += [(one, key) for key in keys]
        waiting += [one[key] for key in keys if isinstance(one[key], (dict, list))]
    return found


def _delete(container: Any, place: Any, random: Random) -> None:
    del container[place]


def _replace(container: Any, place: Any, random: Random) -> None:
    container[place] = copy.deepcopy(random.choice(random.choice((ADDRESSES, TEXTS, NUMBERS, OTHERS))))


def _nest(container: Any, place: Any, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 50))):
        container[place] = random.choice(([container[place]], {"value": container[place]}))


def _flatten(container: Any, place: Any, random: Random) -> None:
    inner = container[place]
    if isinstance(inner, (dict, list)) and inner:
        container[place] = random.choice(list(inner.values()) if isinstance(inner, dict) else inner)
    else:
        container[place] = str(inner)[:1]


def _swap(container: Any, place: Any, random: Random) -> None:
    other = random.choice(list(container) if isinstance(container, dict) else range(len(container)))
    container[place], container[other] = container[other], container[place]


def _multiply(container: Any, place: Any, random: Random) -> None:
    container[place] = [copy.deepcopy(container[place]) for _ in range(random.choice((2, 3, 30)))]


def _spoil_text(container: Any, place: Any, random: Random) -> None:
    if not isinstance(container[place], str):
        return _replace(container, place, random)
    at = random.randint(0, len(container[place]))
    container[place] = container[place][:at] + random.choice(TEXTS)[:20] + container[place][at:]
    return None


def _spoil_key(container: Any, place: Any, random: Random) -> None:
    if isinstance(container, dict):
        container[random.choice(TEXTS)[:20]] = container.pop(place)
    else:
        container.insert(place, copy.deepcopy(random.choice(OTHERS)))


_CHANGES: tuple[Callable[[Any, Any, Random], None], ...] = (
    _delete,
    _replace,
    _nest,
    _flatten,
    _swap,
    _multiply,
    _spoil_text,
    _spoil_key,
)
_WEIGHTS = (3, 6, 1, 1, 1, 1, 3, 1)
