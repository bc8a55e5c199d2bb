import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.erasing import erase_from_manifests, erase_from_pairs, erase_from_store, split_ledger
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, read_manifest
from kwcolor_pipeline.photos.takedown import Reference, Takedown, Takedowns, read_reference, record
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene

WHEN = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
ONE, TWO, THREE = (f"{number:064x}" for number in (1, 2, 3))


def entry(photo_id: str | None, *urls: str, reason: str = "asked") -> Takedown:
    return Takedown(photo_id=photo_id, urls=list(urls), reason=reason, when=WHEN)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_nothing_is_taken_down_without_a_list(home: Home) -> None:
    assert Takedowns.load(home).covers(ONE, ["https://a.example/1"]) is None
    assert not home.root.exists()


def test_the_list_covers_by_bytes_and_by_address(home: Home) -> None:
    record(home, [entry(ONE, "https://a.example/1.jpg", reason="first"), entry(None, "https://a.example/page/")])
    record(home, [entry(TWO, reason="second")])
    takedowns = Takedowns.load(home)
    assert (takedowns.covers(ONE), takedowns.covers(TWO), takedowns.covers(THREE)) == ("first", "second", None)
    assert takedowns.covers(urls=[None, "https://b.example", "https://a.example/1.jpg"]) == "first"
    assert takedowns.covers(THREE, ["https://a.example/page#top"]) == "asked"
    assert takedowns.covers(urls=["https://a.example/page"]) == takedowns.covers(urls=["https://a.example/page/#x"])
    for other in ("https://a.example/1.jpg?size=2", "https://a.example/1", "https://a.example/", "", None):
        assert takedowns.covers(urls=[other]) is None, other
    written = [json.loads(line) for line in home.takedowns.read_text().splitlines()]
    assert [line["photo_id"] for line in written] == [ONE, None, TWO]
    assert set(written[0]) == {"photo_id", "urls", "reason", "when"}


@given(cut=st.integers(0, 400), again=st.booleans())
def test_a_torn_line_never_loses_an_earlier_one(
    tmp_path_factory: pytest.TempPathFactory, cut: int, again: bool
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    record(home, [entry(ONE)])
    whole = home.takedowns.read_bytes()
    record(home, [entry(TWO, "https://a.example/é")])
    written = home.takedowns.read_bytes()
    home.takedowns.write_bytes(written[: min(len(whole) + cut, len(written))])
    if again:
        record(home, [entry(THREE)])
    takedowns = Takedowns.load(home)
    assert takedowns.covers(ONE)
    assert bool(takedowns.covers(THREE)) == again
    assert bool(takedowns.covers(TWO)) == (len(whole) + cut >= len(written) - 1)


def test_a_damaged_line_is_no_torn_one(home: Home) -> None:
    record(home, [entry(ONE)])
    home.takedowns.write_bytes(b"\n{}\n" + home.takedowns.read_bytes())
    before = home.takedowns.read_bytes()
    for use in (lambda: Takedowns.load(home), lambda: record(home, [entry(TWO)])):
        with pytest.raises(SettingsProblem, match="line 2 is no takedown"):
            use()
    assert home.takedowns.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (f" {ONE} ", Reference(photo_id=ONE)),
        ("AB" * 32, Reference(photo_id="ab" * 32)),
        ("https://a.example/1.jpg#x", Reference(url="https://a.example/1.jpg#x")),
        ("file:///scans/a.jpg", Reference(url="file:///scans/a.jpg")),
    ],
)
def test_what_names_a_picture(text: str, reference: Reference) -> None:
    assert read_reference(text) == reference


@pytest.mark.parametrize(
    "text", ["", "abc", ONE[1:], ONE + "0", "a.jpg", "/scans/a.jpg", "https:", "http://[", "ftp://a"]
)
def test_what_names_none(text: str) -> None:
    with pytest.raises(SettingsProblem, match="neither"):
        read_reference(text)


def test_rows_of_manifests_and_of_killed_crawls_become_rejected(tmp_path: Path) -> None:
    photos = PhotoHome(tmp_path / "home")
    home = photos.settings.paths
    gone = photos.add(encoded(scene(1)), title="Gone", etag="e", mime="image/jpeg")
    kept = photos.add(encoded(scene(2)), file_url="https://a.example/2.jpg")
    photos.add(encoded(scene(3)), partition="1943")
    rows = photos.rows["1942"]
    failed = rows[0].model_copy(
        update={"photo_id": None, "status": Status.FAILED, "landing_url": "https://a.example/page", "source_id": "x"}
    )
    journal = photos.manifest("1944").with_name("1944.journal.jsonl")
    journal.write_text("".join(row.model_dump_json() + "\n" for row in [*rows, failed]) + '{"torn')
    for key in ("1942", "1943"):
        photos.manifest(key).with_suffix(".json").write_text("{}")
    record(home, [entry(gone), entry(None, "https://a.example/page/")])
    assert erase_from_manifests(home, Takedowns.load(home)) == [photos.manifest("1942")]

    found = {row.title or row.photo_id: row for row in read_manifest(photos.manifest("1942"))}
    row = found["Gone"]
    assert (row.status, row.reason, row.photo_id, row.etag) == (Status.REJECTED, "taken_down: asked", None, "e")
    assert (row.width, row.height, row.mime) == (None, None, None)
    assert found[kept].status == Status.STORED
    assert not photos.manifest("1942").with_suffix(".json").exists()
    assert photos.manifest("1943").with_suffix(".json").exists()
    *lines, torn = journal.read_text().splitlines()
    noted = [ManifestRow.model_validate_json(line) for line in lines]
    assert [row.status for row in noted] == [Status.REJECTED, Status.STORED, Status.REJECTED]
    assert torn == '{"torn'

    assert erase_from_manifests(home, Takedowns.load(home)) == []


def test_the_stored_file_goes_with_its_half_written_copies(tmp_path: Path) -> None:
    photos = PhotoHome(tmp_path / "home")
    gone, kept = (photos.add(encoded(scene(seed))) for seed in (1, 2))
    path = photos.store.find(gone)
    path.with_name(f".{path.name}.17-abcd.part").write_bytes(b"half")
    erase_from_store(photos.settings.paths, {gone, ONE})
    assert photos.store.find(kept).exists()
    assert not any(path.parent.iterdir())


def test_a_damaged_ledger_is_kept_and_told(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.pairs / "train").mkdir(parents=True)
    (home.pairs / "ledger.parquet").write_bytes(b"damaged")
    (home.pairs / "train" / "0-damaged.tar").write_bytes(b"damaged")
    with pytest.raises(SettingsProblem, match="ledger"):
        split_ledger(home)
    with pytest.raises(SettingsProblem, match="backup"):
        erase_from_pairs(home, {ONE})
    # A shard that cannot be read may hold the picture, and is made again.
    assert [path.name for path in home.pairs.rglob("*") if path.is_file()] == ["ledger.parquet"]
