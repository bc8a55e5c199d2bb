"""Schedules: the current year is crawled every week.

https://docs.dagster.io/guides/automate/schedules
"""

from collections.abc import Callable

import dagster as dg

from kwcolor_pipeline.orchestration.jobs import ONE_YEAR
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS


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
