import datetime
import io
import struct
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.colorize.files import is_colorized, write_colorized
from kwcolor_pipeline.colorize.formats import photograph_files
from kwcolor_pipeline.colorize.provenance import provenance_xmp
from kwcolor_pipeline.colorize.reading import Photograph, UnreadablePhotograph, read_photograph
from kwcolor_pipeline_tests.colorize.pictures import jpeg_bytes, noise, saved

MAX_PIXELS = 10_000_000
ORIENTATION, DESCRIPTION, DATE, EXIF_FOLDER, TAKEN = 0x0112, 0x010E, 0x0132, 0x8769, 0x9003


def exif_of(**tags: Any) -> bytes:
    exif = Image.Exif()
    exif[DESCRIPTION], exif[DATE] = "Pusan, 1950", "1950:08:01 10:00:00"
    exif[EXIF_FOLDER] = {TAKEN: "1950:07:31 09:00:00"}
    exif[0x8825] = {1: "N"}
    for tag, value in tags.items():
        exif[int(tag.removeprefix("t"))] = value
    return exif.tobytes()


def colours_of(photograph: Photograph) -> np.ndarray:
    return np.repeat(photograph.gray[..., None], 3, axis=-1)


def read(path: Path) -> Photograph:
    return read_photograph(path, MAX_PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_and_forgotten(tmp_path: Path, orientation: int) -> None:
    gray = np.zeros((20, 40), np.uint8)
    gray[:5, :10] = 255
    path = saved(tmp_path / "a.png", Image.fromarray(gray), exif=exif_of(**{f"t{ORIENTATION}": orientation}))
    photograph = read(path)
    assert photograph.gray.shape == ((20, 40) if orientation < 5 else (40, 20))
    bright = np.argwhere(photograph.gray == 255).mean(axis=0) / photograph.gray.shape > 0.5
    expected = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}
    assert tuple(bright.astype(int)) == expected[orientation]
    write_colorized(tmp_path / "r.png", colours_of(photograph), photograph, "m")
    kept = Image.open(tmp_path / "r.png").getexif()
    assert ORIENTATION not in kept
    assert kept[DESCRIPTION] == "Pusan, 1950"


@pytest.mark.parametrize("original", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png", "tif", "tiff", "webp"])
def test_every_result_is_marked_and_keeps_the_exif(tmp_path: Path, original: str, ending: str) -> None:
    colours = Image.fromarray(np.dstack([noise(30, 40, seed) for seed in range(3)]))
    photograph = read(saved(tmp_path / f"original.{original}", colours, exif=exif_of()))
    result = tmp_path / f"result.{ending}"
    write_colorized(result, np.asarray(colours), photograph, 'model <"7"> & more')
    assert is_colorized(result)
    assert not is_colorized(photograph.path)
    with Image.open(result) as image:
        image.load()
        assert image.size == (40, 30)
        exif = image.getexif()
        assert (exif[DESCRIPTION], exif[DATE]) == ("Pusan, 1950", "1950:08:01 10:00:00")
        assert exif.get_ifd(EXIF_FOLDER)[TAKEN] == "1950:07:31 09:00:00"
        assert exif.get_ifd(0x8825)[1] == "N"
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    text = "".join(ElementTree.fromstring(packet.strip()).itertext())
    assert "compositeWithTrainedAlgorithmicMedia" in text
    assert 'model <"7"> & more' in text
    assert photograph.sha256 in text
    if ending in ("png", "tif", "tiff"):
        assert (np.asarray(Image.open(result)) == np.asarray(colours)).all()
    if original == "tif" and ending != "tif":
        assert not {256, 257, 273, 278, 279} & set(exif) or ending == "tiff"


def test_the_date_of_the_mark_is_the_one_given() -> None:
    when = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
    assert b"<xmp:ModifyDate>2026-11-22T12:00:00+00:00<" in provenance_xmp("m", "0" * 64, when)


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16).repeat(3, axis=0)
    for name in ("a.png", "a.tif"):
        assert read(saved(tmp_path / name, Image.fromarray(values))).gray[0].tolist() == [0, 1, 128, 255]
    big_endian = tmp_path / "b.tif"
    Image.fromarray(values).save(big_endian)
    assert read(big_endian).gray.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "1"])
def test_every_kind_of_picture_becomes_its_own_grey(tmp_path: Path, mode: str) -> None:
    gray = np.where(noise(16, 24) > 127, 255, 0).astype(np.uint8)
    image = Image.fromarray(gray).convert(mode)
    path = saved(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), image)
    assert np.abs(read(path).gray.astype(int) - gray).max() <= 1


