"""Machines that share a store: what each makes, the others have; steps are the assets' own, on small photographs."""

import shutil

import dagster as dg
import pytest

from kwcolor_pipeline.definitions import ASSETS, build_definitions
from kwcolor_pipeline.orchestration.shared_home import _STEPS
from kwcolor_pipeline.orchestration.takedown import take_down
from kwcolor_pipeline.photos.manifest import Status, read_manifest
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.commands import run_command
from kwcolor_pipeline_tests.journeys.photographs import PhotoFolder
from kwcolor_pipeline_tests.small_homes import settings_for

PHOTOGRAPHS = ["deduplicated_photos", "curated_photos", "grayscale_pairs"]


class Machine:
    """A home of its own and a history of its own, with the sources and the store of all."""

    def __init__(self, root, name, shared_store):
        self.settings = settings_for(
            root / name,
            sources=[f"folder:{root / 'colour'}"],
            korean_war_sources=[f"folder:{root / 'target'}"],
            shared_store=shared_store,
        )
        self.definitions = build_definitions(self.settings)
        self.versions = {}

    def materialize(self, *assets, year=None):
        with dg.DagsterInstance.ephemeral() as instance:
            result = self.definitions.resolve_job_def("one_year" if year else "after_the_crawl").execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(asset) for asset in assets], partition_key=year
            )
        for event in result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            self.versions[event.asset_key.to_user_string(), event.partition] = materialization.tags[
                "dagster/data_version"
            ]
        return result

    def photographs(self):
        return {path.name for path in self.settings.paths.photos.glob("??/*.*")}


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = PhotoFolder(tmp_path / "colour")
    folder.add({"1941": 8, "1942": 8})
    PhotoFolder(tmp_path / "target").add_grey("1951", "skimage", "data/camera.png")
    return folder


@pytest.fixture
def machine(tmp_path, source):
    return lambda name: Machine(tmp_path, name, f"file://{tmp_path}/bucket")


def test_every_asset_says_what_it_needs_and_makes():
    assert set(_STEPS) == {asset.key.to_user_string() for asset in ASSETS}
    makes = [unit for step in _STEPS.values() for unit in step.makes]
    assert len(makes) == len(set(makes))


def test_steps_on_three_machines_come_to_what_one_machine_comes_to(tmp_path, machine):
    alone = Machine(tmp_path, "alone", None)
    for year in ("1941", "1942"):
        alone.materialize("crawled_photos", year=year)
    alone.materialize(*PHOTOGRAPHS)

    first, second, third = machine("first"), machine("second"), machine("third")
    first.materialize("crawled_photos", year="1941")
    second.materialize("crawled_photos", year="1942")
    assert len(second.photographs()) == 8
    third.materialize("deduplicated_photos")
    assert third.photographs() == alone.photographs()
    first.materialize("curated_photos")
    second.materialize("grayscale_pairs")
    assert first.versions | second.versions | third.versions == alone.versions
    assert not (third.settings.paths.pairs / "result.json").exists()

    # A machine that is new, or whose home was deleted, has nothing to compute.
    shutil.rmtree(third.settings.home)
    result = third.materialize("grayscale_pairs")
    (event,) = result.get_asset_materialization_events()
    assert event.step_materialization_data.materialization.metadata["reused"].value is True


def test_a_crawl_on_another_machine_reads_only_what_is_new(machine, source):
    first, second = machine("first"), machine("second")
    first.materialize("crawled_photos", year="1941")
    source.add({"1941": 2})
    before = {path: path.stat().st_mtime_ns for path in first.settings.paths.photos.glob("??/*.*")}
    result = second.materialize("crawled_photos", year="1941")
    (event,) = result.get_asset_materialization_events()
    assert event.step_materialization_data.materialization.metadata["stored"].value == 10
    rows = {
        row.photo_id: row.retrieved_at
        for row in read_manifest(second.settings.paths.manifests / "crawled_photos/1941.parquet")
    }
    known = read_manifest(first.settings.paths.manifests / "crawled_photos/1941.parquet")
    assert len(known) == len(before) == 8
    assert all(rows[row.photo_id] == row.retrieved_at for row in known)


def test_a_step_whose_result_cannot_be_shared_fails_and_is_not_told_as_made(tmp_path, machine):
    broken = machine("broken")
    (tmp_path / "bucket").write_text("a file where the store should be")
    with pytest.raises(SettingsProblem, match=r"shared store file://.*/bucket"):
        broken.materialize("crawled_photos", year="1941")
    assert broken.versions == {}


def test_a_takedown_reaches_the_store_and_every_machine(tmp_path, machine):
    first, second = machine("first"), machine("second")
    for year in ("1941", "1942"):
        first.materialize("crawled_photos", year=year)
    first.materialize(*PHOTOGRAPHS)
    second.materialize("grayscale_pairs")
    stored = read_manifest(second.settings.paths.manifests / "crawled_photos/1942.parquet")[0]
    name = f"{stored.photo_id}.jpg"
    assert name in second.photographs()
    assert list(tmp_path.glob(f"bucket/photos/*/{name}"))

    outcome = take_down(second.settings, [stored.photo_id], "asked for", copies=False)
    assert outcome.problems == []
    holding = [
        path
        for path in (tmp_path / "bucket").rglob("*")
        if path.is_file() and "takedowns" not in path.parts and stored.photo_id.encode() in path.read_bytes()
    ]
    assert holding == []
    assert not list(tmp_path.glob(f"bucket/photos/*/{name}"))

    assert name in first.photographs()
    first.materialize("crawled_photos", year="1942")
    assert name not in first.photographs()
    rows = read_manifest(first.settings.paths.manifests / "crawled_photos/1942.parquet")
    assert sum(row.status == Status.STORED for row in rows) == 7
    # The list comes to a machine once, and stays the same.
    lines = first.settings.paths.takedowns.read_bytes()
    first.materialize("crawled_photos", year="1941")
    assert first.settings.paths.takedowns.read_bytes() == lines
    first.materialize(*PHOTOGRAPHS)
    assert ("grayscale_pairs", None) in first.versions


def test_a_home_that_was_alone_is_put_into_the_store_and_fetched_by_commands(
    tmp_path, source, machine, monkeypatch, capsys
):
    alone = Machine(tmp_path, "home", None)
    alone.materialize("crawled_photos", year="1941")
    alone.materialize("deduplicated_photos")
    code, _, problem = run_command(monkeypatch, capsys, "push")
    assert (code, "set KWCOLOR_SHARED_STORE" in problem) == (2, True)
    monkeypatch.setenv("KWCOLOR_SHARED_STORE", f"file://{tmp_path}/bucket")
    for command, home in (("push", "home"), ("pull", "other")):
        monkeypatch.setenv("KWCOLOR_HOME", str(tmp_path / home))
        assert run_command(monkeypatch, capsys, command)[0] == 0
    other = machine("other")
    assert other.photographs() == alone.photographs()
    assert other.materialize("deduplicated_photos").success
    assert other.versions["deduplicated_photos", None] == alone.versions["deduplicated_photos", None]
