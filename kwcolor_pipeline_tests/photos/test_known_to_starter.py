"""Photographs that the starter learned from, and copies of them, never measure a model."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from kwcolor_pipeline.photos import known_to_starter
from kwcolor_pipeline.photos.curation import curate
from kwcolor_pipeline.photos.near_duplicates import deduplicate, hashes_file
from kwcolor_pipeline.photos.pairs import make_pairs, make_pairs_is_current, read_index
from kwcolor_pipeline.photos.splits import read_ledger, write_ledger
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene

COUNT = 24


def mirrored_and_small(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    ImageOps.mirror(picture).resize((120, 90)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PhotoHome:
    """A home with scenes, of which the starter learned from the first eight in another size and mirrored."""
    theirs = PhotoHome(tmp_path / "theirs")
    for seed in range(8):
        theirs.add(mirrored_and_small(scene(seed, (240, 180))), title=f"Scene {seed}", year_taken=1942)
    deduplicate(theirs.settings)
    listed = tmp_path / "photographs.parquet"
    pq.write_table(pq.read_table(hashes_file(theirs.settings.paths)).select(["photo_id", "phash", "dhash"]), listed)
    monkeypatch.setattr(known_to_starter, "PHOTOGRAPHS", listed)
    ours = PhotoHome(tmp_path / "ours")
    for seed in range(COUNT):
        ours.add(encoded(scene(seed, (240, 180))), title=f"Scene {seed}", licence="CC0", year_taken=1942)
    deduplicate(ours.settings)
    curate(ours.settings)
    return ours


def splits_by_title(home: PhotoHome) -> dict[str, str]:
    return {row["title"]: row["split"] for row in read_index(home.settings.paths)}


def test_they_and_their_copies_train(home: PhotoHome) -> None:
    made = make_pairs(home.settings)
    splits = splits_by_title(home)
    assert {splits[f"Scene {seed}"] for seed in range(8)} == {"train"}
    assert {splits[f"Scene {seed}"] for seed in range(8, COUNT)} == {"train", "valid", "test"}
    assert made.result.summary["known_to_the_starter"] == 8
    # The shares of the others are as wanted all the same.
    assert made.result.summary["splits"]["test"] == round(home.settings.pairs.test_share * COUNT)


def test_what_was_in_test_before_measures_and_trains_no_more(home: PhotoHome) -> None:
    paths = home.settings.paths
    make_pairs(home.settings)
    ids = {row["title"]: row["photo_id"] for row in read_index(paths)}
    write_ledger(paths, read_ledger(paths) | {ids["Scene 3"]: "test"})
    (paths.pairs / "result.json").unlink()
    made = make_pairs(home.settings)
    assert "Scene 3" not in splits_by_title(home)
    assert made.result.summary["left_out"] == 1


def test_another_starter_makes_the_pairs_outdated(
    home: PhotoHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pairs(home.settings)
    assert make_pairs_is_current(home.settings)
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(known_to_starter.PHOTOGRAPHS).slice(0, 2), fewer)
    monkeypatch.setattr(known_to_starter, "PHOTOGRAPHS", fewer)
    assert not make_pairs_is_current(home.settings)


def test_the_shipped_list_is_readable() -> None:
    table = pq.read_table(known_to_starter.PHOTOGRAPHS)
    assert table.column_names == ["photo_id", "phash", "dhash"]
    assert len(known_to_starter.starter_photographs_version()) == 64