def test_a_colour_picture_gives_its_lightness(tmp_path: Path) -> None:
    green = saved(tmp_path / "green.png", Image.new("RGB", (5, 5), (0, 255, 0)))
    assert read(green).gray[0, 0] == 220  # the grey of L* 87.7; PIL's mode L would say 150


def _huge_png(path: Path, side: int) -> None:
    """The header of a picture far larger than its file."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"0" * 100)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(data)


def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path: Path) -> None:
    jpeg = jpeg_bytes(Image.fromarray(noise(64, 64)))
    (tmp_path / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "text.jpg").write_text("This is no picture.")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    saved(tmp_path / "float.tif", Image.fromarray(np.ones((4, 4), np.float32)))
    _huge_png(tmp_path / "limit.png", 4000)
    _huge_png(tmp_path / "bomb.png", 60_000)
    (tmp_path / "page.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    expected = {
        "truncated.jpg": "cannot be read",
        "text.jpg": "is not a picture",
        "empty.jpg": "is not a picture",
        "folder.jpg": "is not a file",
        "missing.jpg": "No such file",
        "float.tif": "floating point",
        "limit.png": "4000 x 4000 pixels, more than the 10,000,000",
        "bomb.png": "more pixels than any photograph",
        "page.jpg": "is not a picture",  # PostScript would be run to be drawn
    }
    for name, says in expected.items():
        with pytest.raises(UnreadablePhotograph, match=says) as problem:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(problem.value)
        assert "\n" not in str(problem.value)
        assert str(problem.value).endswith(".")


def _bytes_of(pil_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(24, 24)).save(buffer, pil_format, exif=exif_of())
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning")
@hypothesis_settings(max_examples=150)
@given(
    st.sampled_from([_bytes_of(pil_format) for pil_format in ("JPEG", "PNG", "TIFF", "WEBP")]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    st.floats(0.2, 1),
)
def test_broken_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: bytes, changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(seed)
    for place, value in changes:
        data[int(place * len(data))] = value
    path = tmp_path_factory.getbasetemp() / "broken.jpg"
    path.write_bytes(data[: int(kept * len(data))])
    try:
        photograph = read_photograph(path, 1_000_000)
    except UnreadablePhotograph:
        return
    assert photograph.gray.dtype == np.uint8
    colour = np.repeat(photograph.gray[..., None], 3, axis=-1)
    for ending in ("jpg", "tif"):
        write_colorized(path.with_name(f"result.{ending}"), colour, photograph, "m")


def test_exif_that_no_jpeg_can_hold_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image.fromarray(noise(8, 8))
    photograph = read(saved(tmp_path / "long.png", image, exif=exif_of(**{f"t{DESCRIPTION}": "x" * 70_000})))
    write_colorized(tmp_path / "r.png", np.zeros((8, 8, 3), np.uint8), photograph, "m")
    assert len(Image.open(tmp_path / "r.png").getexif()[DESCRIPTION]) == 70_000
    assert not caplog.records
    write_colorized(tmp_path / "r.jpg", np.zeros((8, 8, 3), np.uint8), photograph, "m")
    assert is_colorized(tmp_path / "r.jpg")
    assert "too long for a JPEG" in caplog.text


@pytest.mark.parametrize(("ending", "side"), [("webp", 16384), ("jpg", 65501)])
def test_a_picture_too_large_for_its_format_is_said(tmp_path: Path, ending: str, side: int) -> None:
    photograph = Photograph(tmp_path / "wide.png", "0" * 64, (np.zeros((1, side), np.uint8),))
    with pytest.raises(UnreadablePhotograph, match=rf"wide.png has {side} x 1 pixels.*--format png"):
        write_colorized(tmp_path / f"r.{ending}", np.zeros((1, side, 3), np.uint8), photograph, "m")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    photograph = Photograph(tmp_path / "a.png", "0" * 64, (np.zeros((1, 1), np.uint8),))
    with pytest.raises(ValueError, match=r"`\.bmp` is not a format"):
        write_colorized(tmp_path / "a.bmp", np.zeros((1, 1, 3), np.uint8), photograph, "m")


def test_a_folder_stands_for_its_pictures(tmp_path: Path) -> None:
    for name in ("b.JPG", "deep/a.png", ".hidden.jpg", "notes.txt", "c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = photograph_files([tmp_path, tmp_path / "notes.txt"])
    assert [path.name for path in found] == ["b.JPG", "c.webp", "a.png", "notes.txt"]
