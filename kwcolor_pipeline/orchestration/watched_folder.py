"""The watched folder in Dagster: a sensor that finds new pictures, and the job that colorizes them.

Setting `KWCOLOR_WATCH__FOLDER` switches it on. https://docs.dagster.io/guides/automate/sensors
"""

import dagster as dg

from kwcolor_pipeline.colorize.watched import colorize_new, new_pictures
from kwcolor_pipeline.home import fingerprint
from kwcolor_pipeline.orchestration.metadata import some_of
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.runs import UNFINISHED
from kwcolor_pipeline.settings import Settings


@dg.op
def colorize_new_pictures(
    context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings], mlflow: dg.ResourceParam[MLflow]
) -> None:
    """Colorize what is new in the watched folder with the champion; what cannot be colorized fails the run, by name."""
    from kwcolor_pipeline.tracking.chosen_model import chosen_model

    model = chosen_model(mlflow.open(), settings)
    report = colorize_new(settings, model.folder, model.name)
    for path in report.written:
        context.log.info(f"Colorized: {path}")
    problems = some_of(report.problems)
    for problem in problems:
        context.log.error(problem)
    context.add_output_metadata({"colorized": len(report.written), "model": model.name})
    if report.problems:
        raise dg.Failure(
            f"{len(report.problems)} pictures could not be colorized, {len(report.written)} were: "
            + " ".join(problems),
            metadata={"problems": dg.MetadataValue.json(problems), "colorized": len(report.written)},
            allow_retries=False,
        )


@dg.job(description="Colorize what is new in the watched folder; results lie in `colorized` in it, or in `output`.")
def colorize_watched_folder() -> None:
    """One step."""
    colorize_new_pictures()


def watched_folder_sensor(settings: Settings) -> dg.SensorDefinition:
    """Asks for one run for all that is new, and for the next one when that has ended; on where a folder is set."""

    @dg.sensor(
        name="colorize_watched_folder_sensor",
        job=colorize_watched_folder,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.watch.folder else dg.DefaultSensorStatus.STOPPED,
        description="Colorizes every new picture of the folder KWCOLOR_WATCH__FOLDER once, with the champion.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if settings.watch.folder is None:
            return dg.SkipReason("No folder is watched; set KWCOLOR_WATCH__FOLDER and load the code location again.")
        found = new_pictures(settings)
        if not found:
            return dg.SkipReason("There is no new picture.")
        earlier = dg.RunsFilter(job_name=colorize_watched_folder.name, statuses=UNFINISHED)
        if context.instance.get_run_ids(earlier, limit=1):
            return dg.SkipReason("The pictures found earlier are still being colorized.")
        # A run that failed as a whole, as it does without a model, is not asked for again until a file changes.
        return dg.RunRequest(run_key=fingerprint([str(settings.watch.folder), found]))

    return sensor
