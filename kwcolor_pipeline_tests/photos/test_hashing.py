import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kwcolor_pipeline.photos import hashing
from kwcolor_pipeline.photos.borders import trim_box
from kwcolor_pipeline.photos.hashing import dhash, hashes_of, is_flat, phash
from kwcolor_pipeline_tests.photos.pictures import COLOUR_SAMPLES, encoded, framed, recompressed, scene, wheel_file

ORIENTATION = 0x0112


def distance(first: int, second: int) -> int:
    return (first ^ second).bit_count()


def number(hashed: imagehash.ImageHash) -> int:
    return int(str(hashed), 16)


def by_imagehash(picture: Image.Image) -> dict[str, int]:
    """What imagehash says of a grey picture and of its mirror image."""
    mirror = ImageOps.mirror(picture)
    return {
        "phash": number(imagehash.phash(picture)),
        "dhash": number(imagehash.dhash(picture)),
        "mirror_phash": number(imagehash.phash(mirror)),
        "mirror_dhash": number(imagehash.dhash(mirror)),
    }


def drawn(kind: int, seed: int, size: tuple[int, int]) -> Image.Image:
    """Grey pictures that are easy to get wrong: noise, black and white, steps, ramps, even, few levels (ties)."""
    random = np.random.default_rng(seed)
    width, height = size
    noise = random.integers(0, 256, (height, width), dtype=np.uint8)
    if kind == 1:
        noise = np.where(noise > 127, 255, 0).astype(np.uint8)
    elif kind == 2:
        noise = np.repeat(np.repeat(noise[:8, :9], 16, axis=0), 16, axis=1)[:height, :width]
    elif kind == 3:
        noise = np.tile((np.arange(width) % 256).astype(np.uint8), (height, 1))
    elif kind == 4:
        noise = np.full((height, width), seed % 256, np.uint8)
    elif kind == 5:
        noise = (noise // 64 * 64).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(noise))


def saved(path: Path, picture: Image.Image, pil_format: str, **options: object) -> Path:
    path.write_bytes(encoded(picture, pil_format, **options))
    return path


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), quality=st.integers(40, 95), scale=st.floats(0.4, 2))
def test_recompressing_and_resizing_hardly_change_the_hashes(seed: int, quality: int, scale: float) -> None:
    picture = scene(seed)
    copy = recompressed(picture.resize((round(192 * scale), round(144 * scale))), quality)
    assert distance(phash(picture), phash(copy)) <= 8
    assert 0 <= dhash(copy) < 2**64


def test_the_bits_are_those_of_imagehash_for_the_picture_and_for_its_mirror_image(tmp_path: Path) -> None:
    """Every bit, over pictures below the size that is reduced, which are stored without loss."""
    random = np.random.default_rng(0)
    path = tmp_path / "picture.bmp"
    for seed in range(500):
        size = tuple(int(side) for side in random.integers(1, 255, 2))
        drawn(seed % 6, seed, size).save(path)  # type: ignore[arg-type]
        with Image.open(path) as picture:
            picture = picture.crop(trim_box(picture))
        found = hashes_of(path)
        assert {name: found[name] for name in by_imagehash(picture)} == by_imagehash(picture), (seed, size)


def test_the_bits_are_those_of_imagehash_on_the_small_copy_that_a_jpeg_decodes_to(tmp_path: Path) -> None:
    for seed, size in enumerate([(1280, 960), (640, 480), (300, 700), (257, 129)]):
        path = saved(tmp_path / "picture.jpg", scene(seed, size), "JPEG")
        with Image.open(path) as picture:
            picture.draft("L", (128, 128))
            grey = picture.convert("L")
            grey = grey.reduce(min(grey.size) // 128) if min(grey.size) >= 256 else grey
        assert min(grey.size) < 256
        grey = grey.crop(trim_box(grey))
        found = hashes_of(path)
        assert {name: found[name] for name in by_imagehash(grey)} == by_imagehash(grey)
        with Image.open(path) as whole:
            full = by_imagehash(whole.convert("L"))
        assert all(distance(found[name], bits) <= 4 for name, bits in full.items())


@pytest.mark.parametrize("pil_format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_hashed_as_people_see_it(orientation: int, pil_format: str, tmp_path: Path) -> None:
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turns |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    upright = scene(orientation, (400, 300))
    lying = upright.transpose(Image.Transpose[turns[orientation]]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if pil_format == "WEBP" else {}
    expected = hashes_of(saved(tmp_path / "upright.png", upright, "PNG"))
    found = hashes_of(saved(tmp_path / "lying", lying, pil_format, exif=exif, **options))
    assert all(distance(found[name], expected[name]) <= 4 for name in ("phash", "dhash", "mirror_phash"))


@pytest.mark.parametrize("sample", COLOUR_SAMPLES, ids=str)
def test_hashes_of_a_file_survive_mats_orientation_and_mirroring(sample: tuple[str, str], tmp_path: Path) -> None:
    picture = Image.open(wheel_file(*sample)).convert("RGB")
    plain, matted, turned, mirrored = (tmp_path / f"{name}.jpg" for name in ("plain", "matted", "turned", "mirrored"))
    plain.write_bytes(encoded(picture))
    matted.write_bytes(encoded(framed(picture, (30, 30, 30, 30), 252)))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned.write_bytes(encoded(picture.rotate(90, expand=True), exif=exif))
    mirrored.write_bytes(encoded(ImageOps.mirror(picture)))
    expected = hashes_of(plain)
    for copy in (matted, turned):
        assert distance(expected["phash"], hashes_of(copy)["phash"]) <= 8, copy.name
    assert distance(expected["mirror_phash"], hashes_of(mirrored)["phash"]) <= 8
    assert not expected["flat"]


def test_bit_depth_palette_and_transparency_hardly_change_the_hashes(tmp_path: Path) -> None:
    picture = scene(3)
    grey = picture.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    clear = picture.convert("RGBA")
    clear.paste((0, 0, 0, 0), (96, 0, 192, 144))
    white = picture.copy()
    white.paste("white", (96, 0, 192, 144))
    expected = hashes_of(saved(tmp_path / "grey.png", grey, "PNG"))
    for name, copy in (("deep", deep), ("palette", picture.quantize(64))):
        assert distance(hashes_of(saved(tmp_path / name, copy, "PNG"))["phash"], expected["phash"]) <= 4, name
    pictures = (saved(tmp_path / "clear", clear, "PNG"), saved(tmp_path / "white", white, "PNG"))
    assert hashes_of(pictures[0]) == hashes_of(pictures[1])


def test_flat_pictures_are_flagged() -> None:
    assert is_flat(Image.new("RGB", (50, 40), (90, 120, 200)))
    assert not is_flat(scene(0))


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(encoded(scene(0))[:2000])
    with pytest.raises(OSError, match="truncated"):
        hashes_of(broken)
    assert Image.open(io.BytesIO(encoded(scene(0)))).size == (192, 144)


def test_whatever_a_decoder_raises_is_an_unreadable_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def confused(path: Path) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(hashing.Image, "open", confused)
    with pytest.raises(OSError, match="IndexError: list index"):
        hashes_of(tmp_path / "any")
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        hashes_of(tmp_path / "missing")
