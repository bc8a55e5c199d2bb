"""Schedules: what is crawled and trained by the calendar. All are off until somebody switches them on.

The current year is crawled every week, past years and those of the target in turn, each once a quarter; everything that
follows is brought up to date every month. https://docs.dagster.io/guides/automate/schedules
"""

import datetime
from collections.abc import Callable, Set

import dagster as dg

from kwcolor_pipeline.orchestration.jobs import AFTER_THE_CRAWL, ONE_KOREAN_WAR_YEAR, ONE_YEAR
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS, KOREAN_WAR_YEARS
from kwcolor_pipeline.orchestration.runs import is_being_made, unfinished

#: Tags of the runs that a turn asks for: the year and the day on which it was its turn, as in `1943 2026-03-02`.
TURN_TAG, TARGET_TURN_TAG = "kwcolor/turn_of", "kwcolor/turn_of_target"
#: Tag of every crawl that a schedule asks for, and its values.
SCHEDULED_TAG, IN_TURN, CURRENT = "kwcolor/scheduled_crawl", "in turn", "current year"
#: At most so many crawls in turn at a time. With that of the current year they are three.
TURNS_AT_ONCE = 2
#: Days after which it is a year's turn again: with the wait for the next tick and for room, less than any quarter has.
#: Three ticks a week have room for 72 years in that time.
TURN_DAYS = 84

#: Gives the partition keys that the configured sources have.
Covered = Callable[[], Set[str]]


def weekly_schedule(covered: Covered) -> dg.ScheduleDefinition:
    """Crawl the current year every Monday, if any source covers it and last week's crawl has ended."""

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
        if unfinished(context.instance, {SCHEDULED_TAG: CURRENT}):
            return dg.SkipReason("Last week's crawl of the current year has not ended yet.")
        return dg.RunRequest(partition_key=year, tags={SCHEDULED_TAG: CURRENT})

    return weekly


def quarterly_schedule(covered: Covered) -> dg.ScheduleDefinition:
    """Crawl the past years, and `undated`, in turn: each once a quarter, and never more than two at a time."""

    @dg.schedule(
        name="crawl_past_years_quarterly",
        job=ONE_YEAR,
        cron_schedule="0 4 * * 2,4,6",
        execution_timezone="UTC",
        description="Archives add to past years now and then; each is visited once a quarter.",
    )
    def quarterly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        current = str(context.scheduled_execution_time.year)
        return _turns(context, covered() & set(CRAWLED_YEARS.get_partition_keys()) - {current}, TURN_TAG)

    return quarterly


def target_schedule(covered: Covered) -> dg.ScheduleDefinition:
    """Crawl the years of the photographs that are to be colorized in turn, each once a quarter."""

    @dg.schedule(
        name="crawl_korean_war_years_quarterly",
        job=ONE_KOREAN_WAR_YEAR,
        cron_schedule="0 4 * * 0,3",
        execution_timezone="UTC",
        description="The photographs to colorize; each year is visited once a quarter.",
    )
    def quarterly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return _turns(context, covered() & set(KOREAN_WAR_YEARS.get_partition_keys()), TARGET_TURN_TAG)

    return quarterly


@dg.schedule(
    name="retrain_monthly",
    job=AFTER_THE_CRAWL,
    cron_schedule="0 8 1 * *",
    execution_timezone="UTC",
    description="Trains on what changed since the last training, however little; what is up to date is not made again.",
)
def monthly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Bring everything after the crawl up to date, small changes too."""
    if context.instance.get_latest_materialization_event(dg.AssetKey("crawled_photos")) is None:
        return dg.SkipReason("No year has been crawled yet.")
    # Two trainings at once would write to one checkpoint.
    if is_being_made(context.instance, "pretrained_generator") or is_being_made(context.instance, "gan_model"):
        return dg.SkipReason("A training is under way.")
    return dg.RunRequest()


def _turns(context: dg.ScheduleEvaluationContext, keys: Set[str], tag: str) -> list[dg.RunRequest] | dg.SkipReason:
    """Runs for the years whose last turn is longest ago, as far as there is room.

    Nothing is left out when the daemon was off, and a year whose crawl fails keeps no other from its turn.
    """
    today = context.scheduled_execution_time.date()
    last_turns = _last_turns(context.instance, tag)
    due = [key for key in sorted(keys) if (today - last_turns.get(key, datetime.date.min)).days >= TURN_DAYS]
    if not due:
        return dg.SkipReason("Every year that a source covers has had its turn this quarter.")
    room = TURNS_AT_ONCE - unfinished(context.instance, {SCHEDULED_TAG: IN_TURN})
    if room <= 0:
        return dg.SkipReason("Earlier crawls have not ended yet.")
    due.sort(key=lambda key: last_turns.get(key, datetime.date.min))
    return [
        dg.RunRequest(
            f"{key} {today}",
            partition_key=key,
            tags={SCHEDULED_TAG: IN_TURN, tag: f"{key} {today}"},
        )
        for key in due[:room]
    ]


def _last_turns(instance: dg.DagsterInstance, tag: str) -> dict[str, datetime.date]:
    """The day of each year's last turn."""
    turns = [value.split(" ") for _, values in instance.get_run_tags([tag]) for value in values]
    return {key: datetime.date.fromisoformat(day) for key, day in sorted(turns)}
