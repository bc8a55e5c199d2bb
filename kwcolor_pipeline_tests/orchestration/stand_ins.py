"""Stand-ins of the real assets: the same names, partitions, dependencies, conditions and checks, and no work.

Their data versions and the outcomes of their checks are the test's to choose.
"""

import datetime
from collections import Counter
from collections.abc import Callable
from typing import Any

import dagster as dg

from kwcolor_pipeline.definitions import ASSETS
from kwcolor_pipeline.orchestration.checks import CHECKS
from kwcolor_pipeline.orchestration.jobs import JOBS
from kwcolor_pipeline.orchestration.metadata import CHANGED_SHARE, MIN_CHANGE

YEARS = ("crawled_photos", "korean_war_photos")


class World:
    """A graph of stand-ins, its history, and the sensor's cursor."""

    def __init__(self, instance: dg.DagsterInstance, min_change: float = 0.0) -> None:
        self.instance = instance
        self.min_change = min_change
        #: What the pairs say of themselves: the share that changed since the last training.
        self.changed_share = 0.0
        #: What happens while a stand-in of this name is being made, once.
        self.meanwhile: dict[str, Callable[[], None]] = {}
        self.versions: Counter[str] = Counter()
        self.failing: set[str] = set()
        self.executed: list[str] = []
        self.cursor: Any = None
        self.definitions = dg.Definitions(assets=[self._stand_in(asset) for asset in ASSETS], jobs=JOBS)

    def _stand_in(self, real: dg.AssetsDefinition) -> dg.AssetsDefinition:
        (spec,) = real.specs
        name = spec.key.to_user_string()
        checks = [*real.check_specs, *(check for room in CHECKS for check in room.check_specs)]
        own = [check for check in checks if check.asset_key == spec.key]

        @dg.asset(
            name=name,
            partitions_def=spec.partitions_def,
            deps=spec.deps,
            automation_condition=spec.automation_condition,
            check_specs=own,
            metadata={MIN_CHANGE: self.min_change},
        )
        def stand_in(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            full_name = f"{name} {context.partition_key}" if spec.partitions_def else name
            self.executed.append(full_name)
            self.meanwhile.pop(name, lambda: None)()
            return dg.MaterializeResult(
                metadata={CHANGED_SHARE: self.changed_share} if name == "grayscale_pairs" else {},
                data_version=dg.DataVersion(f"{full_name} {self.versions[full_name]}"),
                check_results=[
                    dg.AssetCheckResult(check_name=check.name, passed=name not in self.failing) for check in own
                ],
            )

        return stand_in

    def materialize(self, *names: str, year: str | None = None, job: str = "__ASSET_JOB", ok: bool = True) -> list[str]:
        """One run of these stand-ins; gives what was executed."""
        self.executed.clear()
        result = self.definitions.resolve_implicit_global_asset_job_def() if job == "__ASSET_JOB" else None
        result = (result or self.definitions.resolve_job_def(job)).execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in names] or None,
            partition_key=year,
            raise_on_error=False,
        )
        assert result.success == ok
        return list(self.executed)

    def change(self, name: str) -> None:
        """Let the stand-in's content differ from now on."""
        self.versions[name] += 1

    def everything(self) -> None:
        """Materialize the whole graph once, with two crawled years and one of the target."""
        self.materialize("crawled_photos", year="1941")
        self.materialize("crawled_photos", year="1943")
        self.materialize("korean_war_photos", year="1951")
        self.materialize(*[asset.key.to_user_string() for asset in ASSETS[2:]])

    def tick(self, when: datetime.datetime | None = None) -> set[str]:
        """What the sensor asks for now, or at that time."""
        evaluated = dg.evaluate_automation_conditions(
            defs=self.definitions, instance=self.instance, cursor=self.cursor, evaluation_time=when
        )
        self.cursor = evaluated.cursor
        return {result.key.to_user_string() for result in evaluated.results if not result.true_subset.is_empty}

    def settle(self, ticks: int = 12) -> list[list[str]]:
        """Tick and carry out what is asked for until two ticks ask for nothing; the runs in their order."""
        runs: list[list[str]] = []
        idle = 0
        for _ in range(ticks):
            wanted = self.tick()
            idle = 0 if wanted else idle + 1
            if idle == 2:
                return runs
            if wanted:
                runs.append(self.materialize(*wanted))
        raise AssertionError(f"the sensor does not come to rest: {runs}")

    def begin(self, name: str, year: str | None = None) -> dg.DagsterRun:
        """A run of the stand-in that has begun and does not end by itself."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return self.instance.create_run_for_job(
            job.get_subset(asset_selection={dg.AssetKey(name)}),
            asset_selection=frozenset({dg.AssetKey(name)}),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": year} if year else None,
        )
