"""Whole journeys through `orchestration.incremental.run`: only what changed, and what follows from it, is computed.

Dagster's own history says so.
"""

import os

import dagster as dg
import pytest

from kwcolor_pipeline.definitions import ASSETS, build_definitions
from kwcolor_pipeline.orchestration import incremental
from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline_tests.journeys.photographs import PhotoFolder
from kwcolor_pipeline_tests.orchestration.test_small_metadata import LARGEST_EVENT
from kwcolor_pipeline_tests.small_homes import settings_for

FOLLOWING = [asset.key.to_user_string() for asset in ASSETS[2:]]
PHOTOGRAPH_ASSETS = ["crawled_photos", "deduplicated_photos", "curated_photos", "grayscale_pairs"]


class Journey:
    """A home, its source folders and its Dagster instance; tells what each run added to the history."""

    def __init__(self, root, instance, settings):
        self.instance, self.settings = instance, settings
        self.definitions = build_definitions(settings)
        self.colour, self.target = PhotoFolder(root / "colour"), PhotoFolder(root / "target")

    def history(self):
        """(asset, partition) of every materialization there ever was, oldest first."""
        records = [
            record for asset in ASSETS for record in self.instance.fetch_materializations(asset.key, limit=1000).records
        ]
        return [
            (record.asset_key.to_user_string(), record.partition_key)
            for record in sorted(records, key=lambda record: record.storage_id)
        ]

    def run(self, **options):
        """Run, and give what is new in the history."""
        before = len(self.history())
        outcome = incremental.run(self.settings, self.definitions, self.instance, MLflow(self.settings), **options)
        assert outcome.problems == []
        added = self.history()[before:]
        assert len(added) == len(outcome.materialized)
        return added

    def metadata(self, asset):
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset))
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    def events(self):
        """Bytes that Dagster stored for each event of every run, and the event."""
        for record in self.instance.get_run_records():
            for entry in self.instance.all_logs(record.dagster_run.run_id):
                yield len(dg.serialize_value(entry).encode()), entry.dagster_event or entry.user_message

    def data_versions(self):
        latest = {}
        for asset in ASSETS:
            for record in self.instance.fetch_materializations(asset.key, limit=1000, ascending=True).records:
                tags = record.asset_materialization.tags
                latest[record.asset_key.to_user_string(), record.partition_key] = tags["dagster/data_version"]
        return latest


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # open_instance sets it; this gives it back
    return settings_for(
        tmp_path / "home",
        sources=[f"folder:{tmp_path / 'colour'}"],
        korean_war_sources=[f"folder:{tmp_path / 'target'}"],
    )


