"""Every asset is healthy while its schedule keeps it young, and late when the schedule stood still."""

import asyncio

import dagster as dg
import pytest
from dagster._core.definitions import freshness_evaluator
from dagster._core.loader import LoadingContextForTest

from kwcolor_pipeline.definitions import ASSETS, defs
from kwcolor_pipeline.orchestration.schedules import TURN_DAYS

DAY = 24 * 3600
NAMES = [asset.key.to_user_string() for asset in ASSETS]


def state_after(days, name, instance, monkeypatch):
    """What the UI shows so many days after the asset was materialized."""
    (record,) = instance.fetch_materializations(dg.AssetKey(name), limit=1).records
    monkeypatch.setattr(freshness_evaluator, "get_current_timestamp", lambda: record.timestamp + days * DAY)
    evaluator = freshness_evaluator.TimeWindowFreshnessPolicyEvaluator()
    node = defs.resolve_asset_graph().get(dg.AssetKey(name))
    return asyncio.run(evaluator.evaluate_freshness(LoadingContextForTest(instance), node)).value


@pytest.mark.parametrize("name", NAMES)
def test_an_asset_is_healthy_until_its_schedule_has_failed_it(name, instance, monkeypatch):
    has_years = name in ("crawled_photos", "korean_war_photos")
    year = "1951" if has_years else None
    instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=year))
    # A turn, and the wait for its tick; the longest month.
    latest_by_schedule = TURN_DAYS + 7 if has_years else 31
    assert state_after(latest_by_schedule, name, instance, monkeypatch) == "PASS"
    assert state_after(latest_by_schedule + 7, name, instance, monkeypatch) == "WARN"
    assert state_after(latest_by_schedule + 21, name, instance, monkeypatch) == "FAIL"
