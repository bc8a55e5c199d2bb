"""Which licences a photograph from the network may have.

Belongs here: reading what archives write about rights. Which field of an answer says it is the source's affair.
"""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import urlsplit

#: The only licences of photographs that are stored from network sources; later ones ask for more, or tell less.
ALLOWED = ("public domain", "CC0", "no known restrictions", "CC BY", "CC BY-SA")

#: Longer statements are prose; whatever they allow, they do not allow it plainly.
_LONGEST = 500
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−_"), "-")

# A statement allows something only where all of it is one of these forms. Searching for words that take
# it back ("probably", "not", "non-commercial", in any language) would miss those that nobody thought of.
# They are written in lower case, with single spaces, and a plain hyphen for any dash or underscore.
_VERSION = r"[1-4]\.[0-9]"
#: What follows a version: the countries that Creative Commons licences were adapted to, by code or as often written.
_PORTED = (
    r"(?:generic|unported|international|igo|scotland|"
    r"a[rtuz]|b[egr]|c[ahlnorz]|d[ek]|e[cegs]|f[ir]|g[ert]|h[kru]|i[elnt]|j[op]|kr|l[ku]|m[kxty]|n[lz]|p[ehlrt]|"
    r"r[os]|s[egi]|t[hw]|u[gks]|v[en]|za|"
    r"australia|austria|canada|france|germany|italy|japan|netherlands|poland|south korea|spain|united states)"
)
_ISSUE = rf"(?:[- ]{_VERSION}(?:[-,/ ]+{_VERSION})*(?:[- ]{_PORTED})?)?"
_PUBLISHING = r"(?:publication|reproduction|distribution|use|reuse|re-use)"
_MORE_AT_LOC = (
    r"[.;,] for (?:more |further |general )*information,? see "
    r"(?:u\.s\. farm security administration/office of war information (?:color |black & white )?photographs ?)?"
    r"\(?https?://(?:www\.)?loc\.gov/rr/print/res/[0-9]{1,3}-[a-z]{1,8}\.html\)?"
)
_FORMS = {
    "public domain": (
        r"(?:(?:this )?(?:work|image|file|photo|photograph|item) is )?(?:in )?(?:the )?public domain",
        r"(?:creative commons )?public domain mark(?: 1\.0)?",
        r"gemeinfrei|domaine public|dominio público|pubblico dominio|publiek domein",
        r"pd|pdm|cc[- ]pd|cc[- ]pdm|pd-mark|pd-(?:self|user|author|release)|pd-old(?:-auto)?(?:-[0-9]+)?",
        r"pd-usgov(?:-(?:military|army|navy|marines|air force|coast guard|fsa|owi|doi|nasa|potus))*",
    ),
    "CC0": (
        r"(?:creative commons )?cc[- ]?(?:0|zero)(?:[- ]1\.0)?(?: universal)?(?: licen[cs]e)?"
        r"(?: \(cc0 1\.0\))?(?:,? \(?public domain dedication\)?)?",
        r"creative commons zero(?: 1\.0)?(?: universal)?(?:,? \(?public domain dedication\)?)?",
        r"public domain dedication \(cc0\)",
    ),
    "no known restrictions": (
        rf"(?:there are )?no known (?:copyright |copyright or other |rights )?restrictions?"
        rf"(?: on {_PUBLISHING}(?:(?:, | and | or |/){_PUBLISHING})*)?"
        rf"(?:{_MORE_AT_LOC})?",
        # What the Library of Congress writes of the FSA/OWI photographs, which the government made.
        r"no known restrictions on images made by the u\.s\. government; "
        r"images copied from other sources may be restricted",
        # How Wikimedia Commons calls Flickr's "no known copyright restrictions".
        r"no restrictions",
    ),
    "CC BY": (
        rf"(?:cc|creative commons)[- ]by{_ISSUE}(?: licen[cs]e)?",
        rf"creative commons attribution{_ISSUE}(?: licen[cs]e)?(?: \(cc[- ]by{_ISSUE}\))?",
        rf"attribution {_VERSION}(?:[- ]{_PORTED})?(?: \(cc[- ]by{_ISSUE}\))?",
    ),
    "CC BY-SA": (
        rf"(?:cc|creative commons)[- ]by[- ]sa{_ISSUE}(?: licen[cs]e)?",
        rf"creative commons attribution[- ]+share ?-?alike{_ISSUE}(?: licen[cs]e)?(?: \(cc[- ]by[- ]sa{_ISSUE}\))?",
        rf"attribution[- ]+share ?-?alike {_VERSION}(?:[- ]{_PORTED})?(?: \(cc[- ]by[- ]sa{_ISSUE}\))?",
    ),
}
_ALLOWING = {kind: re.compile("|".join(f"(?:{form})" for form in forms)) for kind, forms in _FORMS.items()}

