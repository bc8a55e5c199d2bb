"""Dagster's own run launcher, which here also knows whether the process of a run still lives.

Belongs here: what Dagster's run monitoring asks. Without an answer a run whose process was killed together with the
code server, or whose `kwcolor run` was killed, would be "started" for ever, keep its pools' slots, and hold back what
waits for it. https://docs.dagster.io/deployment/execution/run-monitoring
"""

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus

from kwcolor_pipeline.orchestration.runs import killed_sentence, worker_of
from kwcolor_pipeline.settings import load_settings


class LocalRunLauncher(DefaultRunLauncher):
    """Launches runs in processes of this machine, and tells the monitoring which of them were killed."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Processes can be looked for."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process lives; what another machine executes is taken to be well."""
        record = self._instance.get_run_record_by_id(run.run_id)
        worker = worker_of(self._instance, record, shared=load_settings().shared_store is not None) if record else None
        if worker is None or worker.lives():
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, killed_sentence(worker))
