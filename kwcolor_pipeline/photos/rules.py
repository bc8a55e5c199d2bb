"""The rules of curation: what speaks against one copy of a photograph, with the number and the bound.

Belongs here: the rules in their order, what is nearly a case of them, and the measures that they need. How a cluster
of copies comes to one answer, and what people decide, is the affair of ``curation``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kwcolor_pipeline.photos.measured import Row
from kwcolor_pipeline.photos.topic import Words
from kwcolor_pipeline.settings import CurationSettings

Column = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Reasons that mean that a picture has no colours of its own.
COLOURLESS = ("not_colour", "toned")
UNREADABLE, TITLE_SAYS_COLORIZED = "unreadable", "title_says_colorized"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of one copy."""

    reason: str | None
    """Why it is refused; None where it passes"""
    number: float | None = None
    threshold: float | None = None
    """The measure and the bound that decide, or that are nearly reached"""
    review: str | None = None
    """Why a person should look"""


_PASSES = Verdict(None)


@dataclass(frozen=True)
class Rule:
    """A bound on one measure: what is beyond it is refused."""

    reason: str
    measure: str
    setting: str
    is_least: bool
    """Whether smaller values are refused; else larger ones are"""
    nearly: str
    """What is said to the person who is asked because the value is near the bound"""


#: In the order in which reasons are given.
RULES = (
    Rule("too_small", "shortest_side", "min_side", True, "Perhaps too small"),
    Rule("not_colour", "strong_chroma", "min_strong_chroma", True, "Perhaps grey"),
    Rule(
        "not_a_photograph", "transparent_share", "max_transparent_share", False, "Perhaps a drawing on a clear ground"
    ),
    Rule("not_a_photograph", "spread", "max_spread", False, "Perhaps a colour chart"),
    Rule("screenshot_or_logo", "even_share", "max_even_share", False, "Perhaps a screenshot or a logo"),
    Rule("drawing_or_map", "plain_share", "max_plain_share", False, "Perhaps a drawing, a map or a poster"),
    Rule("document_or_title_card", "few_colours", "max_few_colours", False, "Perhaps a page or a title card"),
    Rule("collage", "bar", "max_bar", False, "Perhaps a collage"),
    Rule("toned", "spread", "min_spread", True, "Perhaps one tone only"),
)


def judge(rows: Sequence[Row], measures: Mapping[str, Row], wanted: CurationSettings) -> list[Verdict]:
    """What the rules say of each copy. ``rows`` have a ``photo_id`` and a ``title``; ``measures`` are by photo_id."""
    values = _values(rows, measures)
    beyond: Mask = np.stack([_beyond(rule, values, wanted) for rule in RULES])
    near: Mask = np.stack([_near(rule, values, wanted) for rule in RULES])
    refused: Mask = np.logical_or.reduce(beyond)
    # Refused by one rule beyond doubt, it does not matter how near another one is.
    doubtful: Mask = np.logical_or.reduce(near) & ~np.logical_or.reduce(beyond & ~near)
    deciding = np.where(refused, beyond.argmax(axis=0), near.argmax(axis=0)).tolist()
    words = Words(wanted.refuse_words)
    verdicts = []
    for place, row in enumerate(rows):
        if measures[row["photo_id"]]["error"]:
            verdicts.append(Verdict(UNREADABLE))
        elif words.first_in(row["title"]):
            verdicts.append(Verdict(TITLE_SAYS_COLORIZED))
        elif refused[place] or doubtful[place]:
            rule = RULES[deciding[place]]
            verdicts.append(
                Verdict(
                    rule.reason if refused[place] else None,
                    float(values[rule.measure][place]),
                    float(getattr(wanted, rule.setting)),
                    rule.nearly if doubtful[place] else None,
                )
            )
        else:
            verdicts.append(_PASSES)
    return verdicts


def is_coloured(measures: Mapping[str, Any], wanted: CurationSettings) -> bool:
    """Whether colours were photographed: neither grey nor toned nor tinted."""
    return bool(measures["strong_chroma"] >= wanted.min_strong_chroma and measures["spread"] >= wanted.min_spread)


def _values(rows: Sequence[Row], measures: Mapping[str, Row]) -> dict[str, Column]:
    """The measures as columns; not a number where a copy could not be read, which no rule is beyond or near."""
    names = {rule.measure for rule in RULES} - {"shortest_side"} | {"left", "top", "right", "bottom"}
    measured = [measures[row["photo_id"]] for row in rows]
    values = {name: np.array([one.get(name) for one in measured], dtype=np.float64) for name in names}
    return values | {
        "shortest_side": np.minimum(values["right"] - values["left"], values["bottom"] - values["top"]),
    }


def _beyond(rule: Rule, values: Mapping[str, Column], wanted: CurationSettings) -> Mask:
    value, bound = values[rule.measure], getattr(wanted, rule.setting)
    return value < bound if rule.is_least else value > bound


def _near(rule: Rule, values: Mapping[str, Column], wanted: CurationSettings) -> Mask:
    value, bound = values[rule.measure], getattr(wanted, rule.setting)
    near: Mask = np.abs(value - bound) <= wanted.borderline_share * abs(bound)
    return near
