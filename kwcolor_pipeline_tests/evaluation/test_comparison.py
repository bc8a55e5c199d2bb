"""The comparison on tiny models."""

import pytest

from kwcolor_pipeline.evaluation import comparison
from kwcolor_pipeline.evaluation.comparison import (
    GAN,
    GENERATOR,
    compare,
    current_comparison,
    latest_comparison,
)
from kwcolor_pipeline.evaluation.evaluate import GREY_COPY, TRUTH
from kwcolor_pipeline.evaluation.verdict import Rival
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.stages import latest


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
