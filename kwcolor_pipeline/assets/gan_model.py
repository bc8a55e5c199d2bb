"""Asset: the generator after adversarial training, registered as a model version."""

from typing import Any

import dagster as dg

from kwcolor_pipeline.assets.training_run import TrainingConfig, chosen_preset, reported_training, train_or_reuse
from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import TRAINING
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.tracking.mlflow_tracking import DATA_TAG, PRESET_TAG, WEIGHTS_TAG, TrackedRun, Tracking
from kwcolor_pipeline.training.presets import CODE_VERSION


@dg.asset(
    deps=["grayscale_pairs", "pretrained_generator", "critic"],
    group_name="models",
    kinds={"pytorch", "mlflow"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
    op_tags=TRAINING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
@shares_home("gan_model")
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
    from kwcolor_pipeline.training.losses import obtain_perceptual_weights

    preset = chosen_preset(config, settings)
    if preset.gan_perceptual_weight:
        context.log.info(obtain_perceptual_weights(preset.perceptual_weights))
    trained, metadata = train_or_reuse(
        context,
        mlflow,
        adversarial_request(settings, preset),
        lambda on_epoch: train_gan(settings, preset, on_epoch),
        and_then=_register,
    )
    version = mlflow.open().version_of(trained.bundle.weights_sha256)
    if version is None:
        # The weights were there before: their training was killed before it could register them, or
        # MLflow's database is a new one.
        with reported_training(context, mlflow, preset.model_dump()) as (tracking, run, on_epoch):
            for record in trained.history:
                on_epoch(record)
            _register(tracking, run, trained)
            version = tracking.version_of(trained.bundle.weights_sha256)
    assert version is not None  # registered above
    return dg.MaterializeResult(
        metadata={**metadata, "model_version": version.number},
        data_version=dg.DataVersion(trained.result.data_version),
    )


def _register(tracking: Tracking, run: TrackedRun, trained: Any) -> None:
    """Make these weights the newest model version, behind the run of their training."""
    description = trained.bundle.description
    tags = {
        WEIGHTS_TAG: trained.bundle.weights_sha256,
        PRESET_TAG: description["preset"]["name"],
        DATA_TAG: description["asked"]["pairs"],
    }
    # Curves end with the last epoch; the weights are those of the best one.
    run.log_metrics({f"best_{name}": value for name, value in description["validation"].items()})
    learned = f"Trained on {description['training_pictures']} pictures with the preset {tags[PRESET_TAG]}."
    tracking.register_version(run, trained.bundle.folder, tags, learned)
