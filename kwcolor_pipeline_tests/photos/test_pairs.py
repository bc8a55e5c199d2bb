import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.photos import pairs
from kwcolor_pipeline.photos.curation import curate
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.photos.pairs import (
    SPLITS,
    assign_splits,
    check_pairs,
    decolorize,
    make_pairs,
    make_pairs_is_current,
    read_index,
    read_pairs,
)
from kwcolor_pipeline.settings import PairSettings, SettingsProblem
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, framed, recompressed, scene


def made(home: PhotoHome) -> pairs.Pairs:
    deduplicate(home.settings)
    curate(home.settings)
    return make_pairs(home.settings)


def filled(root: Path, seeds: range, **settings: object) -> PhotoHome:
    home = PhotoHome(root, **({"pairs": {"size": 64}} | settings))
    for seed in seeds:
        home.add(encoded(scene(seed)), title=f"Scene {seed}", licence="CC0", year_taken=1942)
    return home


def shard_bytes(home: PhotoHome) -> dict[str, bytes]:
    root = home.settings.paths.pairs
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("*/*.tar"))}


@given(st.integers(0, 2**32 - 1))
def test_lightness_grey_has_the_lightness_of_the_colours(seed: int) -> None:
    from skimage.color import rgb2lab

    color = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = decolorize(color, "lightness")
    difference = rgb2lab(color)[..., 0] - rgb2lab(np.repeat(grey[..., None], 3, axis=2))[..., 0]
    assert np.abs(difference).max() < 0.35
    assert (decolorize(np.repeat(grey[..., None], 3, axis=2), "lightness") == grey).all()
    assert (decolorize(color, "luma") == np.asarray(Image.fromarray(color).convert("L"))).all()


def test_pairs_are_complete_readable_and_sound(tmp_path: Path) -> None:
    home = filled(tmp_path, range(10), pairs={"size": 80})
    small = home.add(encoded(framed(scene(50, (100, 70)), (9, 9, 9, 9), 5)), title="Small")
    summary = made(home).result.summary
    paths = home.settings.paths
    assert check_pairs(paths) == []
    assert (summary["photographs"], set(summary["splits"])) == (11, set(SPLITS))
    found = {pair.photo_id: (split, pair) for split in SPLITS for pair in read_pairs(paths, split)}
    index = {row["photo_id"]: row for row in read_index(paths)}
    assert found.keys() == index.keys()
    for photo_id, (split, pair) in found.items():
        row = index[photo_id]
        assert (row["split"], row["height"], row["width"]) == (split, *pair.gray.shape)
        assert pair.gray.shape == pair.color.shape[:2] == ((80, 107) if photo_id != small else pair.gray.shape)
        assert (pair.gray.dtype, pair.color.dtype, pair.metadata["title"]) == (np.uint8, np.uint8, row["title"])
    assert abs(found[small][1].gray.shape[0] - 70) <= 2
    with pytest.raises(ValueError, match="train, valid, test"):
        next(read_pairs(paths, "dev"))


def test_shards_are_the_same_bytes_wherever_they_are_made(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "first", range(6)), filled(tmp_path / "second", range(5, -1, -1))
    assert made(first).result.data_version == made(second).result.data_version
    assert shard_bytes(first) == shard_bytes(second)
    for data in shard_bytes(first).values():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert {member.mtime for member in tar} == {0}


def test_new_photographs_rewrite_only_their_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SHARD_SIZE", 2)
    home = filled(tmp_path, range(40))
    before = made(home)
    old = shard_bytes(home)
    assert (make_pairs(home.settings).reused, make_pairs_is_current(home.settings)) == (True, True)
    home.add(encoded(scene(41)))
    after = made(home)
    new = shard_bytes(home)
    assert after.result.summary["shards_written"] == len(new.keys() - old.keys()) == 1
    assert after.result.data_version != before.result.data_version
    assert set(new) == {row["shard"] for row in read_index(home.settings.paths)}


