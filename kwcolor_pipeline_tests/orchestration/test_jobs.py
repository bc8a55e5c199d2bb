"""Jobs, by executing them on stand-ins, and the weekly schedule, by its ticks."""

import collections
import datetime
import itertools

import dagster as dg
import pytest

from kwcolor_pipeline.definitions import ASSETS, build_definitions, defs
from kwcolor_pipeline.orchestration.partitions import CRAWLED_YEARS
from kwcolor_pipeline.orchestration.schedules import (
    CURRENT,
    IN_TURN,
    SCHEDULED_TAG,
    TURN_TAG,
    monthly_schedule,
    quarterly_schedule,
    weekly_schedule,
)
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline_tests.orchestration.stand_ins import World

NAMES = [asset.key.to_user_string() for asset in ASSETS]
THIS_YEAR = datetime.datetime.now(datetime.UTC).year


def test_every_job_says_what_it_is_for():
    assert {job.name for job in defs.jobs} == {
        "one_year",
        "one_korean_war_year",
        "after_the_crawl",
        "everything",
        "colorize_watched_folder",
    }
    assert all(job.description for job in defs.jobs)


def test_each_job_executes_what_its_name_says(world):
    assert world.materialize(job="one_year", year="1943") == ["crawled_photos 1943"]
    assert world.materialize(job="one_korean_war_year", year="1951") == ["korean_war_photos 1951"]
    assert sorted(world.materialize(job="after_the_crawl")) == sorted(NAMES[2:])


def test_the_job_for_everything_crawls_one_year_and_computes_what_follows(world):
    executed = world.materialize(job="everything", year="1943")
    assert executed[:2] == ["crawled_photos 1943", "deduplicated_photos"]
    assert sorted(executed) == sorted(["crawled_photos 1943", *NAMES[2:]])
    assert world.instance.get_materialized_partitions(dg.AssetKey("crawled_photos")) == {"1943"}
    # What follows has no years, also when it was computed by a run that has one.
    assert (
        world.instance.get_latest_materialization_event(dg.AssetKey("gan_model")).asset_materialization.partition
        is None
    )


def test_a_year_that_stored_nothing_stops_its_run(world):
    world.failing.add("crawled_photos")
    assert world.materialize(job="everything", year="1943", ok=False) == ["crawled_photos 1943"]


def test_a_failed_check_of_the_pairs_stops_the_training_of_its_run(world):
    world.failing.add("grayscale_pairs")
    executed = world.materialize(job="after_the_crawl", ok=False)
    assert executed == ["deduplicated_photos", "curated_photos", "grayscale_pairs"]


def test_losing_to_the_grey_copy_stops_nothing():
    better = next(check for check in defs.asset_checks if "better_than_grey" in str(check.check_key))
    assert not next(iter(better.check_specs)).blocking


def tick(schedule, when, instance=None):
    """What the schedule answers at ``when``."""
    definitions = dg.Definitions(assets=ASSETS, jobs=defs.jobs, schedules=[schedule], resources=defs.resources)
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=when, repository_def=definitions.get_repository_def()
    )
    return schedule.evaluate_tick(context)


def monday(year):
    return datetime.datetime(year, 3, 2, 4, tzinfo=datetime.UTC)


def test_the_schedule_crawls_the_current_year_where_a_source_covers_it(instance):
    answer = tick(weekly_schedule(lambda: {str(THIS_YEAR), "1943"}), monday(THIS_YEAR), instance)
    (request,) = answer.run_requests
    assert request.partition_key == str(THIS_YEAR)
    assert answer.skip_message is None


def test_the_schedule_skips_a_year_that_nobody_covers_and_says_so():
    answer = tick(weekly_schedule(lambda: {"1943"}), monday(THIS_YEAR))
    assert answer.run_requests == []
    assert answer.skip_message == f"None of the configured sources covers {THIS_YEAR}."


def test_the_schedule_says_when_the_new_year_is_not_loaded_yet():
    next_year = int(max(key for key in CRAWLED_YEARS.get_partition_keys() if key.isdigit())) + 1
    answer = tick(weekly_schedule(lambda: {str(next_year)}), monday(next_year))
    assert answer.run_requests == []
    assert str(next_year) in answer.skip_message


@pytest.mark.parametrize("covered", [True, False])
def test_the_real_schedule_asks_the_configured_sources(tmp_path, instance, covered):
    (tmp_path / "index.csv").write_text(f"file,id,year\npicture.jpg,one,{THIS_YEAR if covered else 1943}\n")
    definitions = build_definitions(load_settings(home=tmp_path / "home", sources=[f"folder:{tmp_path}"]))
    schedule = next(one for one in definitions.schedules if one.name == "crawl_current_year_weekly")
    answer = tick(schedule, monday(THIS_YEAR), instance)
    assert bool(answer.run_requests) is covered
    assert bool(answer.skip_message) is not covered


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


EVERY_KEY = set(CRAWLED_YEARS.get_partition_keys())


def ticks(start, count):
    """The first ``count`` Tuesdays, Thursdays and Saturdays, 4 o'clock, from ``start``."""
    days = (start + datetime.timedelta(days=number) for number in range(10 * count))
    return [day for day in days if day.weekday() in (1, 3, 5)][:count]


