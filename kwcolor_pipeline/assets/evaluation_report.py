"""Asset: the report on the test split; it moves the alias `champion`, or not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from kwcolor_pipeline.orchestration.automation import ON_NEW_CONTENT_OR_TARGET
from kwcolor_pipeline.orchestration.freshness import MONTHLY
from kwcolor_pipeline.orchestration.metadata import curve, page, table
from kwcolor_pipeline.orchestration.resources import MLflow, link
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import COLORIZING
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.tracking.mlflow_tracking import (
    PRESET_TAG,
    PROMOTED_TAG,
    WEIGHTS_TAG,
    Tracking,
    Version,
    promotion_tags,
)

if TYPE_CHECKING:
    from kwcolor_pipeline.evaluation.evaluate import TableRow
    from kwcolor_pipeline.evaluation.verdict import Rival

CODE_VERSION = "3"
#: Preset that is always compared with, and its name in tables.
_PAPER = "paper"


@dg.asset(
    deps=["grayscale_pairs", "pretrained_generator", "gan_model", "korean_war_photos"],
    group_name="results",
    kinds={"python", "mlflow"},
    owners=["team:kwcolor"],
    freshness_policy=MONTHLY,
    op_tags=COLORIZING,
    code_version=str(CODE_VERSION),
    automation_condition=ON_NEW_CONTENT_OR_TARGET,
)
@shares_home("evaluation_report")
def evaluation_report(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], mlflow: dg.ResourceParam[MLflow]
) -> dg.MaterializeResult:
    """Grey copy, generator, GAN model, champion, DeOldify and truth side by side on photographs that never trained.

    Metrics with 95 % bootstrap intervals, as an HTML page, as Markdown, as JSON and in MLflow; a few target
    photographs with what can be measured without a truth. The new version becomes champion when it is surely better
    than the old one, and never when it is worse than grey, when its colours collapsed, or when a test photograph is
    found among what it trained on. `kwcolor baselines` says how to get DeOldify and others into the table.
    """
    from kwcolor_pipeline.evaluation.comparison import GAN, compare
    from kwcolor_pipeline.evaluation.verdict import DECIDING_METRIC
    from kwcolor_pipeline.training.stages import latest

    tracking = mlflow.open()
    version = tracking.version_of(latest(settings.paths, "gan_model").bundle.weights_sha256)
    if version is None:
        raise dg.Failure("The GAN model is not registered; materialize gan_model again.", allow_retries=False)
    champion = tracking.champion()
    rival = _rival(settings, tracking, champion)
    others = _paper_model(settings, tracking, (version, champion))
    comparison = compare(settings, rival, f"version {version.number}", others)
    evaluation, verdict = comparison.evaluation, comparison.verdict
    numbers = {
        f"{row.colorizer}/{name}".replace(" ", "_").replace(",", ""): value.value
        for row in evaluation.table
        for name, value in row.metrics.items()
    }
    own = next(row for row in evaluation.table if row.colorizer == GAN)
    tested = {f"test_{name}": value.value for name, value in own.metrics.items()}
    # A reused report may be of a run that was killed before it had told MLflow, or MLflow's database is a new one.
    links: dict[str, dg.MetadataValue] = {}
    if not (comparison.reused and tested.keys() <= version.metrics.keys()):
        params = {"model_version": version.number, "preset": settings.preset, "test_split": comparison.test_split}
        with mlflow.run_for(context, params) as (_, run):
            run.log_metrics(numbers)
            run.log_artifact(comparison.report)
            run.log_artifact(comparison.metrics_file)
            run.log_artifact(comparison.markdown_file)
            links = link(run)
        tracking.log_version_metrics(version, tested)
    # A report that was there before may have been killed before it could promote. A version is promoted
    # once: where somebody went back to another champion since then, that one stays.
    expected = (comparison.rival_weights, version.tags[WEIGHTS_TAG])
    unmoved = (champion.tags[WEIGHTS_TAG] if champion else None) in expected
    if verdict.promote and unmoved and PROMOTED_TAG not in version.tags:
        numbers_of_it = verdict.numbers | {"metric": DECIDING_METRIC, "test_split": comparison.test_split}
        tracking.promote(version, promotion_tags(verdict.reason, **numbers_of_it))
    context.log.info(verdict.reason)
    return dg.MaterializeResult(
        metadata={
            "summary": comparison.result.summary["summary"],
            "verdict": verdict.reason,
            "report_in_short": page(comparison.markdown_file.read_text(encoding="utf-8")),
            "metrics": _metric_table(evaluation.table),
            "report": dg.MetadataValue.path(str(comparison.report)),
            "metrics_json": dg.MetadataValue.path(str(comparison.metrics_file)),
            "model_version": version.number,
            "ciede2000_of_versions": _score_of_versions(tracking),
            "test_photographs": len(evaluation.rows_of(GAN)),
            "reused": comparison.reused,
            **{name: round(value, 4) for name, value in tested.items()},
            **links,
        },
        data_version=dg.DataVersion(comparison.result.data_version),
    )


def _score_of_versions(tracking: Tracking) -> dg.MetadataValue:
    """The curve of CIEDE2000 on the test split over the versions that were measured, oldest first."""
    metric = "test_ciede2000"
    measured = [{metric: version.metrics[metric]} for version in tracking.versions() if metric in version.metrics]
    return curve(measured[::-1], [metric], "CIEDE2000 of each version")


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
    from kwcolor_pipeline.evaluation.verdict import Rival

    if champion is None:
        return None
    return Rival(champion.number, champion.tags[WEIGHTS_TAG], _bundle(settings, tracking, champion))


def _paper_model(settings: Settings, tracking: Tracking, taking_part: Sequence[Version | None]) -> dict[str, Path]:
    """The newest version of the preset `paper` by the name that it has in tables, unless it takes part already."""
    found = (version for version in tracking.versions() if version.tags.get(PRESET_TAG) == _PAPER)
    paper = next(found, None)
    if paper is None or paper.number in {version.number for version in taking_part if version}:
        return {}
    return {_PAPER: _bundle(settings, tracking, paper)}


def _bundle(settings: Settings, tracking: Tracking, version: Version) -> Path:
    return tracking.download(version, settings.paths.models / "downloaded" / str(version.number))