def test_a_killed_run_goes_on_with_the_shards_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SHARD_SIZE", 2)
    home = filled(tmp_path, range(20))

    def dies(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    deduplicate(home.settings)
    curate(home.settings)
    with pytest.raises(KeyboardInterrupt):
        make_pairs(home.settings, dies)
    survived = shard_bytes(home)
    assert survived
    assert not list(home.settings.paths.pairs.glob("*/.*"))
    summary = make_pairs(home.settings).result.summary
    assert summary["shards_written"] == summary["shards"] - len(survived)
    assert check_pairs(home.settings.paths) == []


def test_a_missing_shard_is_made_again_and_settings_count(tmp_path: Path) -> None:
    home = filled(tmp_path, range(5))
    first = made(home)
    expected = shard_bytes(home)
    next(home.settings.paths.pairs.glob("train/*.tar")).unlink()
    assert not make_pairs_is_current(home.settings)
    assert make_pairs(home.settings).result.data_version == first.result.data_version
    assert shard_bytes(home) == expected
    home.settings.pairs.decolorizer = "luma"
    assert not make_pairs_is_current(home.settings)
    assert make_pairs(home.settings).result.data_version != first.result.data_version
    assert check_pairs(home.settings.paths) == []


def test_a_better_copy_of_a_test_photograph_stays_in_test(tmp_path: Path) -> None:
    home = filled(tmp_path, range(8))
    made(home)
    by_title = {row["title"]: row for row in read_index(home.settings.paths)}
    tested = next(row for row in by_title.values() if row["split"] == "test")
    seed = int(tested["title"].split()[1])
    copy = home.add(encoded(scene(seed).resize((384, 288), Image.Resampling.LANCZOS), quality=95))
    made(home)
    split = {row["photo_id"]: row["split"] for row in read_index(home.settings.paths)}
    assert tested["photo_id"] not in split
    assert split[copy] == "test"
    # The ledger remembers both, so that the pair may even fall apart later.
    ledger = {row["photo_id"]: row["split"] for row in pq.read_table(tmp_path / "pairs" / "ledger.parquet").to_pylist()}
    assert ledger[copy] == ledger[tested["photo_id"]] == "test"


def test_too_few_photographs_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="at least 3"):
        made(filled(tmp_path, range(2)))


@hypothesis_settings(deadline=None)
@given(
    earlier=st.lists(st.sampled_from([None, *SPLITS]), min_size=3, max_size=60),
    merged=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=6),
)
def test_splits_keep_every_promise(earlier: list[str | None], merged: list[tuple[int, int]]) -> None:
    clusters = {f"c{number}": [f"p{number}"] for number in range(len(earlier))}
    for into, gone in merged:
        if into != gone and len(clusters) > 3 and {f"c{into}", f"c{gone}"} <= clusters.keys():
            clusters[f"c{into}"] += clusters.pop(f"c{gone}")
    ledger = {f"p{number}": split for number, split in enumerate(earlier) if split}
    try:
        split_of = assign_splits(clusters, ledger, PairSettings())
    except SettingsProblem:
        assert sum(not any(member in ledger for member in members) for members in clusters.values()) < 3
        return
    assert split_of.keys() == clusters.keys()
    assert set(split_of.values()) == set(SPLITS)
    for cluster, members in clusters.items():
        claims = {ledger[member] for member in members if member in ledger}
        if claims:
            assert split_of[cluster] == next(split for split in ("test", "valid", "train") if split in claims)


def test_shares_are_met_and_do_not_depend_on_the_order() -> None:
    clusters = {f"c{number}": [f"p{number}"] for number in range(1000)}
    wanted = PairSettings(valid_share=0.1, test_share=0.2)
    split_of = assign_splits(clusters, {}, wanted)
    assert [list(split_of.values()).count(split) for split in SPLITS] == [700, 100, 200]
    assert assign_splits(dict(reversed(clusters.items())), {}, wanted) == split_of


def rewritten(path: Path, change: object) -> None:
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(files)  # type: ignore[operator]
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_damage_is_found(tmp_path: Path) -> None:
    home = filled(tmp_path, range(8))
    made(home)
    shard = next(home.settings.paths.pairs.glob("train/*.tar"))
    sound = shard.read_bytes()

    def grey_of_another(files: dict[str, bytes]) -> None:
        first, second = [name for name in files if name.endswith(".gray.png")][:2]
        files[first] = files[second]

    def other_size(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.endswith(".gray.png"))
        files[name] = encoded(Image.new("L", (10, 10)), "PNG")

    def torn(files: dict[str, bytes]) -> None:
        name = next(name for name in files if name.endswith(".color.jpg"))
        files[name] = files[name][:200]

    def gone(files: dict[str, bytes]) -> None:
        photo_id = next(iter(files)).partition(".")[0]
        for name in [name for name in files if name.startswith(photo_id)]:
            del files[name]

    for change, told in ((grey_of_another, "levels off"), (other_size, "size"), (torn, "cannot be"), (gone, "missing")):
        shard.write_bytes(sound)
        rewritten(shard, change)
        problems = check_pairs(home.settings.paths)
        assert len(problems) == 1, change
        assert told in problems[0]
    shard.write_bytes(sound[:700])
    assert "cannot be read" in check_pairs(home.settings.paths)[0]


def test_recompressed_copies_never_lie_in_two_splits(tmp_path: Path) -> None:
    home = filled(tmp_path, range(6))
    for seed in range(6):
        home.add(encoded(recompressed(scene(seed), 60).resize((160, 120))))
    made(home)
    assert len(read_index(home.settings.paths)) == 6
    assert check_pairs(home.settings.paths) == []
