"""Copies lie over each other, strangers do not."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from kwcolor_pipeline.networks.alignment import SIDE, copy_scores
from kwcolor_pipeline.networks.embeddings import SIDE as EMBEDDED_SIDE
from kwcolor_pipeline.networks.embeddings import embed
from kwcolor_pipeline_tests.photos.pictures import COLOUR_SAMPLES, scene, sepia, wheel_file

SAME = 0.6


def squeezed(image: Image.Image, side: int = SIDE) -> np.ndarray:
    return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX))


def score(one: Image.Image, other: Image.Image, coarse: float = -1.0) -> float:
    pictures = np.stack([squeezed(one), squeezed(other)])
    return float(copy_scores(pictures, np.array([0]), np.array([1]), coarse)[0])


def photographs() -> list[Image.Image]:
    return [Image.open(wheel_file(*sample)).convert("RGB") for sample in COLOUR_SAMPLES]


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((round(0.15 * width), round(0.02 * height), round(0.97 * width), round(0.84 * height)))


def captioned(image: Image.Image) -> Image.Image:
    bar = image.copy()
    ImageDraw.Draw(bar).rectangle((0, round(0.9 * image.height), image.width, image.height), fill="white")
    return bar


def turned(image: Image.Image) -> Image.Image:
    across, down = round(0.04 * image.width), round(0.04 * image.height)
    whole = image.rotate(2, Image.Resampling.BICUBIC)
    return whole.crop((across, down, image.width - across, image.height - down))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "itself": lambda image: image,
    "mirror": ImageOps.mirror,
    "crop": cropped,
    "mirrored crop": lambda image: ImageOps.mirror(cropped(image)),
    "caption": captioned,
    "turned": turned,
    "sepia": sepia,
    "darker": lambda image: image.point(lambda level: level * 0.6),
    "stretched": lambda image: image.resize((image.width, image.height // 2)),
    "small": lambda image: image.resize((90, 70), Image.Resampling.LANCZOS),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_photographs_lie_over_them_in_either_order(name: str) -> None:
    for picture in photographs():
        copy = COPIES[name](picture)
        assert score(picture, copy) > SAME
        assert score(copy, picture) > SAME


def test_different_photographs_do_not() -> None:
    # The two pictures of the stereo pair are of one motorcycle.
    pictures = [
        picture for picture, (_, path) in zip(photographs(), COLOUR_SAMPLES, strict=True) if "right" not in path
    ]
    small = np.stack([squeezed(picture) for picture in [*pictures, *(scene(seed) for seed in range(12))]])
    first, second = np.triu_indices(len(small), 1)
    assert copy_scores(small, first, second, -1.0).max() < SAME


def test_even_pictures_are_no_copies_of_anything() -> None:
    even = np.zeros((3, SIDE, SIDE), dtype=np.uint8)
    even[1] = 200
    even[2] = squeezed(scene(1))
    assert (copy_scores(even, np.array([0, 0, 1]), np.array([1, 2, 2]), -1.0) <= 0).all()


def test_what_differs_at_first_sight_is_not_looked_at_further() -> None:
    one, other = scene(1), scene(2)
    assert score(one, other, coarse=0.9) <= 0.9
    assert score(one, one, coarse=0.9) > 0.94


def test_a_score_does_not_depend_on_the_other_pairs() -> None:
    small = np.stack([squeezed(picture) for picture in photographs()])
    first, second = np.triu_indices(len(small), 1)
    together = copy_scores(small, first, second, -1.0)
    for place in (0, 7, len(first) - 1):
        alone = copy_scores(small, first[place : place + 1], second[place : place + 1], -1.0)
        assert alone[0] == pytest.approx(together[place], abs=1e-3)


def test_embeddings_are_near_for_crops_and_not_for_strangers() -> None:
    pictures = photographs()
    small = np.stack([squeezed(one, EMBEDDED_SIDE) for one in [*pictures, *map(cropped, pictures)]])
    vectors = embed(small).astype(np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=2e-3)
    cosines = vectors[: len(pictures)] @ vectors[len(pictures) :].T
    assert (cosines.argmax(axis=1) == np.arange(len(pictures))).mean() > 0.75
    assert np.diag(cosines).min() > 0.45
