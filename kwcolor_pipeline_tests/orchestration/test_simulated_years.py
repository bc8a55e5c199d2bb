"""Three years of the schedules, tick by tick, with a code location that is loaded anew each 1 January."""

import collections
import datetime
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kwcolor_pipeline.photos.manifest import FIRST_WEB_YEAR, FIRST_YEARS, KOREAN_WAR_YEARS

pytestmark = pytest.mark.slow

YEARS = (2027, 2028, 2029)
CURRENT, IN_TURN, TARGET = (
    "crawl_current_year_weekly",
    "crawl_past_years_quarterly",
    "crawl_korean_war_years_quarterly",
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What was asked for, tick by tick."""
    home = tmp_path_factory.mktemp("years")
    archive = home / "archive"
    archive.mkdir()
    rows = [f"{year}.jpg,{year},{year}" for year in FIRST_YEARS]
    (archive / "index.csv").write_text("\n".join(["file,id,year", *rows]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KWCOLOR_", "DAGSTER_"))}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    told = []
    for year in YEARS:
        command = [sys.executable, "-m", "kwcolor_pipeline_tests.orchestration.simulated_year", str(year), str(home)]
        run = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-2000:]
        told += json.loads(run.stdout.splitlines()[-1])
    return [{**one, "day": datetime.date.fromisoformat(one["day"])} for one in told]


def days_of(asked, schedule):
    """Year to the days on which this schedule asked for it."""
    days = collections.defaultdict(list)
    for one in asked:
        if one["schedule"] == schedule and "key" in one:
            days[one["key"]].append(one["day"])
    return days


def quarters(days):
    return {(day.year, (day.month - 1) // 3) for day in days}


EVERY_QUARTER = set(itertools.product(YEARS, range(4)))


def test_every_past_year_is_crawled_in_every_quarter(asked):
    days = days_of(asked, IN_TURN)
    past = [*FIRST_YEARS, *range(FIRST_WEB_YEAR, YEARS[0])]
    for year in past:
        assert quarters(days[str(year)]) == EVERY_QUARTER, year
    # What was the current year is a past one from 1 January on.
    assert quarters(days["2027"]) == set(itertools.product((2028, 2029), range(4)))
    assert quarters(days["2028"]) == set(itertools.product((2029,), range(4)))
    assert "2029" not in days


def test_the_years_of_the_target_are_crawled_in_every_quarter(asked):
    days = days_of(asked, TARGET)
    # The archive's later photographs are undated to the target.
    keys = [*map(str, KOREAN_WAR_YEARS), "undated"]
    assert {key: quarters(found) for key, found in days.items()} == dict.fromkeys(keys, EVERY_QUARTER)


def test_the_current_year_is_crawled_every_monday_and_a_new_one_joins_with_its_first(asked):
    days = days_of(asked, CURRENT)
    assert set(days) == {str(year) for year in YEARS}
    for year in YEARS:
        new_year = datetime.date(year, 1, 1)
        mondays = [
            new_year + datetime.timedelta(days=number)
            for number in range(366)
            if (new_year + datetime.timedelta(days=number)).weekday() == 0
        ]
        assert days[str(year)] == [day for day in mondays if day.year == year]


def test_never_more_than_three_crawls_at_once(asked):
    at_once = [one["unfinished"] for one in asked if "unfinished" in one]
    assert max(at_once) == 3
    per_tick = collections.Counter((one["day"], one["schedule"]) for one in asked if "key" in one)
    assert max(per_tick.values()) <= 2


def test_without_a_crawled_year_nothing_is_trained(asked):
    ticks = [one for one in asked if one["schedule"] == "retrain_monthly"]
    assert len(ticks) == 12 * len(YEARS)
    assert not [one for one in ticks if "key" in one]
