"""Who becomes champion, and the comparison on tiny models."""

from pathlib import Path

import pytest

from kwcolor_pipeline.evaluation import comparison
from kwcolor_pipeline.evaluation.comparison import (
    GAN,
    GENERATOR,
    Rival,
    compare,
    current_comparison,
    decide,
    latest_comparison,
)
from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH, Evaluation, PhotographRow, TableRow
from kwcolor_pipeline.evaluation.metrics import Interval, PhotographMetrics
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.stages import latest

RIVAL = Rival(3, "f" * 64, Path("champion"))


def made_up(**errors: list[float]) -> Evaluation:
    """An evaluation in which only CIEDE2000 differs; keyword names stand for colorizers."""
    names = {"grey": GREY_COPY, "gan": GAN, "champion": RIVAL.name}
    rows = [
        PhotographRow(f"photo{number}", f"Photo {number}", names[key], PhotographMetrics(20, 0.9, error, 10))
        for key, values in errors.items()
        for number, error in enumerate(values)
    ]
    return Evaluation(rows, [TableRow(names[key], {"ciede2000": Interval(0, 0, 0)}) for key in errors], seed=0)


BASE = [8.0, 9.0, 11.0, 12.0, 7.0, 10.0, 9.5, 8.5]


def shifted(*by: float) -> list[float]:
    return [value + by[number % len(by)] for number, value in enumerate(BASE)]


@pytest.mark.parametrize(
    ("gan", "champion", "promote", "beats_grey", "says"),
    [
        (shifted(-1, -2), None, True, True, "the first champion"),
        (shifted(-9, +8.9), None, True, True, "the first champion"),  # barely better is better than having none
        (shifted(+1), None, False, False, "worse than the grey copy"),
        (BASE, None, False, False, "worse than the grey copy"),
        (shifted(-3), shifted(-1), True, True, "It replaces version 3"),
        (shifted(-1), shifted(-3), False, True, "Version 3 stays champion"),
        (shifted(-1), shifted(-1), False, True, "Version 3 stays champion"),
        # Better on average, and not surely: the interval of the difference reaches over zero.
        (shifted(-4, +2), shifted(-0.5), False, True, "not surely better"),
        # Better than a bad champion is not enough when grey is better still.
        (shifted(+1), shifted(+4), False, False, "worse than the grey copy"),
    ],
)
def test_the_verdict(
    gan: list[float], champion: list[float] | None, promote: bool, beats_grey: bool, says: str
) -> None:
    others = {} if champion is None else {"champion": champion}
    verdict = decide(made_up(grey=BASE, gan=gan, **others), RIVAL if champion else None)
    assert (verdict.promote, verdict.beats_grey) == (promote, beats_grey)
    assert says in verdict.reason


def test_pairs_decide_and_not_means() -> None:
    """Photographs differ far more among themselves than the models do on each of them."""
    wide = [1.0, 40.0, 3.0, 70.0, 15.0, 25.0, 9.0, 55.0]
    better = [value - 0.2 for value in wide]
    assert decide(made_up(grey=[v + 5 for v in wide], gan=better, champion=wide), RIVAL).promote


def test_a_comparison_is_made_once(trained_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsProblem, match="no report yet"):
        latest_comparison(trained_settings)
    assert current_comparison(trained_settings) is None
    first = compare(trained_settings, None, "version 1")
    assert first.evaluation.colorizers == [GREY_COPY, GENERATOR, GAN, TRUTH]
    assert first.rival_weights is None
    page = first.report.read_text()
    assert "version 1" in page
    assert first.verdict.reason

    def forbidden(*_: object) -> None:
        raise AssertionError("measured again")

    with monkeypatch.context() as patched:
        patched.setattr(comparison, "_measure", forbidden)
        again = compare(trained_settings, None, "version 1")
        assert (again.reused, again.result) == (True, first.result)
        # The model that this very report made champion is no rival of itself.
        own = latest(trained_settings.paths, "gan_model").bundle
        assert compare(trained_settings, Rival(1, own.weights_sha256, own.folder), "version 1").reused
    assert latest_comparison(trained_settings).result == first.result

    other = latest(trained_settings.paths, "pretrained_generator").bundle
    rival = Rival(7, other.weights_sha256, other.folder)
    second = compare(trained_settings, rival, "version 8")
    assert not second.reused
    assert second.evaluation.colorizers == [GREY_COPY, GENERATOR, GAN, "champion, version 7", TRUTH]
    assert second.rival_weights == other.weights_sha256
    assert compare(trained_settings, rival, "version 8").reused
    # The rival is the same network as the generator alone.
    assert second.evaluation.values(rival.name, "ciede2000") == second.evaluation.values(GENERATOR, "ciede2000")


def test_other_pairs_outdate_the_comparison(trained_settings: Settings) -> None:
    compare(trained_settings, None, "version 1")
    record = trained_settings.paths.pairs / "result.json"
    record.write_text(record.read_text().replace('"data_version": "', '"data_version": "0'))
    assert current_comparison(trained_settings) is None
    assert latest_comparison(trained_settings).reused