@pytest.fixture
def journey(settings, tmp_path):
    """A journey whose history is in memory, which is faster."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Journey(tmp_path, instance, settings)


@pytest.fixture
def kept_journey(settings, tmp_path):
    """A journey whose history is where `kwcolor run` keeps it."""
    with open_instance(settings) as instance:
        yield Journey(tmp_path, instance, settings)


def test_everything_then_nothing_then_one_year_more(kept_journey):
    journey = kept_journey
    journey.colour.add({"1941": 12, "1942": 12, "1943": 12})
    journey.target.add_grey("1951", "skimage", "data/camera.png")
    first = journey.run()
    assert sorted(first[:4]) == [
        ("crawled_photos", "1941"),
        ("crawled_photos", "1942"),
        ("crawled_photos", "1943"),
        ("korean_war_photos", "1951"),
    ]
    assert first[4:] == [(asset, None) for asset in FOLLOWING]
    assert journey.metadata("deduplicated_photos")["newly_hashed"] == 36
    assert journey.metadata("colorized_gallery")["photographs"] == 1
    for asset in ASSETS:
        small = {name: len(str(value)) for name, value in journey.metadata(asset.key.to_user_string()).items()}
        assert sum(small.values()) < 150_000, small

    for size, event in journey.events():
        assert size < LARGEST_EVENT, event

    assert journey.run() == []

    journey.colour.add({"1942": 20})
    before = journey.data_versions()
    assert journey.run() == [("crawled_photos", "1942"), *((asset, None) for asset in FOLLOWING)]
    deduplicated = journey.metadata("deduplicated_photos")
    assert (deduplicated["photographs"], deduplicated["newly_hashed"]) == (56, 20)
    after = journey.data_versions()
    changed = {key for key in after if after[key] != before[key]}
    # Whether the gallery changes is the champion's affair, and that of its pixels.
    assert changed - {("colorized_gallery", None)} == {
        ("crawled_photos", "1942"),
        *((asset, None) for asset in FOLLOWING if asset != "colorized_gallery"),
    }

    assert journey.run() == []


def test_photographs_that_stay_that_go_and_that_are_only_touched(journey):
    journey.colour.add({"1941": 12, "1942": 12})
    assert len(journey.run(select=PHOTOGRAPH_ASSETS)) == 5
    before = journey.data_versions()

    # The same bytes with another date: the year is looked at again, and nothing follows.
    for picture in (journey.colour.root / "1941").iterdir():
        os.utime(picture, (1_000_000_000, 1_000_000_000))
    assert journey.run(select=PHOTOGRAPH_ASSETS) == [("crawled_photos", "1941")]
    assert journey.data_versions() == before

    journey.colour.remove("1941", 2)
    added = journey.run(select=PHOTOGRAPH_ASSETS)
    assert added == [("crawled_photos", "1941"), *((asset, None) for asset in PHOTOGRAPH_ASSETS[1:])]
    deduplicated = journey.metadata("deduplicated_photos")
    assert (deduplicated["photographs"], deduplicated["newly_hashed"]) == (22, 0)
    assert journey.run(select=PHOTOGRAPH_ASSETS) == []

    # A year whose photographs are all gone is still looked at.
    journey.colour.remove("1941", 10)
    assert journey.run(select=PHOTOGRAPH_ASSETS)[0] == ("crawled_photos", "1941")
    assert journey.metadata("deduplicated_photos")["photographs"] == 12
    assert journey.run(select=PHOTOGRAPH_ASSETS) == []


def test_only_the_asked_year_is_crawled(journey):
    journey.colour.add({"1941": 3, "1942": 3})
    assert journey.run(years=["1942"], select=["crawled_photos"]) == [("crawled_photos", "1942")]
    assert journey.run(select=["crawled_photos"]) == [("crawled_photos", "1941")]


def test_results_that_dagster_does_not_know_of_are_told_to_it(journey):
    """As after a kill between the result and Dagster's event, or when the history was moved away."""
    journey.colour.add({"1941": 6, "1942": 6})
    journey.run(select=PHOTOGRAPH_ASSETS)
    with dg.DagsterInstance.ephemeral() as empty:
        journey.instance = empty
        added = journey.run(select=PHOTOGRAPH_ASSETS)
        assert sorted(added[:2]) == [("crawled_photos", "1941"), ("crawled_photos", "1942")]
        assert added[2:] == [(asset, None) for asset in PHOTOGRAPH_ASSETS[1:]]
        assert journey.metadata("deduplicated_photos")["reused"] is True
        assert journey.metadata("deduplicated_photos")["newly_hashed"] == 12
        assert journey.run(select=PHOTOGRAPH_ASSETS) == []


def test_a_year_whose_photographs_are_all_refused_is_told_every_time(journey):
    journey.colour.add({"1941": 6})
    broken = journey.colour.root / "1941" / "0000.jpg"
    for picture in broken.parent.iterdir():
        picture.write_bytes(b"not a picture")
    for _ in range(2):
        outcome = incremental.run(
            journey.settings, journey.definitions, journey.instance, MLflow(journey.settings), select=["crawled_photos"]
        )
        assert outcome.materialized == ["crawled_photos 1941"]
        (problem,) = outcome.problems
        assert "None of the 6 photographs" in problem
        assert not outcome.could_not_start
