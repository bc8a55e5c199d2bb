"""Asset: the report on the test split; it moves the alias `champion`, or not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT
from kwcolor_pipeline.orchestration.metadata import table
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.tracking.mlflow_tracking import PROMOTED_TAG, WEIGHTS_TAG, Tracking, Version

if TYPE_CHECKING:
    from kwcolor_pipeline.evaluation.comparison import Rival
    from kwcolor_pipeline.evaluation.evaluate import TableRow

CODE_VERSION = "1"


@dg.asset(
    deps=["grayscale_pairs", "pretrained_generator", "gan_model"],
    group_name="results",
    kinds={"python", "mlflow"},
    owners=["team:kwcolor"],
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT,
)
def evaluation_report(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], mlflow: dg.ResourceParam[MLflow]
) -> dg.MaterializeResult:
    """Grey copy, generator alone, GAN model, champion and truth side by side on photographs that never trained.

    Metrics with 95 % bootstrap intervals, as an HTML page, as JSON and in MLflow. The new version
    becomes champion when it is surely better than the old one, and never when it is worse than grey.
    """
    from kwcolor_pipeline.evaluation.comparison import GAN, compare
    from kwcolor_pipeline.training.stages import latest

    tracking = mlflow.open()
    version = tracking.version_of(latest(settings.paths, "gan_model").bundle.weights_sha256)
    if version is None:
        raise dg.Failure("The GAN model is not registered; materialize gan_model again.", allow_retries=False)
    champion = tracking.champion()
    comparison = compare(settings, _rival(settings, tracking, champion), f"version {version.number}")
    evaluation, verdict = comparison.evaluation, comparison.verdict
    numbers = {
        f"{row.colorizer}/{name}".replace(" ", "_").replace(",", ""): value.value
        for row in evaluation.table
        for name, value in row.metrics.items()
    }
    own = next(row for row in evaluation.table if row.colorizer == GAN)
    tested = {f"test_{name}": value.value for name, value in own.metrics.items()}
    # A reused report may be of a run that was killed before it had told MLflow, or MLflow's database is a new one.
    if not (comparison.reused and tested.keys() <= version.metrics.keys()):
        with mlflow.run_for(context, {"model_version": version.number, "preset": settings.preset}) as (_, run):
            run.log_metrics(numbers)
            run.log_artifact(comparison.report)
            run.log_artifact(comparison.metrics_file)
        tracking.log_version_metrics(version, tested)
    # A report that was there before may have been killed before it could promote. A version is promoted
    # once: where somebody went back to another champion since then, that one stays.
    expected = (comparison.rival_weights, version.tags[WEIGHTS_TAG])
    unmoved = (champion.tags[WEIGHTS_TAG] if champion else None) in expected
    if verdict.promote and unmoved and PROMOTED_TAG not in version.tags:
        tracking.promote(version, {PROMOTED_TAG: verdict.reason})
    context.log.info(verdict.reason)
    return dg.MaterializeResult(
        metadata={
            "summary": comparison.result.summary["summary"],
            "verdict": verdict.reason,
            "metrics": _metric_table(evaluation.table),
            "report": dg.MetadataValue.path(str(comparison.report)),
            "metrics_json": dg.MetadataValue.path(str(comparison.metrics_file)),
            "model_version": version.number,
            "test_photographs": len(evaluation.rows_of(GAN)),
            "reused": comparison.reused,
            **tested,
        },
        data_version=dg.DataVersion(comparison.result.data_version),
    )


def _metric_table(measured: Sequence["TableRow"]) -> dg.MetadataValue:
    """A line for each metric and a column for each colorizer: narrow enough for the asset's page."""
    names = dict.fromkeys(name for row in measured for name in row.metrics)
    return table(
        [
            {"": name, **{row.colorizer: row.metrics[name].value if name in row.metrics else "" for row in measured}}
            for name in names
        ]
    )


def _rival(settings: Settings, tracking: Tracking, champion: Version | None) -> "Rival | None":
    """The champion as the comparison takes it; None where there is none."""
    from kwcolor_pipeline.evaluation.comparison import Rival

    if champion is None:
        return None
    folder = tracking.download(champion, settings.paths.models / "downloaded" / str(champion.number))
    return Rival(champion.number, champion.tags[WEIGHTS_TAG], folder)
