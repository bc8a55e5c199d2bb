from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.photos.borders import open_trimmed
from kwcolor_pipeline.photos.curation import curate, curate_is_current, looks_coloured, measure, read_curated
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.photos.pictures import (
    COLOUR_SAMPLES,
    OTHER_SAMPLES,
    PhotoHome,
    encoded,
    faded,
    framed,
    recompressed,
    scene,
    sepia,
    wheel_file,
)


def reasons(home: PhotoHome) -> dict[str, str | None]:
    deduplicate(home.settings)
    curate(home.settings)
    return {row["photo_id"]: row["reason"] for row in read_curated(home.settings.paths)}


def test_colour_photographs_of_the_wheels_are_kept_and_other_pictures_are_not(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)

    def add(package: str, path: str) -> str:
        data = wheel_file(package, path).read_bytes()
        return home.add(data, "PNG" if path.endswith("png") else "JPEG", title=path)

    kept = {add(*sample): sample for sample in COLOUR_SAMPLES}
    refused = {add(*sample): sample for sample in OTHER_SAMPLES}
    # The stereo pair is one cluster, so one of its two photographs is no representative.
    found = reasons(home)
    assert [kept[photo_id] for photo_id, reason in found.items() if photo_id in kept and reason] == []
    assert [refused[photo_id] for photo_id, reason in found.items() if photo_id in refused and not reason] == []
    assert len(found) == len(kept) + len(refused) - 1


@pytest.mark.parametrize("sample", COLOUR_SAMPLES, ids=str)
def test_grey_toned_and_tinted_copies_of_photographs_are_not_colour(sample: tuple[str, str]) -> None:
    picture = open_trimmed(wheel_file(*sample))
    assert looks_coloured(picture)
    for name, copy in {"grey": picture.convert("L"), "sepia": sepia(picture), "faded": faded(picture, 0.04)}.items():
        assert not looks_coloured(copy), name
        assert not looks_coloured(recompressed(copy.convert("RGB"), 85)), f"{name}, recompressed"


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), red=st.floats(0.5, 1), green=st.floats(0.5, 1), blue=st.floats(0.5, 1))
def test_a_tint_of_any_colour_is_not_colour(seed: int, red: float, green: float, blue: float) -> None:
    grey = np.asarray(scene(seed).convert("L"), dtype=np.float64)[..., None]
    tinted = Image.fromarray((grey * np.array([red, green, blue])).astype(np.uint8))
    assert looks_coloured(scene(seed))
    assert not looks_coloured(tinted)


def test_measures_are_finite_for_the_smallest_and_emptiest_pictures() -> None:
    for size in ((1, 1), (1, 9), (300, 2)):
        for level in (0, 255):
            assert all(np.isfinite(value) for value in measure(Image.new("RGB", size, (level,) * 3)).values())


def test_every_rejection_has_its_reason(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    clear = Image.new("RGBA", (192, 144), (0, 0, 0, 0))
    clear.paste(scene(9).crop((0, 0, 192, 60)), (0, 0))
    expected = {
        home.add(encoded(scene(1))): None,
        home.add(encoded(scene(2)), title="A tank, Colorized by hand"): "title_says_colorized",
        home.add(encoded(scene(3, (80, 60)))): "too_small",
        home.add(encoded(scene(4).convert("L"))): "not_colour",
        home.add(encoded(sepia(scene(5)))): "toned",
        home.add(encoded(clear, "PNG"), "PNG"): "not_a_photograph",
        home.add(encoded(scene(7))[:1500]): "unreadable",
    }
    assert reasons(home) == expected
    summary = curate(home.settings).result.summary
    assert (summary["kept"], sum(summary["rejected"].values())) == (1, 6)


def test_the_shortest_side_counts_without_borders(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    photo_id = home.add(encoded(framed(scene(1, (100, 60)), (10, 10, 10, 10), 8)))
    assert reasons(home) == {photo_id: "too_small"}
    row = read_curated(home.settings.paths)[0]
    assert (row["picture_width"], row["picture_height"]) == (120, 80)
    assert abs(row["top"] - 10) <= 1


def test_people_win_over_rules_and_the_last_word_counts(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    colour, grey = home.add(encoded(scene(1))), home.add(encoded(scene(2).convert("L")))
    broken = home.add(encoded(scene(3))[:1500])
    assert reasons(home)[grey] == "not_colour"
    decisions = tmp_path / "review" / "decisions.csv"
    decisions.parent.mkdir()
    lines = [f"{colour},keep", f"{grey},keep", f"{broken},keep", f"{colour},reject", "unknown,reject"]
    decisions.write_text("\n".join(["photo_id,decision", *lines]) + "\n")
    assert not curate_is_current(home.settings)
    assert reasons(home) == {colour: "turned_down", grey: None, broken: "unreadable"}


@pytest.mark.parametrize(
    ("text", "told"), [("id,verdict\n1,keep\n", "photo_id"), ("photo_id,decision\n1,?\n", "line 2")]
)
def test_decisions_that_cannot_be_understood_are_named(tmp_path: Path, text: str, told: str) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)))
    deduplicate(home.settings)
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "decisions.csv").write_text(text)
    with pytest.raises(SettingsProblem, match=told):
        curate(home.settings)


def test_nothing_is_measured_again_when_only_the_rules_change(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)))
    deduplicate(home.settings)
    first = curate(home.settings)
    assert curate(home.settings).reused
    home.settings.curation.min_side = 150
    assert not curate_is_current(home.settings)
    stricter = curate(home.settings).result
    assert stricter.summary["rejected"] == {"too_small": 1}
    assert stricter.summary["newly_measured"] == 0
    assert stricter.data_version != first.result.data_version
