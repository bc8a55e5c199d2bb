"""One year of schedules in a process of its own, as after the code location was loaded on 1 January of that year.

``python -m … YEAR HOME`` ticks every schedule when its cron says so, lets each crawl that is asked for take some days,
and prints what was asked for and how many crawls were unfinished then. The history is the one below HOME.
"""

import datetime
import functools
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from kwcolor_pipeline.photos import manifest

ENDS = "test/ends"


def main(year: int, home: Path) -> list[dict[str, object]]:
    """What was asked for at each tick of the year."""
    # The one place where the clock says which years there are.
    first_day = datetime.date(year, 1, 1)
    manifest.crawl_partitions = functools.partial(manifest.crawl_partitions, first_day)
    import dagster as dg

    from kwcolor_pipeline.definitions import build_definitions
    from kwcolor_pipeline.orchestration.instance import open_instance
    from kwcolor_pipeline.settings import load_settings

    settings = load_settings(
        home=home,
        sources=[f"folder:{home / 'archive'}", "google"],
        korean_war_sources=[f"folder:{home / 'archive'}"],
        contact="operator@example.org",
    )
    definitions = build_definitions(settings)
    repository = definitions.get_repository_def()
    asked: list[dict[str, object]] = []
    with open_instance(settings) as instance:
        for when, name in ticks(definitions.schedules, year):
            end_crawls(instance, when)
            schedule = repository.get_schedule_def(name)
            context = dg.build_schedule_context(
                instance=instance, scheduled_execution_time=when, repository_def=repository
            )
            context._instance = instance  # else each tick opens its databases anew, which takes longer than the tick
            for request in schedule.evaluate_tick(context).run_requests or []:
                key = request.partition_key or ""
                # That of 1943 fails every time, and holds its place for long.
                days = 9 if key == "1943" else zlib.crc32(f"{key} {when}".encode()) % 2
                ends = (when + datetime.timedelta(days=days, hours=12)).isoformat()
                instance.add_run(
                    dg.DagsterRun(
                        job_name=schedule.job_name,
                        status=dg.DagsterRunStatus.STARTED,
                        tags={**request.tags, "dagster/partition": key, ENDS: ends},
                    )
                )
                asked.append({"day": when.date().isoformat(), "schedule": name, "key": key})
            unfinished = len(instance.get_run_ids(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))
            asked.append({"day": when.date().isoformat(), "schedule": name, "unfinished": unfinished})
    return asked


def ticks(schedules: list, year: int) -> list[tuple[datetime.datetime, str]]:
    """Every tick of the year in order of time."""
    return sorted((when, schedule.name) for schedule in schedules for when in ticks_of(schedule.cron_schedule, year))


def ticks_of(cron: str, year: int) -> Iterator[datetime.datetime]:
    from dagster._utils.schedules import cron_string_iterator

    start = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
    for when in cron_string_iterator(start.timestamp(), cron, "UTC"):
        if when.year > year:
            return
        yield datetime.datetime.fromtimestamp(when.timestamp(), datetime.UTC)


def end_crawls(instance, when: datetime.datetime) -> None:
    """End the crawls whose time has come; that of 1943 fails."""
    import dagster as dg

    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        if datetime.datetime.fromisoformat(run.tags[ENDS]) <= when:
            fails = run.tags["dagster/partition"] == "1943"
            how = dg.DagsterEventType.RUN_FAILURE if fails else dg.DagsterEventType.RUN_SUCCESS
            # Into the table of runs alone: each run's own log is a database of its own.
            instance.run_storage.handle_run_event(run.run_id, dg.DagsterEvent(how.value, run.job_name))


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]))))
