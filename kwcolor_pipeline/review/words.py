"""Reasons in plain words: what a rule of curation found, with its number and its bound.

Belongs here: sentences for people. Which rules there are and what they decide is curation's affair.
"""

from collections.abc import Mapping
from typing import Any

_SENTENCES: dict[str, str] = {
    "unreadable": "The file cannot be read",
    "title_says_colorized": "The title says that the colours were added later",
    "perhaps_colorized": "The colours may have been added later",
    "too_small": "Too small",
    "not_colour": "Hardly any colour",
    "toned": "One tone only, like sepia",
    "not_a_photograph": "Does not look like a photograph",
    "screenshot_or_logo": "Looks like a screenshot or a logo",
    "drawing_or_map": "Looks like a drawing, a map or a poster",
    "document_or_title_card": "Looks like a page or a title card",
    "collage": "Looks like several pictures in one",
    "off_topic": "Seems to be about something else",
    "turned_down": "Turned down by a person",
}


def in_words(reason: str) -> str:
    """A reason's sentence without an end; what is none of the known ones as it is written, with spaces."""
    return _SENTENCES.get(reason) or reason[:1].upper() + reason[1:].replace("_", " ")


def explained(row: Mapping[str, Any]) -> str:
    """Why the photograph of a curated row is kept or not, and why a person should look, in one or two sentences.

    ``review`` is a sentence of curation's own.
    """
    reason, review = row.get("reason"), row.get("review")
    said = [in_words(reason) if reason else "Nothing speaks against it"]
    if review:
        said.append(review)
    return ". ".join(said) + _measured(row) + "."


def _measured(row: Mapping[str, Any]) -> str:
    number, threshold = row.get("number"), row.get("threshold")
    if number is None or threshold is None:
        return ""
    return f" ({_short(number)}; the bound is {_short(threshold)})"


def _short(number: float) -> str:
    """Three digits, or a whole year."""
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
