"""Copies that hashes cannot find are found, once, and remembered."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.photos import second_look
from kwcolor_pipeline.photos.near_duplicates import deduplicate, deduplicate_is_current, read_deduplicated
from kwcolor_pipeline.photos.second_look import read_embeddings, similar_pairs
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene, wheel_file


def photograph(name: str = "coffee.png") -> Image.Image:
    return Image.open(wheel_file("skimage", f"data/{name}")).convert("RGB")


def part(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


def cluster_of(home: PhotoHome) -> dict[str, str]:
    deduplicate(home.settings)
    return {row["photo_id"]: row["cluster_id"] for row in read_deduplicated(home.settings.paths)}


def test_a_crop_is_found_by_the_second_look_alone(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    whole = home.add(encoded(photograph()))
    crop = home.add(encoded(part(photograph(), 0.1, 0.0, 0.95, 0.85)))
    other = home.add(encoded(photograph("chelsea.png")))
    found = cluster_of(home)
    assert found[whole] == found[crop] != found[other]
    summary = deduplicate(home.settings).result.summary
    assert summary["joined_by_the_second_look"] == 1
    home.settings.near_duplicates.second_look = False
    assert not deduplicate_is_current(home.settings)
    assert len(set(cluster_of(home).values())) == 3


def test_two_crops_that_share_a_part_meet_through_the_whole(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    ids = {home.add(encoded(part(photograph(), *box))) for box in ((0, 0, 1, 1), (0, 0, 0.8, 0.8), (0.2, 0.2, 1, 1))}
    assert len(set(cluster_of(home).values())) == 1
    rows = read_deduplicated(home.settings.paths)
    assert {row["rank"] for row in rows} == {0, 1, 2}
    best = next(row for row in rows if row["representative"])
    assert (best["rank"], best["width"], len(ids)) == (0, 600, 3)


def test_nothing_is_looked_at_twice(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    for name in ("coffee.png", "chelsea.png", "astronaut.png"):
        home.add(encoded(photograph(name)))
    first = deduplicate(home.settings).result.summary
    assert first["newly_embedded"] == 3
    home.add(encoded(part(photograph(), 0.0, 0.1, 0.9, 1.0)), partition="1950")
    second = deduplicate(home.settings).result.summary
    assert (second["newly_embedded"], second["newly_hashed"]) == (1, 1)
    home.settings.near_duplicates.same_score = 0.99
    stricter = deduplicate(home.settings).result.summary
    assert (stricter["newly_embedded"], stricter["newly_compared"], stricter["clusters"]) == (0, 0, 4)
    ids, vectors = read_embeddings(home.settings.paths)
    assert len(ids) == len(vectors) == 4


def test_a_killed_look_keeps_what_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = PhotoHome(tmp_path)
    for seed in range(6):
        home.add(encoded(scene(seed)))
    monkeypatch.setattr(second_look, "_BATCH", 2)
    monkeypatch.setattr(second_look, "_SAVE_EVERY", 1)

    def dies(done: int, total: int) -> None:
        if (done, total) == (4, 6) and (tmp_path / "manifests/deduplicated_photos/embeddings.parquet").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deduplicate(home.settings, dies)
    assert deduplicate(home.settings).result.summary["newly_embedded"] < 6


@pytest.mark.parametrize("table", ["embeddings", "comparisons"])
def test_a_damaged_table_is_computed_anew(tmp_path: Path, table: str) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(photograph()))
    home.add(encoded(part(photograph(), 0.1, 0.0, 0.95, 0.85)))
    before = cluster_of(home)
    path = tmp_path / f"manifests/deduplicated_photos/{table}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    home.settings.near_duplicates.neighbours = 9
    assert cluster_of(home) == before


def test_a_cluster_keeps_its_name_when_a_copy_with_a_smaller_id_comes(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    ids = [home.add(encoded(scene(1), quality=60))]
    before = cluster_of(home)
    quality = 61
    while min(ids) == ids[0]:
        ids.append(home.add(encoded(scene(1), quality=quality), partition="1950"))
        quality += 1
    assert set(cluster_of(home).values()) == set(before.values())


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 6))
def test_similar_pairs_are_those_of_all_cosines(seed: int, count: int, neighbours: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    expected = set()
    for one in range(count):
        others = sorted((-cosines[one, other], other) for other in range(count) if other != one)
        expected |= {(min(one, o), max(one, o)) for cosine, o in others[:neighbours] if -cosine >= 0.5}
    assert set(map(tuple, similar_pairs(vectors, 0.5, neighbours).tolist())) == expected
