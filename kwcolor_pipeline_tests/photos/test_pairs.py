import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.photos import pairs, parallel, shards
from kwcolor_pipeline.photos.curation import curate
from kwcolor_pipeline.photos.manifest import write_manifest
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.photos.pairs import check_pairs, make_pairs, make_pairs_is_current, read_index, read_pairs
from kwcolor_pipeline.photos.splits import SPLITS, read_ledger
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, framed, recompressed, scene


def made(home: PhotoHome, workers: int | None = None) -> pairs.Pairs:
    deduplicate(home.settings)
    curate(home.settings)
    return make_pairs(home.settings, workers=workers)


def filled(root: Path, seeds: range, **settings: object) -> PhotoHome:
    home = PhotoHome(root, **({"pairs": {"size": 64}} | settings))
    for seed in seeds:
        home.add(encoded(scene(seed)), title=f"Scene {seed}", licence="CC0", year_taken=1942)
    return home


def shard_bytes(home: PhotoHome) -> dict[str, bytes]:
    root = home.settings.paths.pairs
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob("*/*.tar"))}


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


def test_shards_are_the_same_bytes_for_any_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTHWHILE", 4)
    monkeypatch.setattr(shards, "SHARD_SIZE", 4)
    home = filled(tmp_path, range(16))
    first = made(home, workers=1)
    expected = shard_bytes(home)
    for path in home.settings.paths.pairs.glob("*/*.tar"):
        path.unlink()
    counted: list[tuple[int, int]] = []
    again = make_pairs(home.settings, lambda *count: counted.append(count), workers=3)
    assert again.result.data_version == first.result.data_version
    assert shard_bytes(home) == expected
    assert counted == [(number, 16) for number in range(1, 17)]


def test_new_photographs_rewrite_only_their_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_SIZE", 2)
    home = filled(tmp_path, range(40))
    before = made(home)
    old = shard_bytes(home)
    assert (make_pairs(home.settings).reused, make_pairs_is_current(home.settings)) == (True, True)
    home.add(encoded(scene(41)))
    after = made(home)
    new = shard_bytes(home)
    assert after.result.summary["shards_written"] == len(new.keys() - old.keys()) == 1
    assert after.result.summary["pairs_made"] == 1
    assert after.result.data_version != before.result.data_version
    assert set(new) == {row["shard"] for row in read_index(home.settings.paths)}


def test_another_year_leaves_the_shards_of_other_years(tmp_path: Path) -> None:
    home = filled(tmp_path, range(12))
    made(home)
    old = shard_bytes(home)
    for seed in range(20, 26):
        home.add(encoded(scene(seed)), partition="1943")
    summary = made(home).result.summary
    new = shard_bytes(home)
    assert all("/1943-" in name for name in new.keys() - old.keys())
    assert {name: new.get(name) for name in old} == old
    assert (summary["pairs_made"], summary["shards_written"]) == (6, len(new) - len(old))


def retitled(home: PhotoHome) -> None:
    rows = [row.model_copy(update={"title": f"{row.title} again"}) for row in home.rows["1942"]]
    write_manifest(home.manifest("1942"), rows)


def test_what_is_only_said_anew_of_photographs_makes_no_picture_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = filled(tmp_path, range(12))
    made(home)
    before = {pair.photo_id: pair for split in SPLITS for pair in read_pairs(home.settings.paths, split)}
    retitled(home)

    def forbidden(path: Path) -> None:
        raise AssertionError(f"{path} was opened again")

    monkeypatch.setattr(pairs, "open_upright", forbidden)
    summary = made(home).result.summary
    assert (summary["pairs_made"], summary["shards_written"]) == (0, 3)
    for split in SPLITS:
        for pair in read_pairs(home.settings.paths, split):
            assert pair.metadata["title"] == f"{before[pair.photo_id].metadata['title']} again"
            assert (pair.gray == before[pair.photo_id].gray).all()
            assert (pair.color == before[pair.photo_id].color).all()
    assert check_pairs(home.settings.paths) == []


def test_pictures_are_not_taken_over_from_a_damaged_shard(tmp_path: Path) -> None:
    home = filled(tmp_path, range(12))
    made(home)
    damaged = next(home.settings.paths.pairs.glob("train/*.tar"))
    data = bytearray(damaged.read_bytes())
    data[2000:2100] = bytes(100)
    damaged.write_bytes(data)
    held = [row for row in read_index(home.settings.paths) if row["shard"] == f"train/{damaged.name}"]
    retitled(home)
    assert made(home).result.summary["pairs_made"] == len(held) > 0
    assert check_pairs(home.settings.paths) == []


def test_a_killed_run_goes_on_with_the_shards_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_SIZE", 2)
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
    for decolorizer in ("luma", "panchromatic", "orthochromatic"):
        home.settings.pairs.decolorizer = decolorizer
        assert not make_pairs_is_current(home.settings)
        assert make_pairs(home.settings).result.data_version != first.result.data_version
        assert {row["decolorizer"] for row in read_index(home.settings.paths)} == {decolorizer}
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
    ledger = read_ledger(home.settings.paths)
    assert ledger[copy] == ledger[tested["photo_id"]] == "test"


def test_too_few_photographs_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="at least 3"):
        made(filled(tmp_path, range(2)))


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
