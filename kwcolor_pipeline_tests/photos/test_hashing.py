import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kwcolor_pipeline.photos.hashing import dhash, hashes_of, is_flat, phash
from kwcolor_pipeline_tests.photos.pictures import COLOUR_SAMPLES, encoded, framed, recompressed, scene, wheel_file


def distance(first: int, second: int) -> int:
    return (first ^ second).bit_count()


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), quality=st.integers(40, 95), scale=st.floats(0.4, 2))
def test_recompressing_and_resizing_hardly_change_the_hashes(seed: int, quality: int, scale: float) -> None:
    picture = scene(seed)
    copy = recompressed(picture.resize((round(192 * scale), round(144 * scale))), quality)
    assert distance(phash(picture), phash(copy)) <= 8
    assert 0 <= dhash(copy) < 2**64


@pytest.mark.parametrize("sample", COLOUR_SAMPLES, ids=str)
def test_hashes_of_a_file_survive_mats_orientation_and_mirroring(sample: tuple[str, str], tmp_path: Path) -> None:
    picture = Image.open(wheel_file(*sample)).convert("RGB")
    plain, matted, turned, mirrored = (tmp_path / f"{name}.jpg" for name in ("plain", "matted", "turned", "mirrored"))
    plain.write_bytes(encoded(picture))
    matted.write_bytes(encoded(framed(picture, (30, 30, 30, 30), 252)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.write_bytes(encoded(picture.rotate(90, expand=True), exif=exif))
    mirrored.write_bytes(encoded(ImageOps.mirror(picture)))
    expected = hashes_of(plain)
    for copy in (matted, turned):
        assert distance(expected["phash"], hashes_of(copy)["phash"]) <= 8, copy.name
    assert distance(expected["mirror_phash"], hashes_of(mirrored)["phash"]) <= 8
    assert not expected["flat"]


def test_flat_pictures_are_flagged() -> None:
    assert is_flat(Image.new("RGB", (50, 40), (90, 120, 200)))
    assert not is_flat(scene(0))


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(encoded(scene(0))[:2000])
    with pytest.raises(OSError, match="truncated"):
        hashes_of(broken)
    assert Image.open(io.BytesIO(encoded(scene(0)))).size == (192, 144)
