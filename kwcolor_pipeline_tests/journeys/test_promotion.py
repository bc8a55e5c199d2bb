"""Which version is champion, through the real assets and MLflow's own database.

The networks are replaced by an oracle of a chosen quality: only who wins is of interest here.
"""

import dagster as dg
import numpy as np
import pytest

from kwcolor_pipeline.definitions import build_definitions
from kwcolor_pipeline.evaluation import comparison
from kwcolor_pipeline.networks.bundle import read_bundle
from kwcolor_pipeline.orchestration import incremental
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline.tracking.mlflow_tracking import CHAMPION, MODEL_NAME, Tracking
from kwcolor_pipeline.training.stages import latest

JUDGED = ("gan_model", "evaluation_report", "colorized_gallery")


class Contest:
    """A trained home in which further models of a chosen quality are trained and judged."""

    def __init__(self, settings, instance):
        self.settings, self.instance = settings, instance
        self.qualities: dict[str, float] = {}
        self.next_quality = 0.0
        self.truths = {pair.gray.tobytes(): pair.color for pair in read_pairs(settings.paths, "test")}

    def open_colorizer(self, folder, device):
        """1 gives the truth and 0 the grey copy; a model keeps the quality that it was first opened with."""
        quality = self.qualities.setdefault(read_bundle(folder).weights_sha256, self.next_quality)

        def colorize(gray):
            grey = np.repeat(gray[:, :, None], 3, axis=2).astype(float)
            truth = self.truths[gray.tobytes()]
            return (grey + quality * (truth - grey)).round().clip(0, 255).astype(np.uint8)

        return colorize

    def run(self, quality=0.0, **training):
        """Run with these training fields; gives the materialized assets."""
        self.next_quality = quality
        self.settings = self.settings.model_copy(update={"training": self.settings.training | training})
        outcome = incremental.run(
            self.settings, build_definitions(self.settings), self.instance, MLflow(self.settings), select=JUDGED
        )
        assert outcome.problems == []
        return outcome.materialized

    @property
    def aliases(self):
        return {version.number: version.aliases for version in MLflow(self.settings).open().versions()}

    def move_champion(self, number):
        MLflow(self.settings).open()._client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(number))

    def metadata(self, asset, name):
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset))
        return event.asset_materialization.metadata[name].value


@pytest.fixture
def contest(trained_settings, monkeypatch):
    with dg.DagsterInstance.ephemeral() as instance:
        contest = Contest(trained_settings, instance)
        # The pretrained generator stands beside the models and takes no part.
        contest.qualities[latest(trained_settings.paths, "pretrained_generator").bundle.weights_sha256] = 0.1
        monkeypatch.setattr(comparison, "open_colorizer", contest.open_colorizer)
        yield contest


def test_the_champion_moves_when_a_model_is_surely_better_and_at_no_other_time(contest):
    assert contest.run(quality=0.5) == list(JUDGED)
    assert contest.aliases == {1: ("champion",)}
    assert "first champion" in contest.metadata("evaluation_report", "verdict")
    assert contest.run() == []

    contest.run(quality=0.3, gan_lr=1e-4)
    assert contest.aliases == {1: ("champion",), 2: ("challenger",)}
    assert "version 1 stays champion" in contest.metadata("evaluation_report", "verdict")
    assert "version 1 (champion)" in contest.metadata("colorized_gallery", "model")
    assert contest.run() == []

    contest.run(quality=0.8, gan_lr=2e-4)
    assert contest.aliases == {1: (), 2: (), 3: ("champion",)}
    assert "replaces version 1" in contest.metadata("evaluation_report", "verdict")
    assert "version 3 (champion)" in contest.metadata("colorized_gallery", "model")
    assert contest.run() == []

    # Somebody goes back to the former champion: it stays, and only the gallery follows.
    contest.move_champion(1)
    assert contest.run() == ["colorized_gallery"]
    assert contest.aliases[1] == ("champion",)
    assert "version 1 (champion)" in contest.metadata("colorized_gallery", "model")
    assert contest.run() == []

    # The same weights again, by way of the former settings, are no new version.
    contest.run(gan_lr=1e-4)
    assert set(contest.aliases) == {1, 2, 3}
    assert contest.aliases[1] == ("champion",)


def test_a_model_that_is_worse_than_grey_never_becomes_champion(contest):
    contest.run(quality=-0.5)
    assert contest.aliases == {1: ("challenger",)}
    assert "worse than the grey copy" in contest.metadata("evaluation_report", "verdict")
    assert "there is no champion" in contest.metadata("colorized_gallery", "model")
    assert contest.run() == []
    contest.run(quality=0.2, gan_lr=1e-4)
    assert contest.aliases[2] == ("champion",)


def test_a_report_that_was_killed_before_it_could_promote_promotes(contest, monkeypatch):
    def killed_here(*_):
        raise RuntimeError("killed here")

    contest.next_quality = 0.5
    with monkeypatch.context() as killed:
        killed.setattr(Tracking, "promote", killed_here)
        outcome = incremental.run(
            contest.settings,
            build_definitions(contest.settings),
            contest.instance,
            MLflow(contest.settings),
            select=JUDGED,
        )
        assert any("killed here" in problem for problem in outcome.problems)
    assert contest.aliases == {1: ("challenger",)}
    assert contest.run(quality=0.5)[0] == "evaluation_report"
    assert contest.aliases == {1: ("champion",)}
    assert contest.metadata("evaluation_report", "reused") is True
