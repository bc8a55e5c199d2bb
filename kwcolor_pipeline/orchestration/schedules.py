"""Schedules: the current year is crawled every week, past years in turn, each once a quarter.

https://docs.dagster.io/guides/automate/schedules
"""

import datetime
from collections.abc import Callable

import dagster as dg

from kwcolor_pipeline.orchestration.jobs import ONE_YEAR
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS

#: Tags of the runs that the turn of past years asks for: the year, and the day on which it was its turn.
TURN_TAG, TURN_DAY_TAG = "kwcolor/turn", "kwcolor/turn_day"
#: At most so many years a tick: archives are asked for a few years at a time.
YEARS_A_TICK = 3
#: Days after which it is a year's turn again. Three ticks a week have room for 117 years in 13 weeks.
TURN_DAYS = 91


def weekly_schedule(covered: Callable[[], set[str]]) -> dg.ScheduleDefinition:
    """Crawl the current year every Monday, if any source covers it.

    ``covered`` gives the partition keys that the configured sources have.
    """

    @dg.schedule(
        name="crawl_current_year_weekly",
        job=ONE_YEAR,
        cron_schedule="0 4 * * 1",
        execution_timezone="UTC",
        description="The current year gets new pages all the time; past years change rarely.",
    )
    def weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        year = str(context.scheduled_execution_time.year)
        if year not in CRAWLED_YEARS.get_partition_keys():
            return dg.SkipReason(f"{year} is not a partition yet; reload the code location to add the new year.")
        if year not in covered():
            return dg.SkipReason(f"None of the configured sources covers {year}.")
        return dg.RunRequest(partition_key=year, tags={"kwcolor/year": year})

    return weekly


def quarterly_schedule(covered: Callable[[], set[str]]) -> dg.ScheduleDefinition:
    """Crawl the past years, and `undated`, in turn: each once a quarter, and never more than three a tick.

    A year whose last turn is longest ago comes first, so that nothing is left out when the daemon was off, and
    a year whose crawl fails keeps no other from its turn.
    """

    @dg.schedule(
        name="crawl_past_years_quarterly",
        job=ONE_YEAR,
        cron_schedule="0 4 * * 2,4,6",
        execution_timezone="UTC",
        description="Archives add to past years now and then; each is visited once a quarter.",
    )
    def quarterly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        today = context.scheduled_execution_time.date()
        past = covered().intersection(CRAWLED_YEARS.get_partition_keys()) - {str(today.year)}
        last_turns = {key: _last_turn(context.instance, key) for key in sorted(past)}
        due = [key for key, day in last_turns.items() if day is None or (today - day).days >= TURN_DAYS]
        if not due:
            return dg.SkipReason("Every past year that a source covers has had its turn this quarter.")
        due.sort(key=lambda key: last_turns[key] or datetime.date.min)
        return [
            dg.RunRequest(f"{key} {today}", partition_key=key, tags={TURN_TAG: key, TURN_DAY_TAG: today.isoformat()})
            for key in due[:YEARS_A_TICK]
        ]

    return quarterly


def _last_turn(instance: dg.DagsterInstance, key: str) -> datetime.date | None:
    """The day of a year's last turn; None where it had none."""
    runs = instance.get_runs(dg.RunsFilter(tags={TURN_TAG: key}), limit=1)
    return datetime.date.fromisoformat(runs[0].tags[TURN_DAY_TAG]) if runs else None
