"""Who deserves to be champion: what has to hold of a new model, and whether it is surely better than the old one.

Belongs here: conditions on an evaluation's numbers, each with the sentence that is said where it does not hold.
Measuring is the affair of ``evaluate``, finding leaked photographs of ``leaks``; the model registry is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH, Evaluation
from kwcolor_pipeline.evaluation.intervals import Interval
from kwcolor_pipeline.evaluation.leaks import Leak, leaked
from kwcolor_pipeline.evaluation.report_data import SIGNIFICANCE
from kwcolor_pipeline.evaluation.report_text import p_text
from kwcolor_pipeline.settings import EvaluationSettings

#: The metric that decides about the champion; lower is better.
DECIDING_METRIC = "ciede2000"
#: What has to hold, by the names of the asset checks that show it.
BETTER_THAN_GREY = "better_than_grey"
NOT_WORSE = "not_worse_than_the_champion"
NO_COLLAPSE = "colours_did_not_collapse"
NO_LEAKS = "no_test_photograph_was_trained_on"


@dataclass(frozen=True)
class Rival:
    """The champion that the new model has to beat."""

    number: int
    weights_sha256: str
    folder: Path

    @property
    def name(self) -> str:
        return f"champion, version {self.number}"


@dataclass(frozen=True)
class Verdict:
    """Whether the new model becomes champion, and why."""

    promote: bool
    reason: str
    """One sentence"""
    problems: dict[str, str] = field(default_factory=dict)
    """What does not hold: name of the check to a sentence"""
    numbers: dict[str, Any] = field(default_factory=dict)
    """What decided: ``against``, ``photographs``, ``difference``, ``low``, ``high``, ``p_value``; CIEDE2000"""


def decide(
    evaluation: Evaluation, subject: str, rival: Rival | None, leaks: Sequence[Leak], wanted: EvaluationSettings
) -> Verdict:
    """The model ``subject`` against the grey copy and against the champion, on the same photographs.

    Nothing is promoted that is worse than grey, whose colours collapsed, or that may have trained on what it is tested
    on. The first model becomes champion otherwise. Later ones have to be better than the champion with the whole 95 %
    interval of the paired difference, and by its p-value: of a few photographs the interval alone is too narrow.
    """
    problems = {
        name: sentence
        for name, sentence in (
            (NO_LEAKS, leaked(leaks)),
            (BETTER_THAN_GREY, _worse_than_grey(evaluation, subject)),
            (NO_COLLAPSE, _collapsed(evaluation, subject, wanted)),
            (NOT_WORSE, _worse_than(evaluation, subject, rival)),
        )
        if sentence
    }
    opponent = rival.name if rival else GREY_COPY
    difference = evaluation.difference(DECIDING_METRIC, subject, opponent)
    p_value = evaluation.p_value(DECIDING_METRIC, subject, opponent)
    numbers = {
        "against": opponent,
        "photographs": len(evaluation.rows_of(subject)),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p_value": p_value,
    }
    text = f"{_text(difference)}, {p_text(p_value)}"
    if problems:
        return Verdict(False, f"It is not promoted: {' '.join(problems.values())}", problems, numbers)
    if rival is None:
        return Verdict(True, f"It is the first champion: better than the grey copy ({text}).", {}, numbers)
    if difference.high < 0 and p_value < SIGNIFICANCE:
        return Verdict(True, f"It replaces version {rival.number}: better by {text}.", {}, numbers)
    reason = f"Version {rival.number} stays champion: the new one is not surely better ({text})."
    return Verdict(False, reason, {}, numbers)


def _worse_than_grey(evaluation: Evaluation, subject: str) -> str | None:
    difference = evaluation.difference(DECIDING_METRIC, subject, GREY_COPY)
    return None if difference.value < 0 else f"It is worse than the grey copy ({_text(difference)})."


def _worse_than(evaluation: Evaluation, subject: str, rival: Rival | None) -> str | None:
    if rival is None:
        return None
    difference = evaluation.difference(DECIDING_METRIC, subject, rival.name)
    if difference.low <= 0:
        return None
    return f"It is worse than the champion; version {rival.number} stays champion ({_text(difference)})."


def _collapsed(evaluation: Evaluation, subject: str, wanted: EvaluationSettings) -> str | None:
    """Colours that are all but gone, or all of one hue, as where a network has learned to play safe or to cheat."""
    colourful, true_colourful = (np.mean(evaluation.values(name, "colourfulness")) for name in (subject, TRUTH))
    if colourful < wanted.min_colourfulness_share * true_colourful:
        return f"Its colours are all but gone: colourfulness {colourful:.1f}, the originals' is {true_colourful:.1f}."
    uniform, true_uniform = (np.mean(evaluation.values(name, "uniformity")) for name in (subject, TRUTH))
    if uniform - true_uniform > wanted.max_more_uniform:
        return f"Its colours are nearly all of one hue: uniformity {uniform:.2f}, the originals' is {true_uniform:.2f}."
    return None


def _text(difference: Interval) -> str:
    text = f"{difference.value:+.2f} CIEDE2000, 95 % interval {difference.low:+.2f} to {difference.high:+.2f}"
    return text.replace("-", "−")
