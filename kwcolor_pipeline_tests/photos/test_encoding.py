import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.photos.encoding import jpeg, png
from kwcolor_pipeline_tests.photos.pictures import scene


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40), levels=st.integers(1, 256))
def test_a_png_holds_exactly_the_grey(seed: int, height: int, width: int, levels: int) -> None:
    gray = np.random.default_rng(seed).integers(0, levels, (height, width), dtype=np.uint8)
    with Image.open(io.BytesIO(png(gray))) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        assert (np.asarray(image) == gray).all()


def test_a_png_is_about_as_small_as_pils() -> None:
    gray = scene(0, (300, 256)).convert("L")
    buffer = io.BytesIO()
    gray.save(buffer, "PNG")
    assert len(png(np.asarray(gray))) < 1.1 * len(buffer.getvalue())


def test_a_jpeg_keeps_the_colours_and_their_resolution() -> None:
    picture = scene(1)
    with Image.open(io.BytesIO(jpeg(picture))) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", picture.size)
        assert {(h, v) for _, h, v, _ in image.layer} == {(1, 1)}  # type: ignore[attr-defined]
        difference = np.abs(np.asarray(image).astype(int) - np.asarray(picture))
    assert difference.mean() < 3  # grain in three colours is hard on JPEG
