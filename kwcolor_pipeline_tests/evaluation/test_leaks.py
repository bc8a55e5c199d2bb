import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.evaluation.leaks import find_leaks
from kwcolor_pipeline.photos.pairs import read_index
from kwcolor_pipeline.photos.shards import read_shard, write_shard
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline_tests.photos.pictures import encoded


def planted(settings: Settings, test_id: str, victim: str, change) -> None:  # type: ignore[no-untyped-def]
    """Put a changed copy of a test photograph in the place of a training one, in the shard alone."""
    shard_of = {row["photo_id"]: row["shard"] for row in read_index(settings.paths)}
    pairs = settings.paths.pairs
    with Image.open(io.BytesIO(read_shard(pairs / shard_of[test_id])[test_id]["color.jpg"])) as opened:
        colour = change(opened.convert("RGB"))
    files = read_shard(pairs / shard_of[victim])
    files[victim] |= {"color.jpg": encoded(colour), "gray.png": encoded(colour.convert("L"), "PNG")}
    write_shard(pairs / shard_of[victim], files.items())


def ids(settings: Settings, split: str) -> list[str]:
    return [row["photo_id"] for row in read_index(settings.paths) if row["split"] == split]


def cropped(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 12, height // 12, width - width // 20, height - height // 20))


def mirrored_and_paler(picture: Image.Image) -> Image.Image:
    return Image.eval(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), lambda level: round(level * 0.7 + 50))


def test_pairs_as_they_are_made_leak_nothing(small_settings: Settings) -> None:
    assert find_leaks(small_settings) == []


@pytest.mark.parametrize("change", [cropped, mirrored_and_paler, lambda picture: picture])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_planted_copy_is_named_with_its_original(small_settings: Settings, change, split: str) -> None:  # type: ignore[no-untyped-def]
    assert find_leaks(small_settings) == []  # and remembers the shards as they were
    tested, victim = ids(small_settings, "test")[0], ids(small_settings, split)[0]
    planted(small_settings, tested, victim, change)
    (leak,) = find_leaks(small_settings)
    assert (leak.test_id, leak.copy_id, leak.copy_split) == (tested, victim, split)
    titles = {row["photo_id"]: row["title"] for row in read_index(small_settings.paths)}
    assert titles[tested] in str(leak)
    assert titles[victim] in str(leak)


def test_shards_that_stay_are_looked_at_once(small_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from kwcolor_pipeline.networks import embeddings

    seen: list[int] = []
    real = embeddings.embed
    monkeypatch.setattr(embeddings, "embed", lambda pictures: seen.append(len(pictures)) or real(pictures))
    find_leaks(small_settings)
    assert sum(seen) == len(read_index(small_settings.paths))
    seen.clear()
    find_leaks(small_settings)
    assert seen == []
    tested, victim = ids(small_settings, "test")[0], ids(small_settings, "train")[0]
    planted(small_settings, tested, victim, cropped)
    find_leaks(small_settings)
    assert 0 < sum(seen) < len(read_index(small_settings.paths))


def test_what_was_kept_damaged_is_looked_at_again(small_settings: Settings) -> None:
    find_leaks(small_settings)
    folder = small_settings.paths.manifests / "evaluation_report"
    kept = [folder / name for name in ("looks.parquet", "leaks.json")]
    whole = [path.read_bytes() for path in kept]
    for path in kept:
        path.write_bytes(path.read_bytes()[:40])
    assert find_leaks(small_settings) == []
    assert [path.read_bytes() for path in kept] == whole


def test_a_damaged_shard_is_no_proof(small_settings: Settings) -> None:
    shard: Path = small_settings.paths.pairs / read_index(small_settings.paths)[0]["shard"]
    shard.write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(tarfile.TarError):
        find_leaks(small_settings)
