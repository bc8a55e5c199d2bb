"""Asset: the generator after learning colours from the pixels."""

import dagster as dg

from kwcolor_pipeline.assets.training_run import TrainingConfig, chosen_preset, train_or_reuse
from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import TRAINING
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.presets import CODE_VERSION


@dg.asset(
    deps=["grayscale_pairs"],
    group_name="models",
    kinds={"pytorch", "mlflow"},
    owners=["team:kwcolor"],
    op_tags=TRAINING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
@shares_home("pretrained_generator")
def pretrained_generator(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    settings: dg.ResourceParam[Settings],
    mlflow: dg.ResourceParam[MLflow],
) -> dg.MaterializeResult:
    """A U-Net over an ImageNet encoder that predicts chroma from lightness, trained on pixel loss.

    The epoch with the best validation score is kept. A killed training goes on from its checkpoint.
    """
    from kwcolor_pipeline.training.losses import obtain_perceptual_weights
    from kwcolor_pipeline.training.pretraining import pretrain_generator, pretraining_request

    preset = chosen_preset(config, settings)
    if preset.pretrain_perceptual_weight:
        context.log.info(obtain_perceptual_weights(preset.perceptual_weights))
    trained, metadata = train_or_reuse(
        context,
        mlflow,
        pretraining_request(settings, preset),
        lambda on_epoch: pretrain_generator(settings, preset, on_epoch),
    )
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(trained.result.data_version))
