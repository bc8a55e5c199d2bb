"""What the three training assets share: the launchpad's knobs, epochs in logs and MLflow, metadata."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pydantic

from kwcolor_pipeline.orchestration.metadata import curve, file_picture, picture, table
from kwcolor_pipeline.orchestration.resources import MLflow, link
from kwcolor_pipeline.orchestration.training_processes import train_in_processes
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.tracking.mlflow_tracking import TrackedRun, Tracking
from kwcolor_pipeline.training.presets import PRESETS, Preset, load_preset


def _launchpad_fields() -> dict[str, Any]:
    """The preset's name and, for each of its numbers and words, an optional replacement."""
    name = pydantic.Field(None, description=f"One of {', '.join(PRESETS)}; empty for the one in the settings")
    fields: dict[str, Any] = {"preset": (str | None, name)}
    for key, field in Preset.model_fields.items():
        if field.annotation in (int, float, str) and key != "name":
            text = f"{field.description}; empty for the preset's own"
            fields[key] = (field.annotation | None, pydantic.Field(None, description=text))
    return fields


#: What the launchpad shows for a training asset.
TrainingConfig: type[dg.Config] = pydantic.create_model("TrainingConfig", __base__=dg.Config, **_launchpad_fields())


def chosen_preset(config: dg.Config, settings: Settings) -> Preset:
    """The preset of the launchpad, else of the settings, with both their replacements."""
    asked = config.model_dump()
    name = asked.pop("preset") or settings.preset
    return load_preset(name, settings.training | {key: value for key, value in asked.items() if value is not None})


OnEpoch = Callable[[dict[str, float]], None]


#: Below this folder of an MLflow run lie the panels, one an epoch.
_PANELS = "panels"
_PANEL_TEXT = "grey, colorized, original"


@contextlib.contextmanager
def reported_training(
    context: dg.AssetExecutionContext,
    mlflow: MLflow,
    params: Mapping[str, Any],
    panel_of: Callable[[int], Path] | None = None,
) -> Iterator[tuple[Tracking, TrackedRun, OnEpoch]]:
    """An MLflow run, and a callback that reports every epoch to it, to the log and to the asset's page.

    ``panel_of`` gives the file in which an epoch's picture may lie; it goes along where it is there.
    """
    with mlflow.run_for(context, params) as (tracking, run), run.system_metrics():

        def on_epoch(record: dict[str, float]) -> None:
            epoch = int(record["epoch"])
            numbers = {name: value for name, value in record.items() if name not in ("epoch", "step")}
            context.log.info(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
            run.log_metrics(numbers, step=epoch)
            metadata: dict[str, Any] = {"epoch": epoch, **numbers}
            panel = panel_of(epoch) if panel_of else None
            if panel is not None and panel.is_file():
                run.log_artifact(panel, _PANELS)
                metadata["panel"] = picture(panel.read_bytes(), _PANEL_TEXT)  # below sheets.MAX_BYTES
            context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata=metadata))

        yield tracking, run, on_epoch


#: Columns of the epoch table besides the epoch itself; a stage has some of them.
_SHOWN = (
    "train_loss",
    "valid_loss",
    "accuracy",
    "valid_chroma_error",
    "valid_frechet_lite0",
    "valid_colourfulness_distance",
    "score",
    "images_per_second",
    "seconds",
)


def training_metadata(trained: Any, preset: Preset) -> dict[str, Any]:
    """Curves, the last epochs as a table, the preview, paths. ``trained``: training.stages.Trained."""
    history = trained.history
    curves = [key for key in ("accuracy", "valid_chroma_error") if key in history[0]]
    shown = ["epoch", *(key for key in _SHOWN if key in history[0])]
    return {
        "reused": trained.reused,
        "preset": preset.name,
        "epochs": len(history),
        "best_epoch": trained.result.summary["best_epoch"],
        "loss_curves": curve(history, ["train_loss", *curves]),
        "epoch_table": table([{key: record[key] for key in shown} for record in history[-12:]]),
        "bundle": dg.MetadataValue.path(str(trained.bundle.folder)),
        **file_picture(trained.bundle.folder / "preview.webp", _PANEL_TEXT),
    }


def train_or_reuse(
    context: dg.AssetExecutionContext,
    mlflow: MLflow,
    request: Any,
    train: Callable[[OnEpoch], Any],
    and_then: Callable[[Tracking, TrackedRun, Any], None] = lambda *_: None,
) -> tuple[Any, dict[str, Any]]:
    """The request's finished training, made now under an MLflow run unless it exists; and metadata about it.

    ``request`` is a training.stages.Request, the result a training.stages.Trained. ``and_then`` is called with
    a new training's result while its MLflow run is open. Where the settings ask for several processes, they train
    instead of ``train``.
    """
    from kwcolor_pipeline.training.stages import existing

    trained = existing(request)
    if trained is not None:
        context.log.info("The pairs, the preset and the code are the same as last time; the weights stand.")
        return trained, training_metadata(trained, request.preset)
    with reported_training(context, mlflow, request.preset.model_dump(), request.panel) as (tracking, run, on_epoch):
        run.set_tags({"kwcolor.pairs": request.asked["pairs"]})
        if request.settings.training_processes > 1:
            train_in_processes(context, request.settings, request.stage, request.preset, on_epoch)
            finished = existing(request)
            assert finished is not None  # the processes ended well
            trained = dataclasses.replace(finished, reused=False)
        else:
            trained = train(on_epoch)
        for file in sorted(trained.bundle.folder.glob("*.*")):
            if file.suffix in (".json", ".md", ".webp"):
                run.log_artifact(file)
        and_then(tracking, run, trained)
    return trained, training_metadata(trained, request.preset) | link(run)
