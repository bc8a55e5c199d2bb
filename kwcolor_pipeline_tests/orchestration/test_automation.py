"""The conditions of the real assets, by ticks, on stand-ins that cost nothing."""

import datetime

import dagster as dg
import pytest

from kwcolor_pipeline.definitions import ASSETS, defs
from kwcolor_pipeline.orchestration.automation import (
    FOLLOW_THE_DATA,
    ON_ANY_YEAR,
    ON_NEW_CONTENT,
    ON_NEW_CONTENT_OR_TARGET,
)
from kwcolor_pipeline_tests.orchestration.stand_ins import World

AFTER_PAIRS = ["pretrained_generator", "critic", "gan_model", "evaluation_report", "colorized_gallery"]


def test_every_asset_carries_its_condition():
    found = {asset.key.to_user_string(): next(iter(asset.specs)).automation_condition for asset in ASSETS}
    assert found == {
        "crawled_photos": None,
        "korean_war_photos": None,
        "deduplicated_photos": ON_ANY_YEAR,
        "curated_photos": ON_NEW_CONTENT,
        "grayscale_pairs": ON_NEW_CONTENT,
        "pretrained_generator": ON_NEW_CONTENT,
        "critic": ON_NEW_CONTENT,
        "gan_model": ON_NEW_CONTENT,
        "evaluation_report": ON_NEW_CONTENT_OR_TARGET,
        "colorized_gallery": ON_NEW_CONTENT_OR_TARGET,
    }


def test_the_conditions_are_three_different_ones():
    # Conditions without fields compare equal, so a replaced one can silently become another.
    assert ON_ANY_YEAR != ON_NEW_CONTENT
    assert ON_NEW_CONTENT != ON_NEW_CONTENT_OR_TARGET


def test_nothing_but_notices_is_on_until_somebody_switches_it_on():
    assert FOLLOW_THE_DATA.default_status == dg.DefaultSensorStatus.STOPPED
    switched_on = {sensor.name for sensor in defs.sensors if sensor.default_status == dg.DefaultSensorStatus.RUNNING}
    assert switched_on == {"tell_of_failed_runs"}
    assert {schedule.default_status for schedule in defs.schedules} == {dg.DefaultScheduleStatus.STOPPED}


def test_nothing_is_asked_for_in_an_empty_home(world):
    assert [world.tick() for _ in range(3)] == [set()] * 3


def test_the_first_year_is_asked_for_once_and_carried_through_to_the_end(world):
    world.tick()
    world.materialize("crawled_photos", year="1943")
    # All of it is missing, and one run makes it in its order.
    assert world.tick() == {"deduplicated_photos", "curated_photos", "grayscale_pairs", *AFTER_PAIRS}
    assert world.tick() == set()
    world.materialize("deduplicated_photos", "curated_photos", "grayscale_pairs", *AFTER_PAIRS)
    assert world.settle() == []


def test_a_year_crawled_again_with_the_same_pictures_is_followed_by_nothing(world):
    world.everything()
    world.settle()
    world.materialize("crawled_photos", year="1943")
    assert world.settle() == []


def test_changed_pictures_are_followed_by_what_changes_and_no_more(world):
    world.everything()
    world.settle()
    world.change("crawled_photos 1943")
    world.materialize("crawled_photos", year="1943")
    # Their representatives stay the same: nothing behind them is asked for.
    assert world.settle() == [["deduplicated_photos"]]
    for name in ("crawled_photos 1943", "deduplicated_photos", "curated_photos", "grayscale_pairs"):
        world.change(name)
    world.materialize("crawled_photos", year="1943")
    runs = world.settle()
    assert runs[:3] == [["deduplicated_photos"], ["curated_photos"], ["grayscale_pairs"]]
    # All four look at the pairs themselves; they run together, and the gallery has nothing new to show.
    assert [sorted(run) for run in runs[3:]] == [sorted(AFTER_PAIRS[:4])]


def test_a_new_model_is_judged_and_shown(world):
    world.everything()
    world.settle()
    for name in ("gan_model", "evaluation_report"):
        world.change(name)
    world.materialize("gan_model")
    assert world.settle() == [["evaluation_report"], ["colorized_gallery"]]


def test_a_year_of_the_target_is_shown_without_any_training(world):
    world.everything()
    world.settle()
    world.materialize("korean_war_photos", year="1950")
    assert world.settle() == [["evaluation_report", "colorized_gallery"]]


def test_years_of_the_target_that_are_missing_hold_nothing_back(world):
    world.tick()
    world.materialize("crawled_photos", year="1943")
    runs = world.settle()
    assert runs[-1][-1] == "colorized_gallery"
    assert world.instance.get_materialized_partitions(dg.AssetKey("korean_war_photos")) == set()


def test_a_missing_dependency_holds_back_what_needs_it(world):
    world.tick()
    world.materialize("gan_model")
    assert world.settle() == []


def test_a_dependency_in_progress_delays_and_does_not_lose(world):
    world.everything()
    world.settle()
    world.change("crawled_photos 1943")
    world.materialize("crawled_photos", year="1943")
    under_way = world.begin("crawled_photos", year="1941")
    assert [world.tick(), world.tick()] == [set(), set()]
    world.instance.report_run_failed(under_way)
    assert world.tick() == {"deduplicated_photos"}
    assert world.tick() == set()


