"""What the history says of runs: which are unfinished, and whether an asset is being made.

Belongs here: questions that several schedules and sensors ask.
"""

import dagster as dg

#: Statuses of runs that have not ended, those that wait in the queue among them.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def unfinished(instance: dg.DagsterInstance, tags: dict[str, str]) -> int:
    """How many runs with these tags have not ended."""
    return len(instance.get_run_ids(dg.RunsFilter(tags=tags, statuses=UNFINISHED)))


def is_being_made(instance: dg.DagsterInstance, asset: str) -> bool:
    """Whether the latest run that was to materialize an asset without partitions has not ended."""
    planned = instance.event_log_storage.get_latest_planned_materialization_info(dg.AssetKey(asset), None)
    run = instance.get_run_by_id(planned.run_id) if planned else None
    return run is not None and not run.is_finished


def latest_metadata(instance: dg.DagsterInstance, asset: str) -> dict[str, object] | None:
    """Values of an asset's latest materialization; None where there is none."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    made = event.asset_materialization if event else None
    return {name: value.value for name, value in made.metadata.items()} if made else None
