"""What sites ask of programs: robots.txt (RFC 9309) and the header X-Robots-Tag.

Belongs here: reading both. Fetching robots.txt is `requesting`'s affair.
"""

import re
from collections.abc import Iterable

from protego import Protego

#: What robots.txt files call this crawler; the User-Agent begins with it.
PRODUCT = "kwcolor_pipeline"
#: RFC 9309, 2.5: at least 500 KiB of a robots.txt are read.
LARGEST_ROBOTS = 512 * 1024

#: What a site says that wants a picture neither indexed nor learned from. `none` is `noindex, nofollow`.
_OPT_OUTS = ("noai", "noimageai", "noml", "noindex", "noimageindex", "none")
_SCOPED = re.compile(r"\s*([A-Za-z0-9_.*-]+)\s*:\s*(.*)", re.DOTALL)
#: Directives that take a value after a colon, and are no crawler's name.
_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


class RobotsRules:
    """The rules of one site for this crawler."""

    def __init__(self, body: bytes) -> None:
        self._rules = Protego.parse(body[:LARGEST_ROBOTS].decode("utf-8-sig", "replace"))

    def allows(self, url: str) -> bool:
        """Whether the crawler may ask for ``url``; the longest rule that matches decides."""
        return bool(self._rules.can_fetch(url, PRODUCT))


#: RFC 9309, 2.3.1.3: where there is no robots.txt, everything may be asked for.
NO_RULES = RobotsRules(b"")


def opt_out(headers: Iterable[str]) -> str | None:
    """The directive of X-Robots-Tag headers that forbids storing a picture to learn from; None where none does.

    In each header a part that begins with a crawler's name (``googlebot: noindex``) counts for that crawler, and
    so does what follows it.
    https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag#xrobotstag
    """
    for header in headers:
        is_for_us = True
        for part in header.split(","):
            directive, scoped = part, _SCOPED.fullmatch(part)
            if scoped and scoped[1].lower() not in _WITH_VALUE:
                is_for_us = scoped[1].lower() in ("*", PRODUCT)
                directive = scoped[2]
            word = directive.strip().lower()
            if is_for_us and word in _OPT_OUTS:
                return word
    return None
