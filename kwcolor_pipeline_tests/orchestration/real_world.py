"""The real assets over a few small photographs, ticked and carried out as Dagster's daemon would."""

import csv
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from kwcolor_pipeline.definitions import ASSETS, build_definitions
from kwcolor_pipeline.orchestration.champion import champion_sensor
from kwcolor_pipeline.orchestration.checks import STORED_SOME
from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline_tests.photos.pictures import encoded, scene
from kwcolor_pipeline_tests.small_homes import settings_for

FOLLOWING = [asset.key.to_user_string() for asset in ASSETS[2:]]
YEARS = {"crawled_photos": "one_year", "korean_war_photos": "one_korean_war_year"}


class YearFolders:
    """A folder source: a folder for each year, and the ``index.csv`` over them. Its state is what lies on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, year: str, *seeds: int, grey: bool = False) -> None:
        """Drawn scenes, a different one for each seed."""
        (self.root / year).mkdir(parents=True, exist_ok=True)
        for seed in seeds:
            picture = scene(seed, (96, 72) if seed % 2 else (67, 97))
            self.path(year, seed).write_bytes(encoded(picture.convert("L") if grey else picture))
        self.list()

    def path(self, year: str, seed: int) -> Path:
        return self.root / year / f"{seed:04}.jpg"

    def list(self) -> None:
        """Write the index anew."""
        with (self.root / "index.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["file", "id", "year", "title", "licence"])
            for path in sorted(self.root.glob("*/*.jpg")):
                name = f"{path.parent.name}/{path.name}"
                writer.writerow([name, name, path.parent.name, f"Scene {path.stem}", "CC0 1.0"])


class RealWorld:
    """A home, its source folders, its Dagster history on disk, and the sensor's cursor."""

    def __init__(self, root: Path, cursor: Any = None) -> None:
        self.root = root
        self.colour, self.target = YearFolders(root / "colour"), YearFolders(root / "target")
        self.cursor = cursor
        self.change_settings()

    def change_settings(self, **overrides: Any) -> None:
        """As when the settings change and the code location is loaded again."""
        self.settings: Settings = settings_for(
            self.root / "home",
            **{
                "sources": [f"folder:{self.root / 'colour'}"],
                "korean_war_sources": [f"folder:{self.root / 'target'}"],
                **overrides,
            },
        )
        self.definitions = build_definitions(self.settings)

    def change_code(self, name: str) -> None:
        """As when this asset's CODE_VERSION is raised."""
        (other,) = [asset for asset in self.definitions.assets if asset.key == dg.AssetKey(name)]
        raised = other.map_asset_specs(lambda spec: spec.replace_attributes(code_version=f"raised {spec.code_version}"))
        self.definitions = dg.Definitions(
            assets=[raised if asset is other else asset for asset in self.definitions.assets],
            asset_checks=self.definitions.asset_checks,
            jobs=self.definitions.jobs,
            resources=self.definitions.resources,
        )

    def materialize(self, *names: str, year: str | None = None, job: str | None = None) -> bool:
        """One run; whether it succeeded."""
        resolved = (
            self.definitions.resolve_job_def(job) if job else self.definitions.resolve_implicit_global_asset_job_def()
        )
        with open_instance(self.settings) as instance:
            result = resolved.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in names] or None,
                partition_key=year,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        return bool(result.success)

    def crawl(self, *years: str) -> list[bool]:
        return [self.materialize(job="one_year", year=year) for year in years]

    def tick(self) -> list[str]:
        """What the sensor asks for now, in the order in which data flows."""
        with open_instance(self.settings) as instance:
            evaluated = dg.evaluate_automation_conditions(defs=self.definitions, instance=instance, cursor=self.cursor)
        self.cursor = evaluated.cursor
        wanted = {result.key.to_user_string() for result in evaluated.results if not result.true_subset.is_empty}
        return [name for name in FOLLOWING if name in wanted]

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
                runs.append(wanted)
                self.materialize(*wanted)
        raise AssertionError(f"the sensor does not come to rest: {runs}")

    def badges(self, status: str) -> list[str]:
        """What the UI marks so: `STALE` or `MISSING`; of the years, the stale ones."""
        with open_instance(self.settings) as instance:
            graph = self.definitions.resolve_asset_graph()
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            years = [("crawled_photos", key) for key in CRAWLED_YEARS.get_partition_keys()]
            return [
                f"{name} {key}" if key else name
                for name, key in [*years, *((name, None) for name in FOLLOWING)]
                if resolver.get_status(dg.AssetKey(name), key).value == status
            ]

    def causes(self, name: str) -> list[str]:
        """What the UI says when one asks why this asset is stale."""
        with open_instance(self.settings) as instance:
            graph = self.definitions.resolve_asset_graph()
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            return [cause.reason for cause in resolver.get_stale_causes(dg.AssetKey(name))]

    def metadata(self, name: str) -> dict[str, Any]:
        with open_instance(self.settings) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
        return {key: value.value for key, value in event.asset_materialization.metadata.items()}

    def materializations(self, name: str) -> int:
        with open_instance(self.settings) as instance:
            return len(instance.fetch_materializations(dg.AssetKey(name), limit=1000).records)

    def failed_years(self) -> dict[str, str]:
        """The years that the UI marks: `check` where the last crawl's check failed, `run` where it made nothing."""
        key = dg.AssetCheckKey(dg.AssetKey("crawled_photos"), STORED_SOME)
        with open_instance(self.settings) as instance:
            checked = instance.event_log_storage.get_asset_check_partition_info([key])
            cached = get_and_update_asset_status_cache_value(instance, key.asset_key, CRAWLED_YEARS)
        assert cached is not None
        made_nothing = cached.deserialize_failed_partition_subsets(CRAWLED_YEARS).get_partition_keys()
        failed = [one.partition_key for one in checked if one.latest_execution_status.value == "FAILED"]
        return {**dict.fromkeys(filter(None, failed), "check"), **dict.fromkeys(made_nothing, "run")}

    def asks_for_the_champion(self) -> bool:
        """Whether the sensor on the registry asks for the gallery."""
        with open_instance(self.settings) as instance:
            context = dg.build_sensor_context(instance=instance, resources={"mlflow": MLflow(self.settings)})
            answer = champion_sensor(context)
        return isinstance(answer, dg.SensorResult) and bool(answer.run_requests)

    def begin(self, name: str, year: str) -> dg.DagsterRun:
        """A run of this year that has begun and does not end by itself."""
        with open_instance(self.settings) as instance:
            return instance.create_run_for_job(
                self.definitions.resolve_job_def(YEARS[name]),
                asset_selection=frozenset({dg.AssetKey(name)}),
                status=dg.DagsterRunStatus.STARTED,
                tags={"dagster/partition": year},
            )

    def fail(self, run: dg.DagsterRun) -> None:
        with open_instance(self.settings) as instance:
            instance.report_run_failed(run)
