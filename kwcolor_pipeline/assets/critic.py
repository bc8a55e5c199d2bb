"""Asset: the critic that tells generated colours from photographed ones."""

import dagster as dg

from kwcolor_pipeline.assets.training_run import TrainingConfig, chosen_preset, train_or_reuse
from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import TRAINING
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.presets import CODE_VERSION


@dg.asset(
    deps=["grayscale_pairs", "pretrained_generator"],
    group_name="models",
    kinds={"pytorch", "mlflow"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
    op_tags=TRAINING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
@shares_home("critic")
def critic(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    settings: dg.ResourceParam[Settings],
    mlflow: dg.ResourceParam[MLflow],
) -> dg.MaterializeResult:
    """A patch critic trained on the pretrained generator's pictures and the originals.

    Its epoch table shows the accuracy on validation photographs: 0.5 is guessing.
    """
    from kwcolor_pipeline.training.critic_training import critic_request, train_critic

    preset = chosen_preset(config, settings)
    trained, metadata = train_or_reuse(
        context,
        mlflow,
        critic_request(settings, preset),
        lambda on_epoch: train_critic(settings, preset, on_epoch),
    )
    accuracy = trained.history[trained.result.summary["best_epoch"] - 1]["accuracy"]
    return dg.MaterializeResult(
        metadata={**metadata, "accuracy": accuracy}, data_version=dg.DataVersion(trained.result.data_version)
    )
