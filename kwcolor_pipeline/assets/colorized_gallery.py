"""Asset: the Korean War photographs in colour."""

import dagster as dg

from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT_OR_TARGET
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.metadata import picture, some_of
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import COLORIZING
from kwcolor_pipeline.settings import Settings

CODE_VERSION = "2"


@dg.asset(
    deps=["evaluation_report", "korean_war_photos"],
    group_name="results",
    kinds={"python"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
    op_tags=COLORIZING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT_OR_TARGET,
)
@shares_home("colorized_gallery")
def colorized_gallery(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], mlflow: dg.ResourceParam[MLflow]
) -> dg.MaterializeResult:
    """Every target photograph at full size with its own luminance and the champion's colours, marked as colorized.

    Without a champion the starter that comes with the package is used, and the page says so.
    """
    from kwcolor_pipeline.evaluation.target_gallery import gallery_sheet, make_gallery
    from kwcolor_pipeline.tracking.chosen_model import chosen_model

    model = chosen_model(mlflow.open(), settings)
    gallery = make_gallery(settings, model.folder, model.name)
    problems = some_of(gallery.result.summary["problems"])
    for sentence in problems:
        context.log.warning(sentence)
    sheet = gallery_sheet(gallery)
    return dg.MaterializeResult(
        metadata={
            "photographs": gallery.result.summary["photographs"],
            "problems": dg.MetadataValue.json(problems),
            "model": model.name,
            **({"model_version": model.number} if model.number else {}),
            "gallery": dg.MetadataValue.path(str(gallery.index)),
            "reused": gallery.reused,
            **({"thumbnails": picture(sheet, "colorized photographs")} if sheet else {}),
        },
        data_version=dg.DataVersion(gallery.result.data_version),
    )
