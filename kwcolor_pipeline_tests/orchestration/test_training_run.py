"""What an asset's page and MLflow show of a training."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kwcolor_pipeline.assets.pretrained_generator import pretrained_generator
from kwcolor_pipeline.orchestration.resources import MLflow, default_resources
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline_tests.small_homes import TINY

EPOCHS = 2


@pytest.fixture
def settings(small_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    training: dict[str, Any] = TINY | {"encoder": "test_efficientnet", "pretrain_min_steps": 60}
    return small_settings.model_copy(update={"training": training})


def observed(result: dg.ExecuteInProcessResult) -> list[dict[str, Any]]:
    events = [event for event in result.all_events if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    return [event.event_specific_data.asset_observation.metadata for event in events]  # type: ignore[union-attr]


def test_colours_can_be_watched_growing(settings: Settings) -> None:
    result = dg.materialize([pretrained_generator], resources=default_resources(settings))

    pages = observed(result)
    assert [page["epoch"].value for page in pages] == list(range(1, EPOCHS + 1))
    for page in pages:
        assert page["panel"].value.startswith("![grey, colorized, original](data:image/webp;base64,")
        assert len(page["panel"].value) < 4 / 3 * 60_000 + 100
        for name in ("train_loss", "images_per_second", "learning_rate/generator/0", "gradient_norm/generator"):
            assert page[name].value > 0

    tracking = MLflow(settings).open()
    [run] = tracking._client.search_runs([tracking._experiment_id])
    panels = Path(tracking.artifact_root, run.info.run_id, "artifacts", "panels")
    assert sorted(path.name for path in panels.iterdir()) == ["epoch-0001.webp", "epoch-0002.webp"]
    for name in ("train_loss", "score", "images_per_second", "learning_rate/generator/1", "gradient_norm/generator"):
        curve = tracking._client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in curve] == [1, 2]
    assert {name for name in run.data.metrics if name.startswith("system/")} >= {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
    }
    assert run.info.status == "FINISHED"


def test_a_training_that_was_there_is_not_told_again(settings: Settings) -> None:
    dg.materialize([pretrained_generator], resources=default_resources(settings))
    assert observed(dg.materialize([pretrained_generator], resources=default_resources(settings))) == []
