"""Resources: the settings, and MLflow.

MLflow's official integration leaves runs open when an asset is materialized from the UI and pins
old libraries, so this one is ours: one MLflow run per materialization, closed by its context
manager. https://docs.dagster.io/guides/build/external-resources
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from kwcolor_pipeline.orchestration.runs import has_ended
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.tracking.mlflow_tracking import DAGSTER_RUN_TAG, TrackedRun, Tracking, open_tracking


class MLflow:
    """MLflow runs of assets, linked with the Dagster runs that they belong to."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def open(self) -> Tracking:
        """The tracking store, created where it is missing."""
        tracking = open_tracking(self._settings)
        tracking.prepare()
        return tracking

    @contextlib.contextmanager
    def run_for(
        self, context: dg.AssetExecutionContext, params: Mapping[str, Any]
    ) -> Iterator[tuple[Tracking, TrackedRun]]:
        """An MLflow run for this materialization; those that killed runs of this history left open are closed."""
        tracking = self.open()
        asset, run_id = context.asset_key.to_user_string(), context.run.run_id
        tracking.close_abandoned_runs(functools.partial(has_ended, context.instance))
        page = f"{self._settings.dagster_ui_url.rstrip('/')}/runs/{run_id}"
        tags = {
            DAGSTER_RUN_TAG: run_id,
            "dagster.asset_key": asset,
            "dagster.retry": str(context.retry_number),
            # MLflow shows it as the run's description.
            "mlflow.note.content": f"Materialization of `{asset}` in Dagster run [{run_id[:8]}]({page}).",
        }
        with tracking.run(f"{asset}-{run_id[:8]}", tags, params) as run:
            yield tracking, run


def link(run: TrackedRun) -> dict[str, dg.MetadataValue]:
    """Metadata that leads from the materialization to its MLflow run."""
    return {"mlflow/run": dg.MetadataValue.url(run.url), "mlflow/run_id": dg.MetadataValue.text(run.run_id)}


def default_resources(settings: Settings) -> dict[str, Any]:
    """Resources by the names that the assets ask for."""
    return {"settings": settings, "mlflow": MLflow(settings)}