def test_an_asset_in_progress_is_not_asked_for_again(world):
    world.everything()
    world.settle()
    under_way = world.begin("curated_photos")
    world.change("deduplicated_photos")
    world.materialize("deduplicated_photos")
    assert world.tick() == set()
    world.instance.report_run_failed(under_way)
    assert world.tick() == {"curated_photos"}


@pytest.mark.parametrize(
    ("asset", "waiting"),
    [
        ("grayscale_pairs", {"pretrained_generator", "critic", "gan_model", "evaluation_report"}),
        ("pretrained_generator", {"critic", "gan_model", "evaluation_report"}),
    ],
)
def test_a_failed_blocking_check_holds_back_later_runs_until_it_passes(world, asset, waiting):
    world.everything()
    world.settle()
    world.change(asset)
    world.failing.add(asset)
    world.materialize(asset, ok=False)
    assert world.settle() == []
    world.failing.clear()
    world.materialize(asset)
    assert world.tick() == waiting


def test_a_bad_year_does_not_hold_back_the_other_years(world):
    world.everything()
    world.settle()
    world.failing.add("crawled_photos")
    world.materialize("crawled_photos", year="1944", ok=False)
    assert world.tick() == {"deduplicated_photos"}


def test_losing_to_the_grey_copy_does_not_hold_back_the_gallery(world):
    world.everything()
    world.settle()
    world.failing.add("evaluation_report")
    world.change("evaluation_report")
    world.materialize("evaluation_report")
    assert world.tick() == {"colorized_gallery"}


def test_what_failed_is_tried_again_the_next_morning_and_not_before(world):
    world.everything()
    world.settle()
    world.change("deduplicated_photos")
    world.materialize("deduplicated_photos")
    # Days ahead, so that no tick is before the last one of this test.
    evening = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)).replace(hour=20, minute=0)
    assert world.tick(evening) == {"curated_photos"}
    world.instance.report_run_failed(world.begin("curated_photos"))
    later = [evening + datetime.timedelta(hours=hours) for hours in (1, 2, 9)]
    assert [world.tick(when) for when in later] == [set()] * 3
    assert world.tick(evening + datetime.timedelta(hours=11)) == {"curated_photos"}
    world.instance.report_run_failed(world.begin("curated_photos"))
    assert world.tick(evening + datetime.timedelta(hours=12)) == set()


def test_what_changed_while_the_sensor_was_off_is_followed_when_it_is_on(world):
    world.everything()
    world.change("crawled_photos 1943")
    world.materialize("crawled_photos", year="1943")
    assert world.cursor is None
    assert world.tick() == {"deduplicated_photos"}


def test_a_year_that_comes_in_while_a_run_does_not_see_it_is_followed_by_another(world):
    world.everything()
    world.settle()
    world.change("crawled_photos 1943")
    world.materialize("crawled_photos", year="1943")
    taken_down = dg.AssetMaterialization("crawled_photos", partition="1941", tags={"dagster/data_version": "fewer"})
    world.meanwhile["deduplicated_photos"] = lambda: world.instance.report_runless_asset_event(taken_down)
    assert world.settle() == [["deduplicated_photos"], ["deduplicated_photos"]]


WAITING = {"pretrained_generator", "critic", "gan_model", "evaluation_report"}


@pytest.mark.parametrize(
    ("share", "min_change", "trains"), [(0.019, 0.02, False), (0.02, 0.02, True), (1.0, 0.02, True), (0.0001, 0, True)]
)
def test_a_change_of_the_pairs_trains_when_it_is_large_enough(instance, share, min_change, trains):
    world = World(instance, min_change)
    world.everything()
    world.settle()
    world.changed_share = share
    world.change("grayscale_pairs")
    world.materialize("grayscale_pairs")
    assert world.tick() == (WAITING if trains else set())


def test_a_small_change_waits_until_the_sum_is_large_enough(instance):
    world = World(instance, 0.02)
    world.everything()
    world.settle()
    for share, asked in ((0.01, set()), (0.015, set()), (0.021, WAITING)):
        world.changed_share = share
        world.change("grayscale_pairs")
        world.materialize("grayscale_pairs")
        assert world.tick() == asked


def test_a_small_change_of_the_pairs_holds_nothing_else_back(instance):
    world = World(instance, 0.02)
    world.everything()
    world.settle()
    world.changed_share = 0.001
    world.change("grayscale_pairs")
    world.materialize("grayscale_pairs")
    world.materialize("korean_war_photos", year="1950")
    assert world.tick() == {"evaluation_report", "colorized_gallery"}
    world.materialize("evaluation_report", "colorized_gallery")
    world.change("pretrained_generator")
    world.materialize("pretrained_generator")  # by hand, or by the monthly training
    assert world.settle() == [["critic", "gan_model"], ["evaluation_report"]]


def test_the_sensor_itself_asks_for_one_run(world):
    world.materialize("crawled_photos", year="1943")
    definitions = dg.Definitions(
        assets=world.definitions.assets, jobs=world.definitions.jobs, sensors=[FOLLOW_THE_DATA]
    )
    context = dg.build_sensor_context(instance=world.instance, repository_def=definitions.get_repository_def())
    (request,) = FOLLOW_THE_DATA.evaluate_tick(context).run_requests
    assert {key.to_user_string() for key in request.asset_selection} == {
        "deduplicated_photos",
        "curated_photos",
        "grayscale_pairs",
        *AFTER_PAIRS,
    }
