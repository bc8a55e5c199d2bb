"""Asset: the generator after adversarial training, registered as a model version."""

from typing import Any

import dagster as dg

from kwcolor_pipeline.assets.training_run import TrainingConfig, chosen_preset, train_or_reuse
from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.tracking.mlflow_tracking import WEIGHTS_TAG
from kwcolor_pipeline.training.presets import CODE_VERSION


@dg.asset(
    deps=["grayscale_pairs", "pretrained_generator", "critic"],
    group_name="models",
    kinds={"pytorch", "mlflow"},
    owners=["team:kwcolor"],
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
def gan_model(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    settings: dg.ResourceParam[Settings],
    mlflow: dg.ResourceParam[MLflow],
) -> dg.MaterializeResult:
    """Generator and critic trained together; the generator becomes the next version of the model `kwcolor`.

    The new version is `challenger` until the evaluation report has judged it.
    """
    from kwcolor_pipeline.training.adversarial import adversarial_request, train_gan

    preset = chosen_preset(config, settings)
    trained, metadata = train_or_reuse(
        context,
        mlflow,
        adversarial_request(settings, preset),
        lambda on_epoch: train_gan(settings, preset, on_epoch),
    )
    version = _registered(context, mlflow, trained)
    return dg.MaterializeResult(
        metadata={**metadata, "model_version": version}, data_version=dg.DataVersion(trained.result.data_version)
    )


def _registered(context: dg.AssetExecutionContext, mlflow: MLflow, trained: Any) -> int:
    """The number of the model version with these weights, made now where there is none."""
    weights = trained.bundle.weights_sha256
    known = mlflow.open().version_of(weights)
    if known is not None:
        return known.number
    description = trained.bundle.description
    tags = {
        WEIGHTS_TAG: weights,
        "kwcolor.preset": description["preset"]["name"],
        "kwcolor.pairs": description["asked"]["pairs"],
    }
    with mlflow.run_for(context, description["preset"], purpose="version") as (tracking, run):
        run.log_metrics(description["validation"])
        return tracking.register_version(
            run, trained.bundle.folder, tags, f"Trained on {description['training_pictures']} pictures."
        )
