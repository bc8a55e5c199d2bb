"""What the history says of runs: which are unfinished, whether an asset is being made, and who executes a run.

Belongs here: questions that several schedules and sensors, and those that look for killed runs, ask.
"""

import json
import socket
from dataclasses import dataclass

import dagster as dg
import psutil
from dagster._core.storage.tags import GRPC_INFO_TAG  # where Dagster's own launcher started a run

#: Tag of runs that `kwcolor run` executes: the id of the process that does it.
PROCESS_TAG = "kwcolor/process"
#: Tag of the same runs: the name of the machine. Machines that share a store may share a history as well.
MACHINE_TAG = "kwcolor/machine"
#: How far the clocks of processes and of runs may differ.
_CLOCK_SECONDS = 5.0

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


def has_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the history knows the run, and as finished."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


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


@dataclass(frozen=True)
class Worker:
    """A process of this machine that executes a run, or did."""

    process: int
    seen: float
    """when it was there, in seconds since 1970"""

    def lives(self) -> bool:
        """Whether it is still there: process ids are used again, always the same ones in containers."""
        try:
            found = psutil.Process(self.process)
            return found.status() != psutil.STATUS_ZOMBIE and found.create_time() < self.seen + _CLOCK_SECONDS
        except psutil.NoSuchProcess:
            return False


def worker_of(instance: dg.DagsterInstance, record: dg.RunRecord, *, shared: bool) -> Worker | None:
    """The process that executes an unfinished run; None where nobody on this machine can tell.

    Runs of `kwcolor run` carry it as a tag; with a ``shared`` history those of other machines are among them. Those
    that Dagster's own launcher started tell it in an event; they are of this machine where a socket reached the code
    server.
    """
    run = record.dagster_run
    if PROCESS_TAG in run.tags:
        elsewhere = shared and run.tags.get(MACHINE_TAG) != socket.gethostname()
        return None if elsewhere else Worker(int(run.tags[PROCESS_TAG]), record.create_timestamp.timestamp())
    if "socket" not in json.loads(run.tags.get(GRPC_INFO_TAG, "{}")):
        return None
    for told in instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
        event = told.event_log_entry.dagster_event
        process = event.engine_event_data.metadata.get("pid") if event else None
        if process is not None:
            return Worker(int(str(process.value)), told.timestamp)
    return None


def killed_sentence(worker: Worker) -> str:
    """What the page of a run says whose process was killed."""
    return f"The process {worker.process} that executed this run was killed."
