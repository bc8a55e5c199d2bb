"""Who becomes champion, and what keeps a model from it."""

from pathlib import Path

import pytest

from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH, Evaluation, PhotographRow, TableRow
from kwcolor_pipeline.evaluation.leaks import Leak
from kwcolor_pipeline.evaluation.metrics import PhotographMetrics
from kwcolor_pipeline.evaluation.verdict import (
    BETTER_THAN_GREY,
    NO_COLLAPSE,
    NO_LEAKS,
    NOT_WORSE,
    Rival,
    Verdict,
    decide,
)
from kwcolor_pipeline.settings import EvaluationSettings

GAN = "GAN model"
RIVAL = Rival(3, "f" * 64, Path("champion"))
LEAK = Leak("a" * 64, "Bridge", "b" * 64, "Bridge, detail", "train")


def made_up(
    gan: list[float], champion: list[float] | None = None, colourfulness: float = 10.0, uniformity: float = 0.4
) -> Evaluation:
    """An evaluation in which only CIEDE2000 differs, and the GAN model's colours as asked for."""
    errors = {GREY_COPY: BASE, GAN: gan, RIVAL.name: champion, TRUTH: [0.0] * len(BASE)}
    rows = [
        PhotographRow(
            f"photo{number}",
            f"Photo {number}",
            name,
            PhotographMetrics(
                psnr=20,
                ssim=0.9,
                ciede2000=error,
                ciede2000_p95=error,
                colourfulness=colourfulness if name == GAN else 20,
                uniformity=uniformity if name == GAN else 0.4,
                lite0_distance=0.1,
            ),
        )
        for name, values in errors.items()
        for number, error in enumerate(values or ())
    ]
    return Evaluation(rows, [TableRow(name, {}) for name, values in errors.items() if values], seed=0)


def verdict_of(evaluation: Evaluation, rival: Rival | None = None, leaks: tuple[Leak, ...] = ()) -> Verdict:
    return decide(evaluation, GAN, rival, leaks, EvaluationSettings())


BASE = [8.0, 9.0, 11.0, 12.0, 7.0, 10.0, 9.5, 8.5]


def shifted(*by: float) -> list[float]:
    return [value + by[number % len(by)] for number, value in enumerate(BASE)]


@pytest.mark.parametrize(
    ("gan", "champion", "promote", "problems", "says"),
    [
        (shifted(-1, -2), None, True, set(), "the first champion"),
        (shifted(-5, +4.9), None, True, set(), "the first champion"),  # barely better is better than having none
        (shifted(+1), None, False, {BETTER_THAN_GREY}, "worse than the grey copy"),
        (BASE, None, False, {BETTER_THAN_GREY}, "worse than the grey copy"),
        (shifted(-3), shifted(-1), True, set(), "It replaces version 3"),
        (shifted(-1), shifted(-3), False, {NOT_WORSE}, "version 3 stays champion"),
        (shifted(-1), shifted(-1), False, set(), "Version 3 stays champion"),
        # Better on average, and not surely: the interval of the difference reaches over zero.
        (shifted(-4, +2), shifted(-0.5), False, set(), "not surely better"),
        # Better than a bad champion is not enough when grey is better still.
        (shifted(+1), shifted(+4), False, {BETTER_THAN_GREY}, "worse than the grey copy"),
    ],
)
def test_the_verdict(
    gan: list[float], champion: list[float] | None, promote: bool, problems: set[str], says: str
) -> None:
    verdict = verdict_of(made_up(gan, champion), RIVAL if champion else None)
    assert (verdict.promote, set(verdict.problems)) == (promote, problems)
    assert says in verdict.reason


def test_pairs_decide_and_not_means() -> None:
    """Photographs differ far more among themselves than the models do on each of them."""
    evaluation = made_up([value - 5.2 for value in BASE], champion=[value - 5 for value in BASE])
    verdict = verdict_of(evaluation, RIVAL)
    assert verdict.promote
    assert verdict.numbers["against"] == RIVAL.name
    assert verdict.numbers["difference"] == pytest.approx(-0.2)
    assert verdict.numbers["low"] <= verdict.numbers["difference"] <= verdict.numbers["high"] < 0
    assert verdict.numbers["photographs"] == len(BASE)
    assert verdict.numbers["p_value"] == pytest.approx(2 / 2 ** len(BASE))  # all signs alike, of all that there are


@pytest.mark.parametrize(
    ("colours", "says"),
    [
        ({"colourfulness": 3.9}, "all but gone: colourfulness 3.9, the originals' is 20.0"),
        ({"uniformity": 0.75}, "of one hue: uniformity 0.75, the originals' is 0.40"),
    ],
)
def test_colours_that_collapsed_are_not_promoted_however_near_they_are(colours: dict[str, float], says: str) -> None:
    verdict = verdict_of(made_up(shifted(-5), shifted(-1), **colours), RIVAL)
    assert not verdict.promote
    assert set(verdict.problems) == {NO_COLLAPSE}
    assert says in verdict.reason
    assert verdict_of(made_up(shifted(-5), colourfulness=4.1, uniformity=0.69)).promote


def test_what_may_have_trained_on_its_test_is_not_promoted() -> None:
    verdict = verdict_of(made_up(shifted(-5)), leaks=(LEAK, LEAK))
    assert not verdict.promote
    assert set(verdict.problems) == {NO_LEAKS}
    assert "“Bridge” (aaaaaaaaaaaa…) is in train as “Bridge, detail” (bbbbbbbbbbbb…) and 1 more" in verdict.reason
    assert "kwcolor review" in verdict.reason
