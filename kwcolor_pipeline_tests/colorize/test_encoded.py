"""Pictures as base64: what comes back, and that whatever is sent is answered with a sentence or a picture."""

import base64
import io
import random
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.colorize import encoded
from kwcolor_pipeline.colorize.encoded import EncodedColorizer, RefusedPictures, ServingSettings
from kwcolor_pipeline.colorize.reading import in_eight_bits
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.colorize.pictures import jpeg_bytes, noise


def reddened(gray: np.ndarray, *_: object, **__: object) -> np.ndarray:
    eight = in_eight_bits(gray)
    return np.stack([eight, eight // 2, eight // 2], axis=2)


def encoded_colorizer(max_bytes: int = 100_000, max_pixels: int = 100_000) -> EncodedColorizer:
    return EncodedColorizer(reddened, "a model", max_bytes, max_pixels)


def base64_of(image: Image.Image, **options: object) -> str:
    return base64.b64encode(jpeg_bytes(image, **options)).decode()


def picture_in(answer: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer, validate=True)))


GOOD = base64_of(Image.fromarray(noise(20, 30)))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever happens, no picture of a request stays on the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def test_a_jpeg_of_the_same_size_comes_back_marked_as_colorized() -> None:
    (answer,) = encoded_colorizer()([GOOD])
    result = picture_in(answer)
    assert (result.format, result.size, result.mode) == ("JPEG", (30, 20), "RGB")
    red, green, _ = np.asarray(result).astype(int).mean(axis=(0, 1))
    assert red > green + 20
    assert b"compositeWithTrainedAlgorithmicMedia" in base64.b64decode(answer)
    assert b"<kwcolor:model>a model</kwcolor:model>" in base64.b64decode(answer)


def test_a_turned_colour_picture_is_set_upright_and_its_own_lightness_is_colorized() -> None:
    colours = Image.new("RGB", (40, 16), (0, 0, 255))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned by 90 degrees
    seen: list[np.ndarray] = []
    colorizer = EncodedColorizer(lambda gray, *_, **__: seen.append(gray) or reddened(gray), "a model", 10**6, 10**6)  # type: ignore[func-returns-value]
    (answer,) = colorizer([base64_of(colours, exif=exif, quality=100)])
    assert picture_in(answer).size == (16, 40)
    assert picture_in(answer).getexif().get(274) is None
    assert seen[0].shape == (40, 16)
    # CIE L* of sRGB blue is 32.3, which is the grey 76 or 77.
    assert abs(float(in_eight_bits(seen[0]).mean()) - 76.5) < 2


def test_line_breaks_as_base64_writes_them_are_taken() -> None:
    wrapped = base64.encodebytes(base64.b64decode(GOOD)).decode()
    assert "\n" in wrapped.strip()
    assert len(encoded_colorizer()([wrapped])) == 1


def test_every_picture_at_fault_is_named_with_the_reason_and_none_is_answered() -> None:
    wide = base64_of(Image.new("L", (500, 300)))
    whole = base64.b64decode(base64_of(Image.fromarray(noise(90, 90))))
    cut = base64.b64encode(whole[: len(whole) // 2]).decode()
    long = base64.b64encode(b"x" * 3000).decode()
    with pytest.raises(RefusedPictures) as caught:
        encoded_colorizer(max_bytes=20_000)([GOOD, "bm8gcGljdHVyZQ==", "no base64!", wide, cut, "", long * 10])
    told = str(caught.value)
    for words in (
        "inputs[1] is not a picture in a format that can be read.",
        "inputs[2] is not base64",
        "inputs[3] has 500 x 300 pixels, more than the 100,000 that KWCOLOR_DOWNLOAD__MAX_PIXELS allows.",
        "inputs[4] cannot be read",
        "inputs[5] is not a picture",
        "inputs[6] has more than the 20,000 bytes that KWCOLOR_DOWNLOAD__MAX_BYTES allows.",
    ):
        assert words in told
    assert "inputs[0]" not in told
    assert tempfile.gettempdir() not in told
    assert len(told) < 1000


def test_the_size_of_a_file_is_bounded_exactly_and_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(base64.b64decode(GOOD))
    assert len(encoded_colorizer(max_bytes=size)([GOOD])) == 1
    with pytest.raises(RefusedPictures, match="more than"):
        encoded_colorizer(max_bytes=size - 1)([GOOD])
    monkeypatch.setattr(encoded.base64, "b64decode", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(RefusedPictures, match="more than"):
        encoded_colorizer(max_bytes=size)([GOOD + "A" * size])


def test_a_jpeg_cannot_hold_every_strip() -> None:
    buffer = io.BytesIO()
    Image.new("L", (65501, 1)).save(buffer, "PNG")
    with pytest.raises(RefusedPictures, match=r"inputs\[0\] has 65501 x 1 pixels and the JPEG"):
        encoded_colorizer()([base64.b64encode(buffer.getvalue()).decode()])


def test_the_number_of_pictures_is_bounded() -> None:
    assert encoded_colorizer()([]) == []
    with pytest.raises(RefusedPictures, match="65 pictures"):
        encoded_colorizer()([GOOD] * 65)


@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.randoms(use_true_random=False), st.integers(1, 30))
def test_bytes_made_to_break_the_decoder_are_a_picture_or_a_sentence(chance: random.Random, changes: int) -> None:
    data = bytearray(base64.b64decode(GOOD))
    for _ in range(changes):
        data[chance.randrange(len(data))] = chance.randrange(256)
    told = ""
    try:
        (answer,) = encoded_colorizer()([base64.b64encode(bytes(data)).decode()])
    except RefusedPictures as refused:
        told = str(refused)
    assert told.startswith("inputs[0] ") if told else picture_in(answer).format == "JPEG"


def test_requests_at_once_are_colorized_one_after_the_other() -> None:
    inside: list[int] = []
    most: list[int] = []

    def counted(gray: np.ndarray, *_: object, **__: object) -> np.ndarray:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.02)
        inside.pop()
        return reddened(gray)

    colorizer = EncodedColorizer(counted, "a model", 10**6, 10**6)
    threads = [threading.Thread(target=colorizer, args=([GOOD, GOOD],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (8, 1)


def test_limits_come_from_the_environment_and_later_settings_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWCOLOR_DEVICE", "cpu")
    monkeypatch.setenv("KWCOLOR_DOWNLOAD__MAX_PIXELS", "5")
    monkeypatch.setenv("KWCOLOR_DOWNLOAD__OF_A_LATER_VERSION", "1")
    monkeypatch.setenv("KWCOLOR_OF_A_LATER_VERSION", "1")
    settings = ServingSettings()
    assert (settings.device, settings.download.max_pixels, settings.download.max_bytes) == ("cpu", 5, 80_000_000)
    monkeypatch.setenv("KWCOLOR_DOWNLOAD__MAX_PIXELS", "many")
    with pytest.raises(SettingsProblem, match=r"KWCOLOR_DOWNLOAD__MAX_PIXELS \(it is 'many'\)"):
        encoded.open_encoded_colorizer(Path("anywhere"))
