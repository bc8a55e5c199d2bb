"""The sensor on the model registry: a champion that somebody set by hand in MLflow is shown in the gallery."""

import dagster as dg

from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.runs import is_being_made, latest_metadata


@dg.sensor(
    name="show_the_champion",
    target=dg.AssetSelection.assets("colorized_gallery"),
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Colorizes the gallery again when the alias `champion` is on another version than the gallery shows.",
)
def champion_sensor(
    context: dg.SensorEvaluationContext, mlflow: dg.ResourceParam[MLflow]
) -> dg.SensorResult | dg.SkipReason:
    """Asks once for each move of the alias; the cursor is the version that was asked for last."""
    gallery = latest_metadata(context.instance, "colorized_gallery")
    if gallery is None:
        return dg.SkipReason("There is no gallery yet.")
    champion = mlflow.open().champion()
    if champion is None:
        return dg.SkipReason("There is no champion.")
    if gallery.get("model_version") == champion.number:
        # Forgotten here, so that the alias may come back to this version later.
        return dg.SensorResult(skip_reason=f"The gallery shows the champion, version {champion.number}.", cursor="")
    if any(is_being_made(context.instance, asset) for asset in ("evaluation_report", "colorized_gallery")):
        return dg.SkipReason("The report or the gallery is being made, after which the gallery may show the champion.")
    if context.cursor == str(champion.number):
        return dg.SkipReason(f"The gallery was asked for version {champion.number} already; see why that run failed.")
    return dg.SensorResult(run_requests=[dg.RunRequest()], cursor=str(champion.number))