_CC_ISSUE = (
    rf"(?:/{_VERSION}(?:/(?!nc\b|nd\b)(?:[a-z]{{2}}|igo|scotland))?)?(?:/(?:deed|legalcode)(?:\.[A-Za-z_-]+)?)?/?"
)
_CC_PATHS = {
    "CC BY": re.compile(f"/licenses/by{_CC_ISSUE}"),
    "CC BY-SA": re.compile(f"/licenses/by-sa{_CC_ISSUE}"),
    "CC0": re.compile(f"/publicdomain/zero{_CC_ISSUE}"),
    "public domain": re.compile(f"/publicdomain/mark{_CC_ISSUE}|/licenses/publicdomain/?"),
}
_NO_KNOWN_PATHS = {"no known restrictions": re.compile(r"/(?:vocab|page)/NKC(?:/1\.0)?/?")}
#: Hosts whose addresses name a licence each, and the paths of those that are allowed.
_LICENCE_HOSTS = {"creativecommons.org": _CC_PATHS, "rightsstatements.org": _NO_KNOWN_PATHS}
_FORBIDDEN = "forbidden"


@dataclass(frozen=True)
class Licence:
    """A licence as it is recorded: one of ``ALLOWED`` where ``kind`` is not None."""

    kind: str | None
    text: str | None
    url: str | None

    @property
    def refusal(self) -> str | None:
        """The manifest's reason to refuse a photograph under it; None where it may be stored."""
        if self.kind is not None:
            return None
        said = self.text or self.url
        return f"licence: {said[:200]}" if said else "licence: none is stated"


def read_licence(text: str | None, url: str | None = None) -> Licence:
    """What a source says about the rights in one photograph.

    Strict: only a statement that says one of ``ALLOWED`` and nothing else allows anything. One that is
    hedged ("probably public domain"), limited to a country ("public domain in the United States"),
    negated, or in words that are not known here allows nothing, whatever the address beside it; nor
    does an address that contradicts the text. Nothing stated allows nothing. Of a text and an address that
    both allow, the one that asks for more counts.
    """
    stated = [_kind_of_statement(text), _kind_of_address(url)]
    kinds = [kind for kind in stated if kind is not None]
    if not kinds or _FORBIDDEN in kinds:
        return Licence(None, text, url)
    return Licence(max(kinds, key=ALLOWED.index), text, url)


def _kind_of_statement(text: str | None) -> str | None:
    """The licence that a text states; None where it states nothing, ``_FORBIDDEN`` where none that is allowed."""
    if not (text or "").strip():
        return None
    said = _plain(text or "")
    if re.fullmatch(r"https?://\S+", said, re.IGNORECASE):
        return _kind_of_address(said)
    said = said.casefold()
    return next((kind for kind, form in _ALLOWING.items() if form.fullmatch(said)), _FORBIDDEN)


def _plain(text: str) -> str:
    """The text with one spelling of dashes and spaces; nothing of a text that is too long."""
    if len(text) > _LONGEST:
        return ""
    spelled = unicodedata.normalize("NFKC", text).translate(_DASHES)
    return " ".join(spelled.split()).strip(" .;,:[]\"'")


def _kind_of_address(url: str | None) -> str | None:
    """The licence that an address names; None where it names none, ``_FORBIDDEN`` where one that is not allowed."""
    host, path = _host_and_path(url)
    paths = _LICENCE_HOSTS.get(host.removeprefix("www."))
    if paths is None:
        return None
    return next((kind for kind, form in paths.items() if form.fullmatch(path)), _FORBIDDEN)


def _host_and_path(url: str | None) -> tuple[str, str]:
    try:
        parts = urlsplit((url or "").strip())
        return (parts.hostname or "").rstrip("."), parts.path
    except ValueError:
        return "", ""
