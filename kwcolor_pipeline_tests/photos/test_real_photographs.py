"""What the rules reach on real photographs; the folder is the operator's own."""

import csv
import os
from pathlib import Path

import pytest

from kwcolor_pipeline.photos.borders import open_trimmed, open_upright, trim_box
from kwcolor_pipeline.photos.curation import looks_coloured
from kwcolor_pipeline.photos.hashing import hashes_of
from kwcolor_pipeline_tests.photos.pictures import faded, sepia

ROOT = os.environ.get("KWCOLOR_TEST_PHOTOS")
pytestmark = [pytest.mark.shared, pytest.mark.skipif(not ROOT, reason="KWCOLOR_TEST_PHOTOS names no folder")]


def listed(collection: str) -> list[dict[str, str]]:
    folder = Path(ROOT or "") / collection
    with (folder / "index.csv").open(newline="") as handle:
        return [{**row, "path": str(folder / row["file"])} for row in csv.DictReader(handle)]


def share(answers: list[bool]) -> float:
    return sum(answers) / len(answers)


def test_kodachromes_are_colour_and_their_toned_copies_are_not() -> None:
    pictures = [open_trimmed(Path(row["path"])) for row in listed("fsac_1939_1944")[::3]]
    assert share([looks_coloured(picture) for picture in pictures]) >= 0.97
    copies = [copy for picture in pictures for copy in (picture.convert("L"), sepia(picture), faded(picture, 0.04))]
    assert share([not looks_coloured(copy) for copy in copies]) >= 0.98


def test_black_and_white_stills_are_refused() -> None:
    paths = [Path(row["path"]) for row in listed("korean_war_1950_1953") if row["tone"] == "bw"]
    assert share([not looks_coloured(open_trimmed(path)) for path in paths]) >= 0.99


def test_slide_mounts_and_black_bars_are_found_and_little_else() -> None:
    mounted = [open_upright(Path(row["path"])) for row in listed("fsac_1939_1944")[::5]]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) / (i.width * i.height) for i in mounted for box in [trim_box(i)]]
    assert share([0.65 <= area <= 0.97 for area in areas]) >= 0.97
    barred = [row for row in listed("korean_war_1950_1953") if row["black_bars"] == "1"]
    trimmed = [trim_box(image) != (0, 0, *image.size) for row in barred for image in [open_upright(Path(row["path"]))]]
    assert share(trimmed) >= 0.95


def test_different_kodachromes_have_different_hashes() -> None:
    hashes = [hashes_of(Path(row["path"]))["phash"] for row in listed("fsac_1939_1944")[::4]]
    near = sum((one ^ other).bit_count() <= 8 for i, one in enumerate(hashes) for other in hashes[:i])
    assert near <= 5
