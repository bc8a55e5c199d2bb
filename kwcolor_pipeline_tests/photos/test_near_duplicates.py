from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from kwcolor_pipeline.photos import near_duplicates
from kwcolor_pipeline.photos.near_duplicates import deduplicate, deduplicate_is_current, read_deduplicated
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene, wheel_file


def test_the_best_copy_stands_for_its_cluster_and_inherits(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    picture = scene(1, (400, 300))
    large = home.add(encoded(picture), title=None, year_taken=None)
    small = home.add(encoded(picture.resize((160, 120))), partition="1944", title="Tank", licence="PD", year_taken=1944)
    mirror = home.add(encoded(ImageOps.mirror(picture).resize((200, 150))), creator="Palmer", title="Other")
    alone = home.add(encoded(scene(2)))
    rows = {row["photo_id"]: row for row in read_deduplicated_after(home)}
    cluster = {large, small, mirror}
    assert {rows[photo_id]["cluster_id"] for photo_id in cluster} == {min(cluster)}
    assert [rows[photo_id]["duplicate_of"] for photo_id in (large, small, mirror, alone)] == [None, large, large, None]
    assert rows[alone]["representative"]
    best = rows[large]
    assert (best["creator"], best["licence"], best["year_taken"]) == ("Palmer", "PD", 1944)
    assert best["title"] in ("Tank", "Other")
    assert rows[small]["creator"] is None


def read_deduplicated_after(home: PhotoHome) -> list[dict]:
    deduplicate(home.settings)
    return read_deduplicated(home.settings.paths)


def test_landscapes_under_a_clear_sky_are_not_copies_by_their_hashes(tmp_path: Path) -> None:
    """Their difference hashes agree; their perceptual hashes do not."""
    home = PhotoHome(tmp_path, near_duplicates={"second_look": False})
    rise = np.linspace(90, 200, 144)[:, None] + np.linspace(0, 40, 192)
    for seed in range(4):
        ground = np.asarray(scene(seed).convert("L"), dtype=np.float64)
        mixed = np.where(np.arange(144)[:, None] < 100, rise, 0.5 * ground + np.linspace(0, 120, 192))
        home.add(encoded(Image.fromarray(mixed.astype(np.uint8)).convert("RGB")))
    assert deduplicate(home.settings).result.summary["clusters"] == 4


def test_flat_and_unreadable_pictures_match_nothing(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(Image.new("RGB", (100, 80), (90, 120, 200))))
    home.add(encoded(Image.new("RGB", (120, 80), (92, 120, 200))))
    home.add(encoded(scene(1))[:1500])
    home.add(encoded(scene(2))[:1500])
    assert deduplicate(home.settings).result.summary["clusters"] == 4


def test_the_same_file_in_two_years_is_one_photograph(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    data = encoded(scene(1))
    home.add(data, partition="1941", title=None)
    home.add(data, partition="1942", title="Convoy")
    rows = read_deduplicated_after(home)
    assert [(row["partition"], row["title"]) for row in rows] == [("1941", "Convoy")]


def test_the_stereo_pair_of_the_sample_pictures_is_found(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    for side in ("left", "right"):
        home.add(wheel_file("skimage", f"data/motorcycle_{side}.png").read_bytes(), "PNG")
    assert deduplicate(home.settings).result.summary["duplicates_dropped"] == 1


def test_nothing_is_done_again_until_something_changes(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)), title="One")
    assert not deduplicate_is_current(home.settings)
    first = deduplicate(home.settings)
    assert deduplicate_is_current(home.settings)
    again = deduplicate(home.settings)
    assert (first.reused, again.reused, again.result) == (False, True, first.result)

    home.add(encoded(scene(2)), partition="1950")
    assert not deduplicate_is_current(home.settings)
    grown = deduplicate(home.settings)
    assert grown.result.summary["newly_hashed"] == 1
    assert grown.result.data_version != first.result.data_version

    home.rows["1942"][0].title = "Another title"
    home.add(encoded(scene(1)))
    assert not deduplicate(home.settings).reused
    stricter = home.settings.model_copy(deep=True)
    stricter.near_duplicates.phash_distance = 4
    assert not deduplicate_is_current(stricter)


def test_crawling_again_without_news_keeps_the_data_version(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)))
    first = deduplicate(home.settings)
    home.rows["1942"][0].etag = "new"
    near_duplicates.manifest.write_manifest(home.manifest("1942"), home.rows["1942"])
    assert deduplicate(home.settings).result == first.result
    assert pq.read_schema(first.table).names == near_duplicates.SCHEMA.names


def test_reading_before_making_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="materialize deduplicated_photos"):
        read_deduplicated(PhotoHome(tmp_path).settings.paths)
