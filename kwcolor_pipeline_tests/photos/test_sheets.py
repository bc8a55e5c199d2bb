import io

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.photos.sheets import MAX_BYTES, chosen, contact_sheet
from kwcolor_pipeline_tests.photos.pictures import scene


def test_a_sheet_shows_every_picture_in_its_cell() -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    data = contact_sheet([Image.new("RGB", (40, 20), colour) for colour in colours], columns=2, cell=50)
    sheet = Image.open(io.BytesIO(data)).convert("RGB")
    assert sheet.size == (104, 104)
    for colour, centre in zip(colours, [(25, 25), (77, 25), (25, 77)], strict=True):
        assert np.abs(np.subtract(sheet.getpixel(centre), colour)).max() < 25


def test_a_sheet_of_the_noisiest_pictures_stays_small() -> None:
    random = np.random.default_rng(0)
    noise = [Image.fromarray(random.integers(0, 256, (200, 200, 3), dtype=np.uint8)) for _ in range(30)]
    assert len(contact_sheet(noise, columns=6, cell=100)) < MAX_BYTES
    assert len(contact_sheet([scene(seed) for seed in range(24)])) < MAX_BYTES


def test_no_pictures_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_the_choice_is_fixed_and_mostly_survives_additions() -> None:
    ids = [f"{number:04}" for number in range(500)]
    assert chosen(ids, 12) == chosen(ids[::-1], 12)
    assert len(set(chosen(ids, 12)) & set(chosen([*ids, "new one", "new two"], 12))) >= 10
    assert sorted(chosen(ids[:3], 12)) == ids[:3]