def visit(schedule, instance, when, fails=()):
    """One tick: the keys that are asked for; each becomes a run, failed for those that fail."""
    asked = tick(schedule, when, instance).run_requests
    for request in asked:
        status = dg.DagsterRunStatus.FAILURE if request.partition_key in fails else dg.DagsterRunStatus.SUCCESS
        instance.add_run(dg.DagsterRun(job_name="one_year", tags=dict(request.tags), status=status))
    return [request.partition_key for request in asked]


def test_every_past_year_has_its_turn_once_a_quarter_and_never_more_than_two_at_once(instance):
    schedule = quarterly_schedule(lambda: EVERY_KEY)
    start = datetime.datetime(THIS_YEAR, 1, 6, 4, tzinfo=datetime.UTC)
    visits = collections.defaultdict(list)
    for when in ticks(start, 2 * 13 * 3):
        asked = visit(schedule, instance, when, fails={"1943"})
        assert len(asked) <= 2
        for key in asked:
            visits[key].append(when)
    assert set(visits) == EVERY_KEY - {str(THIS_YEAR)}
    for key, days in visits.items():
        assert len(days) >= 2, key
        assert all(84 <= (later - early).days <= 90 for early, later in itertools.pairwise(days)), key


def test_after_a_pause_the_longest_neglected_come_first(instance):
    schedule = quarterly_schedule(lambda: {"1941", "1942", "1943", "1944"})
    for turn in ("1941 2026-01-06", "1942 2026-01-03", "1943 2026-01-01", "1943 2025-09-01", "1944 2026-06-20"):
        instance.add_run(dg.DagsterRun(job_name="one_year", status=dg.DagsterRunStatus.SUCCESS, tags={TURN_TAG: turn}))
    when = datetime.datetime(2026, 6, 23, 4, tzinfo=datetime.UTC)
    assert visit(schedule, instance, when) == ["1943", "1942"]
    assert visit(schedule, instance, when + datetime.timedelta(days=2)) == ["1941"]
    skipped = tick(schedule, when + datetime.timedelta(days=4), instance)
    assert skipped.run_requests == []
    assert "had its turn" in skipped.skip_message


@pytest.mark.parametrize(
    ("status", "room"), [("NOT_STARTED", 1), ("STARTED", 1), ("CANCELING", 1), ("FAILURE", 2), ("SUCCESS", 2)]
)
def test_a_crawl_that_has_not_ended_takes_a_place(instance, status, room):
    schedule = quarterly_schedule(lambda: EVERY_KEY)
    when = datetime.datetime(THIS_YEAR, 3, 3, 4, tzinfo=datetime.UTC)
    crawl = dg.DagsterRun(job_name="one_year", status=dg.DagsterRunStatus[status], tags={SCHEDULED_TAG: IN_TURN})
    instance.add_run(crawl)
    assert len(tick(schedule, when, instance).run_requests) == room


def test_without_room_the_tick_says_so(instance):
    for _ in range(2):
        instance.add_run(
            dg.DagsterRun(job_name="one_year", status=dg.DagsterRunStatus.STARTED, tags={SCHEDULED_TAG: IN_TURN})
        )
    answer = tick(quarterly_schedule(lambda: EVERY_KEY), datetime.datetime(THIS_YEAR, 3, 3, 4), instance)
    assert answer.run_requests == []
    assert "not ended" in answer.skip_message


def test_the_current_year_is_not_asked_for_while_last_weeks_crawl_goes_on(instance):
    schedule = weekly_schedule(lambda: {str(THIS_YEAR)})
    (request,) = tick(schedule, monday(THIS_YEAR), instance).run_requests
    assert request.tags[SCHEDULED_TAG] == CURRENT
    run = dg.DagsterRun(job_name="one_year", status=dg.DagsterRunStatus.STARTED, tags=dict(request.tags))
    instance.add_run(run)
    assert "not ended" in tick(schedule, monday(THIS_YEAR), instance).skip_message
    instance.report_run_failed(run)
    assert len(tick(schedule, monday(THIS_YEAR), instance).run_requests) == 1


def test_the_monthly_training_waits_for_a_crawl_and_for_a_training_under_way(instance):
    world = World(instance)
    first = datetime.datetime(THIS_YEAR, 3, 1, 8, tzinfo=datetime.UTC)
    assert "No year" in tick(monthly_schedule, first, instance).skip_message
    world.materialize("crawled_photos", year="1943")
    (request,) = tick(monthly_schedule, first, instance).run_requests
    assert request.asset_selection is None  # all that the job is for
    under_way = world.begin("pretrained_generator")
    assert "under way" in tick(monthly_schedule, first, instance).skip_message
    instance.report_run_failed(under_way)
    assert len(tick(monthly_schedule, first, instance).run_requests) == 1


def test_only_covered_years_have_a_turn(instance):
    schedule = quarterly_schedule(lambda: {"1943", "undated", str(THIS_YEAR)})
    when = datetime.datetime(THIS_YEAR, 3, 3, 4, tzinfo=datetime.UTC)
    assert set(visit(schedule, instance, when)) == {"1943", "undated"}
