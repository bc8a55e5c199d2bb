"""An asset that trains in two processes: what its page shows, how it fails, how it is interrupted."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

import kwcolor_pipeline_tests
from kwcolor_pipeline.assets.pretrained_generator import pretrained_generator
from kwcolor_pipeline.orchestration.resources import MLflow, default_resources
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline_tests.small_homes import TINY


@pytest.fixture
def settings(small_settings: Settings) -> Settings:
    training: dict[str, Any] = TINY | {"encoder": "test_efficientnet"}
    return small_settings.model_copy(update={"training": training, "training_processes": 2})


def test_epochs_are_observed_and_the_result_is_described_as_always(settings: Settings) -> None:
    result = dg.materialize([pretrained_generator], resources=default_resources(settings))

    events = [event for event in result.all_events if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    pages: list[Any] = [event.event_specific_data.asset_observation.metadata for event in events]  # type: ignore[union-attr]
    assert [page["epoch"].value for page in pages] == [1, 2]
    for page in pages:
        assert page["panel"].value.startswith("![grey, colorized, original](data:image/webp;base64,")
        assert page["train_loss"].value > 0
    [materialized] = result.asset_materializations_for_node("pretrained_generator")
    assert not materialized.metadata["reused"].value
    assert materialized.metadata["epochs"].value == 2
    tracking = MLflow(settings).open()
    [run] = tracking._client.search_runs([tracking._experiment_id])
    panels = Path(tracking.artifact_root, run.info.run_id, "artifacts", "panels")
    assert sorted(path.name for path in panels.iterdir()) == ["epoch-0001.webp", "epoch-0002.webp"]
    assert [point.step for point in tracking._client.get_metric_history(run.info.run_id, "score")] == [1, 2]
    assert run.info.status == "FINISHED"

    again = dg.materialize([pretrained_generator], resources=default_resources(settings))
    [materialized] = again.asset_materializations_for_node("pretrained_generator")
    assert materialized.metadata["reused"].value


def test_a_problem_of_a_process_is_the_assets(settings: Settings) -> None:
    settings = settings.model_copy(update={"training": settings.training | {"batch_size": 5}})
    with pytest.raises(SettingsProblem, match="A batch of 5 pictures cannot be shared out evenly to 2 processes"):
        dg.materialize([pretrained_generator], resources=default_resources(settings))


_RUN = """
import sys
from pathlib import Path
import dagster as dg
from kwcolor_pipeline.assets.pretrained_generator import pretrained_generator
from kwcolor_pipeline.orchestration.resources import default_resources
from kwcolor_pipeline_tests.small_homes import TINY, settings_for

settings = settings_for(Path(sys.argv[1]), training_processes=2)
training = TINY | {"encoder": "test_efficientnet", "pretrain_min_steps": 100_000}
settings = settings.model_copy(update={"training": training})
dg.materialize([pretrained_generator], resources=default_resources(settings))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_processes_save_and_end_with_the_asset(settings: Settings, how: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(kwcolor_pipeline_tests.__file__).parents[1])}
    command = [sys.executable, "-c", _RUN, str(settings.home)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as asset:
        models = settings.paths.models / "pretrained_generator"
        while asset.poll() is None and not models.exists():
            time.sleep(0.1)
        time.sleep(2)  # a few steps; how many does not matter
        processes = psutil.Process(asset.pid).children(recursive=True)
        getattr(asset, how)()
        assert asset.stderr is not None
        said = asset.stderr.read()
    assert len(processes) >= 3  # torchrun and two workers
    assert asset.returncode != 0
    assert psutil.wait_procs(processes, timeout=60)[1] == []
    assert "the next run goes on at step" in said
    assert len(list(models.glob("*.checkpoint"))) == 1
