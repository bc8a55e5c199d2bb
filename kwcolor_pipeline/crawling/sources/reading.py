"""Reading answers that may be anything: JSON whose fields are missing or of another type, and addresses.

Belongs here: what the parsers of several sources need to take one field safely. What a field means does not.
"""

import html
import json
import re
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from kwcolor_pipeline.crawling.sources.base import ListingProblem

_LONGEST_TEXT = 2000
_LONGEST_ADDRESS = 4000
_TAG = re.compile(r"<[^<>]*>")
_COLOUR = re.compile(r"\bcolou?rs?\b|\bkodachromes?\b|\bagfacolor\b|\bautochromes?\b")
_BLACK_AND_WHITE = re.compile(r"\bb ?& ?w\b|\bb/w\b|\bbw\b|\bblack[ -]and[ -]white\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that ``body`` is; raises ListingProblem where it is none."""
    try:
        listing = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ListingProblem("the answer is not JSON") from error
    if not isinstance(listing, dict):
        raise ListingProblem("the answer is not a JSON object")
    return listing


def nested(value: Any, *path: str | int) -> Any:
    """What lies at ``path`` in nested objects and lists; None where something on the way is missing."""
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; an empty list where the value is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """One line of text of a field that may be text, a number or a list of them; None where there is none."""
    parts = [_one(part) for part in (value if isinstance(value, list) else [value])]
    return " ".join(_CONTROL.sub(" ", " ".join(parts)).split())[:_LONGEST_TEXT] or None


def text_of_html(value: Any) -> str | None:
    """One line of text of a field that holds HTML, tags taken out and character references resolved."""
    marked = text(value)
    return text(html.unescape(_TAG.sub(" ", marked))) if marked else None


def whole_number(value: Any) -> int | None:
    """A number of at most 15 digits that may be written as text; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**15 else None
    if isinstance(value, str) and len(value) <= 15 and value.isascii() and value.isdecimal():
        return int(value)
    return None


def web_address(value: Any, base: str | None = None) -> str | None:
    """An absolute http(s) address, without its fragment; None where the value is none.

    Relative addresses are completed with ``base``.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_ADDRESS or _CONTROL.search(value):
        return None
    try:
        address = urldefrag(urljoin(base or "", value.strip())).url
        parts = urlsplit(address)
        _ = parts.port  # raises where it is no port
    except ValueError:  # such as an unclosed IPv6 bracket
        return None
    return address if parts.scheme in ("http", "https") and parts.hostname and not parts.username else None


def _one(part: Any) -> str:
    if isinstance(part, str):
        return part
    return str(part) if isinstance(part, int) and not isinstance(part, bool) and abs(part) < 10**15 else ""


def catalogued_tone(*described: str | None) -> str | None:
    """`colour` or `bw` where an archive's words about the original (its medium, its categories) say one and not both.

    "1 transparency : color" is colour; "hand-colored" and "colorized" are neither.
    """
    words = " ".join(one for one in described if one).casefold()
    colour, black_and_white = _COLOUR.search(words), _BLACK_AND_WHITE.search(words)
    if bool(colour) == bool(black_and_white):
        return None
    return "colour" if colour else "bw"
