import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.crawling.validation import Refused, judge
from kwcolor_pipeline.settings import DownloadSettings
from kwcolor_pipeline_tests.servers.loc_imitation import picture, png_bomb

LIMITS = DownloadSettings()


def encoded(image, pil_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, pil_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("pil_format", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_good_pictures(pil_format):
    judged = judge(picture(1, (40, 30), pil_format), LIMITS)
    assert (judged.pil_format, judged.width, judged.height) == (pil_format, 40, 30)
    assert judged.mime.startswith("image/")


def test_size_is_after_exif_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    judged = judge(encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif), LIMITS)
    assert (judged.width, judged.height) == (30, 40)


def test_a_jpeg_with_a_second_picture_behind_it_is_a_jpeg():
    data = encoded(Image.new("RGB", (40, 30)), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    assert judge(data, LIMITS).pil_format == "JPEG"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (picture(1, (400, 300))[:-300], "corrupt"),
        (picture(1, (400, 300), "PNG")[:-300], "corrupt"),
        (
            encoded(Image.new("RGB", (9, 9)), "GIF", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")]),
            "animated",
        ),
        (
            encoded(Image.new("RGB", (9, 9)), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
            "animated",
        ),
    ],
)
def test_refused(data, reason):
    with pytest.raises(Refused, match=f"^{reason}(:|$)"):
        judge(data, LIMITS)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 30_000])
def test_a_bomb_is_refused_without_decoding_it(side):
    with pytest.raises(Refused, match=r"^too_many_pixels"):
        judge(png_bomb(side), LIMITS)


def test_too_many_bytes():
    with pytest.raises(Refused, match=r"^too_large"):
        judge(picture(1), DownloadSettings(max_bytes=100))


@given(st.binary(max_size=300), st.integers(0, 600))
def test_damaged_bytes_are_judged_and_never_raise_anything_else(noise, place):
    data = picture(3, (40, 30), "PNG")
    reason = "stored"
    try:
        judge(data[:place] + noise + data[place + len(noise) :], LIMITS)
    except Refused as refused:
        reason = str(refused).partition(":")[0]
    assert reason in {"stored", "not_an_image", "corrupt", "too_many_pixels", "animated"}
