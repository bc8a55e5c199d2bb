"""Asset: the generator after learning colours from the pixels."""

import dagster as dg

from kwcolor_pipeline.assets.training_run import TrainingConfig, chosen_preset, train_or_reuse
from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import TRAINING
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.training.presets import CODE_VERSION
from kwcolor_pipeline.training.trained_pairs import keep_trained_pairs, pairs_that_train


@dg.asset(
    deps=["grayscale_pairs"],
    group_name="models",
    kinds={"pytorch", "mlflow"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
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
    request = pretraining_request(settings, preset)
    learned_from = pairs_that_train(settings.paths)  # now: a crawl may change the pairs while this trains
    trained, metadata = train_or_reuse(
        context, mlflow, request, lambda on_epoch: pretrain_generator(settings, preset, on_epoch)
    )
    keep_trained_pairs(settings.paths, learned_from)
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(trained.result.data_version))
