"""Reasons in plain words: what a rule of curation found, with its number and its bound.

Belongs here: sentences for people. Which rules there are and what they decide is curation's affair.
"""

from collections.abc import Mapping
from typing import Any

_SENTENCES: dict[str, str] = {
    "unreadable": "The file cannot be read",
    "title_says_colorized": "The title says that the colours were added later",
    "perhaps_colorized": "Other copies have no colours, so these may have been added later",
    "too_small": "Too small",
    "not_colour": "Hardly any colour",
    "toned": "One tone only, like sepia",
    "tinted": "Tinted, not photographed in colour",
    "not_a_photograph": "Looks like a drawing, map, page or screenshot",
    "off_topic": "Seems to be about something else",
    "turned_down": "Turned down by a person",
    "borderline": "Close to a bound",
}


def in_words(reason: str) -> str:
    """A reason's sentence without an end; an unknown one as it is written, with spaces."""
    return _SENTENCES.get(reason) or reason.replace("_", " ").capitalize()


def explained(row: Mapping[str, Any]) -> str:
    """Why the photograph of a curated row is kept or not, and why a person should look, in one or two sentences."""
    reason, review = row.get("reason"), row.get("review")
    said = [in_words(reason) if reason else "Nothing speaks against it"]
    if review and review != reason:
        said.append(in_words(review))
    return ". ".join(said) + _measured(row) + "."


def _measured(row: Mapping[str, Any]) -> str:
    number, threshold = row.get("number"), row.get("threshold")
    if number is None or threshold is None:
        return ""
    return f" ({_short(number)}; the bound is {_short(threshold)})"


def _short(number: float) -> str:
    """Three digits, or a whole year."""
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
