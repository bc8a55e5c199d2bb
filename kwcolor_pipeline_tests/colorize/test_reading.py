"""Picture files of every kind to grey at their own depth, and what is said about them."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from kwcolor_pipeline.colorize.files import colorized, write_colorized
from kwcolor_pipeline.colorize.notes import notes_on
from kwcolor_pipeline.colorize.reading import (
    Photograph,
    UnreadablePhotograph,
    grey_of_rgb,
    read_photograph,
    srgb_profile,
)
from kwcolor_pipeline_tests.colorize.pictures import Even, colorizer_of, noise, saved
from kwcolor_pipeline_tests.colour.test_spaces import ADOBE, gamma, profile_of, rgb_profile

DEEP = np.arange(0, 65536, 11, dtype=np.uint16)[:5900].reshape(59, 100)


def read(path: Path) -> Photograph:
    return read_photograph(path, 1_000_000)


def written(photograph: Photograph, ending: str) -> Path:
    """The photograph colorized, in a file beside it."""
    result = photograph.path.with_name(f"result.{ending}")
    write_colorized(result, colorized(colorizer_of(Even(15, 25)), photograph, ending), photograph, "m")
    return result


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("colours", [False, True])
def test_a_tiff_of_16_bits_stays_one(tmp_path: Path, compression: str | None, order: str, colours: bool) -> None:
    pixels = np.dstack([DEEP] * 3) if colours else DEEP
    photometric = "rgb" if colours else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, byteorder=order, photometric=photometric)
    photograph = read(tmp_path / "a.tif")
    assert photograph.depth == 16
    assert np.abs(photograph.frames[0].astype(int) - DEEP).max() <= (1 if colours else 0)
    result = read(written(photograph, "tif"))
    assert result.depth == 16
    # Its colours are of other levels, and its lightness is the same: within what 16 bits hold.
    assert np.abs(result.frames[0].astype(int) - DEEP).max() <= 8


def test_the_pages_of_a_tiff_are_colorized_one_by_one(tmp_path: Path) -> None:
    sizes = [(40, 30), (20, 50), (16, 16)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for number, size in enumerate(sizes):
            writer.write(noise(*size, number), description=f"page {number}", metadata=None, photometric="minisblack")
    photograph = read(tmp_path / "a.tif")
    assert [frame.shape for frame in photograph.frames] == sizes
    with tifffile.TiffFile(written(photograph, "tif")) as tiff:
        assert [page.shape for page in tiff.pages] == [(*size, 3) for size in sizes]
        assert [page.description for page in tiff.pages] == ["page 0", "page 1", "page 2"]
    assert Image.open(written(photograph, "png")).size == (30, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["tif", "jp2"])
def test_pictures_are_set_upright_whoever_reads_them(tmp_path: Path, orientation: int, kind: str) -> None:
    gray = np.zeros((16, 32), np.uint8)
    gray[:5, :10] = 255
    exif = Image.Exif()
    exif[274] = orientation
    turned = saved(tmp_path / "by_pillow.png", Image.fromarray(gray), exif=exif)
    if kind == "tif":
        tifffile.imwrite(tmp_path / "a.tif", gray, extratags=[(274, 3, 1, orientation, True)])
    else:
        from kwcolor_pipeline.colorize.jp2 import Boxes, with_boxes

        encoded = imagecodecs.jpeg2k_encode(gray, level=0, codecformat="jp2", reversible=True)
        (tmp_path / "a.jp2").write_bytes(with_boxes(bytes(encoded), Boxes(exif=exif.tobytes()[6:])))
    assert (read(tmp_path / f"a.{kind}").gray == read(turned).gray).all()
    result = written(read(tmp_path / f"a.{kind}"), kind)
    assert read(result).gray.shape == read(turned).gray.shape


def test_tiffs_of_other_kinds_are_read_as_their_greys(tmp_path: Path) -> None:
    gray = np.where(noise(24, 32) > 127, 255, 0).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, 255 - gray, photometric="miniswhite")
    assert (read(path).gray == gray).all()
    tifffile.imwrite(path, gray > 0, photometric="minisblack")
    assert (read(path).gray == gray).all()
    tifffile.imwrite(path, np.stack([gray] * 3), photometric="rgb", planarconfig="separate")
    assert (read(path).gray == gray).all()
    tifffile.imwrite(path, np.dstack([gray] * 4), photometric="rgb", extrasamples=["unassalpha"])
    assert (read(path).gray == gray).all()
    tifffile.imwrite(path, gray.astype(np.uint32) * 0x01010101, photometric="minisblack")
    assert (read(path).gray == gray).all()
    Image.fromarray(gray).convert("RGB").convert("P").save(path)
    assert (read(path).gray == gray).all()
    Image.fromarray(gray).convert("RGB").save(path, compression="jpeg", quality=100)
    assert np.abs(read(path).gray.astype(int) - gray).max() < 12
    for dtype in (np.float32, np.float64, np.int16):
        tifffile.imwrite(path, gray.astype(dtype))
        with pytest.raises(UnreadablePhotograph, match=r"floating point|int16 numbers"):
            read(path)


@pytest.mark.parametrize("ending", ["png", "jp2"])
def test_other_formats_keep_16_bits(tmp_path: Path, ending: str) -> None:
    rgb = np.dstack([DEEP, DEEP // 2, DEEP // 3])
    encode = {"png": imagecodecs.png_encode, "jp2": lambda a: imagecodecs.jpeg2k_encode(a, level=0, reversible=True)}
    (tmp_path / f"a.{ending}").write_bytes(encode[ending](rgb))
    photograph = read(tmp_path / f"a.{ending}")
    assert photograph.depth == 16
    assert (photograph.frames[0] == grey_of_rgb(rgb)).all()
    result = read(written(photograph, ending))
    assert result.depth == 16
    assert np.abs(result.frames[0].astype(int) - photograph.frames[0]).max() <= 8


def test_heic_is_read_and_written(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    pillow_heif.from_pillow(Image.fromarray(np.dstack([smooth] * 3))).save(tmp_path / "a.heic", quality=95)
    photograph = read(tmp_path / "a.heic")
    assert (photograph.depth, photograph.pil_format) == (8, "HEIF")
    assert np.abs(photograph.gray.astype(int) - smooth).mean() < 2
    assert np.abs(read(written(photograph, "heic")).gray.astype(int) - smooth).mean() < 3
    deep = read(saved_deep(tmp_path / "deep.tif"))
    ten_bits = read(written(deep, "heic"))
    assert ten_bits.depth == 16
    assert np.abs(ten_bits.frames[0].astype(int) - deep.frames[0]).mean() < 400


def saved_deep(path: Path) -> Path:
    tifffile.imwrite(path, DEEP)
    return path


def test_a_profile_of_rgb_is_used_and_kept(tmp_path: Path) -> None:
    adobe = rgb_profile(ADOBE, gamma(563 / 256))
    # A grey of L* 50 is 119 in sRGB and 117 in Adobe RGB.
    pixels = np.full((16, 16, 3), 117, np.uint8)
    photograph = read(saved(tmp_path / "a.tif", Image.fromarray(pixels), icc_profile=adobe))
    assert photograph.gray[0, 0] == 118 or photograph.gray[0, 0] == 119
    result = written(photograph, "tif")
    with Image.open(result) as image:
        assert image.info["icc_profile"] == adobe
        colour = np.asarray(image)[8, 8]
    shown = imagecodecs.cms_transform(colour[None, None], adobe, srgb_profile(), colorspace="rgb", outcolorspace="rgb")
    in_srgb = colorizer_of(Even(15, 25))(photograph.gray)[8, 8]
    assert np.abs(shown[0, 0].astype(int) - in_srgb).max() <= 2
    assert np.abs(colour.astype(int) - in_srgb).max() > 3


def test_a_profile_of_grey_is_used_and_gives_way_to_srgb(tmp_path: Path) -> None:
    profile = profile_of({b"kTRC": gamma(1.0)}, b"GRAY")
    photograph = read(saved(tmp_path / "a.png", Image.new("L", (16, 16), 55), icc_profile=profile))
    assert photograph.gray[0, 0] == 128  # of light 0.2158, the sRGB level
    assert Image.open(written(photograph, "png")).info["icc_profile"] == srgb_profile()


def test_a_broken_profile_is_not_used(tmp_path: Path) -> None:
    image = Image.fromarray(np.dstack([noise(16, 16)] * 3))
    photograph = read(saved(tmp_path / "a.png", image, icc_profile=b"no profile" * 20))
    assert (photograph.gray == np.asarray(image)[..., 0]).all()
    assert "icc_profile" not in Image.open(written(photograph, "png")).info


def test_only_what_was_photographed_in_colour_is_noted_as_colour(tmp_path: Path) -> None:
    from skimage.data import chelsea

    cat = Image.fromarray(chelsea())
    assert notes_on(read(saved(tmp_path / "cat.png", cat))) == [
        f"{tmp_path}/cat.png is in colour already; it was colorized anew, from its own lightness."
    ]
    gray = np.asarray(cat.convert("L"))
    sepia = np.dstack([gray, (gray * 0.85).astype(np.uint8), (gray * 0.6).astype(np.uint8)])
    for pixels in (gray, np.dstack([gray] * 3), sepia):
        assert notes_on(read(saved(tmp_path / "grey.png", Image.fromarray(pixels)))) == []
    # What is toned keeps its lightness and nothing of its tone.
    toned = read(saved(tmp_path / "toned.png", Image.fromarray(sepia)))
    colour = colorizer_of(Even(0, 0))(toned.frames[0], depth=8)
    assert np.ptp(colour.astype(int), axis=-1).max() <= 1


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(16, 16, seed)) for seed in range(3)]
    photograph = read(saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:]))
    assert f"{tmp_path}/a.gif holds 3 pictures; the first was colorized." in notes_on(photograph)


def test_the_pages_of_a_tiff_are_limited_together(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for _ in range(5):
            writer.write(np.zeros((100, 100), np.uint8), contiguous=False)
    with pytest.raises(
        UnreadablePhotograph, match=r"100 x 100 pixels on 5 pages, more than the 40,000 that NAME allows"
    ):
        read_photograph(tmp_path / "a.tif", 40_000, "NAME")


def test_a_name_with_anything_in_it_is_told_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb\x1b\u2028\udcff.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(UnreadablePhotograph) as problem:
        read(path)
    assert str(problem.value).isprintable()
    str(problem.value).encode()


def test_a_picture_with_a_wrong_ending_is_what_its_bytes_say(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(16, 16)).save(buffer, "PNG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert read(tmp_path / "a.jpg").pil_format == "PNG"
