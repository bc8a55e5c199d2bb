from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kwcolor_pipeline.photos import curation, second_look
from kwcolor_pipeline.photos.borders import open_trimmed
from kwcolor_pipeline.photos.curation import (
    curate,
    curate_is_current,
    looks_coloured,
    measure,
    read_curated,
    unusual_partitions,
)
from kwcolor_pipeline.photos.decisions import append_decision, decisions_path
from kwcolor_pipeline.photos.measured import Row
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


def answers(home: PhotoHome) -> dict[str, Row]:
    deduplicate(home.settings)
    curate(home.settings)
    return {row["photo_id"]: row for row in read_curated(home.settings.paths)}


def answer(home: PhotoHome) -> Row:
    (row,) = answers(home).values()
    return row


def decide(home: PhotoHome, photo_id: str, decision: str) -> None:
    append_decision(decisions_path(home.settings), photo_id, decision)


def a_large_grey_and_a_small_coloured_copy(home: PhotoHome, **fields: Any) -> tuple[str, str]:
    large = scene(1, (384, 288)).convert("L")
    return home.add(encoded(large), **fields), home.add(encoded(scene(1, (384, 288)).resize((192, 144))))


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


def test_copies_that_contradict_each_other_wait_for_a_person(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    grey, coloured = a_large_grey_and_a_small_coloured_copy(home)
    row = answer(home)
    assert (row["photo_id"], row["kept"], row["reason"]) == (coloured, False, "perhaps_colorized")
    assert (row["copies"], row["decided_by"]) == (2, "rule")
    assert "no colours" in row["review"]
    decide(home, coloured, "keep")
    row = answer(home)
    assert (row["photo_id"], row["kept"], row["decided_by"], row["review"]) == (coloured, True, "person", None)
    decide(home, coloured, "undecided")
    decide(home, grey, "keep")
    assert (answer(home)["photo_id"], answer(home)["kept"]) == (grey, True)


def test_an_archive_that_calls_the_original_colour_settles_it_and_lends_what_it_knows(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    facts = {"title": "Convoy", "year_taken": 1943, "catalogued_tone": "colour"}
    _, coloured = a_large_grey_and_a_small_coloured_copy(home, **facts)
    row = answer(home)
    assert (row["photo_id"], row["kept"], row["review"]) == (coloured, True, None)
    assert (row["title"], row["year_taken"]) == ("Convoy", 1943)


def test_colours_of_what_an_archive_calls_black_and_white_are_doubtful(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)), catalogued_tone="bw")
    assert (answer(home)["reason"], answer(home)["kept"]) == ("perhaps_colorized", False)


def test_where_no_copy_passes_the_best_one_stands_with_its_reason(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    best = home.add(encoded(scene(1, (384, 288)).convert("L")))
    home.add(encoded(scene(1, (384, 288)).convert("L").resize((192, 144))))
    row = answer(home)
    assert (row["photo_id"], row["reason"], row["copies"]) == (best, "not_colour", 2)


def test_every_copy_is_measured_once(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    a_large_grey_and_a_small_coloured_copy(home)
    deduplicate(home.settings)
    assert curate(home.settings).result.summary["newly_measured"] == 2
    home.add(encoded(scene(2)))
    deduplicate(home.settings)
    assert curate(home.settings).result.summary["newly_measured"] == 1


def test_turning_down_one_copy_turns_down_the_photograph_unless_another_is_kept(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    large = home.add(encoded(scene(1, (384, 288))))
    small = home.add(encoded(scene(1, (384, 288)).resize((192, 144))))
    assert answer(home)["photo_id"] == large
    decide(home, small, "reject")
    row = answer(home)
    assert (row["reason"], row["decided_by"], row["kept"]) == ("turned_down", "person", False)
    decide(home, small, "keep")
    decide(home, large, "reject")
    row = answer(home)
    assert (row["photo_id"], row["kept"], row["decided_by"]) == (small, True, "person")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"title": "A toy tank"}, "off_topic"),
        ({"title": "Poster for a fair"}, "off_topic"),
        ({"title": "Students who are studying a map"}, None),
        ({"title": "A Toyota lorry"}, None),
        ({"year_taken": 1998}, "off_topic"),
        ({"year_published": 2015}, None),
        ({"title": "A restored church"}, "perhaps_colorized"),
        ({"title": "A restored church", "catalogued_tone": "colour"}, None),
        ({"title": "Restored photograph of a church"}, "title_says_colorized"),
    ],
)
def test_titles_and_dates_speak_against_photographs(tmp_path: Path, fields: Row, reason: str | None) -> None:
    home = PhotoHome(tmp_path)
    photo_id = home.add(encoded(scene(1)), **fields)
    row = answer(home)
    assert (row["kept"], row["reason"]) == (reason is None, reason)
    assert (row["review"] is not None) == (reason in ("off_topic", "perhaps_colorized"))
    decide(home, photo_id, "keep")
    assert (answer(home)["kept"], answer(home)["review"]) == (True, None)


def test_years_outside_are_told_with_their_bound(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)), year_taken=1998)
    assert (answer(home)["number"], answer(home)["threshold"]) == (1998, 1960)


def test_near_a_bound_the_rule_decides_and_a_person_is_asked(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(1)))
    clear = answer(home)
    assert (clear["kept"], clear["review"], clear["number"]) == (True, None, None)
    for factor, kept in ((0.95, True), (1.05, False)):
        home.settings.curation.min_strong_chroma = clear["strong_chroma"] * factor
        row = answer(home)
        assert (row["kept"], row["review"]) == (kept, "Perhaps grey")
        assert row["number"] == clear["strong_chroma"]
        assert row["threshold"] == pytest.approx(home.settings.curation.min_strong_chroma)
    # Refused by another rule beyond doubt, a near bound does not matter.
    home.settings.curation.min_spread = 10 * clear["spread"]
    assert (answer(home)["reason"], answer(home)["review"]) == ("not_colour", None)


def test_every_measured_rejection_has_its_number_and_its_bound(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    home.add(encoded(scene(3, (80, 60))))
    home.add(encoded(scene(4).convert("L")))
    home.add(encoded(sepia(scene(5))))
    found = {row["reason"]: (row["number"], row["threshold"]) for row in answers(home).values()}
    assert found["too_small"] == (60, 64)
    assert found["not_colour"][0] < found["not_colour"][1] == 6
    assert found["toned"][0] < found["toned"][1] == pytest.approx(0.8)


def test_what_is_like_none_of_the_others_stays_and_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = PhotoHome(tmp_path)
    home.settings.near_duplicates.second_look = False
    ids = [home.add(encoded(scene(seed))) for seed in range(8)]
    assert all(row["review"] is None for row in answers(home).values())
    vectors = np.tile(np.eye(4, dtype=np.float32)[0], (8, 1))
    vectors[3] = np.eye(4)[2]
    (home.settings.paths.manifests / "deduplicated_photos").mkdir(exist_ok=True)
    path = home.settings.paths.manifests / "deduplicated_photos" / "embeddings.parquet"
    pq.write_table(pa.table({"photo_id": ids}), path)
    monkeypatch.setattr(second_look, "read_embeddings", lambda home: (ids, vectors))
    # Of so few nothing is said.
    assert all(row["review"] is None for row in answers(home).values())
    monkeypatch.setattr(curation, "ENOUGH_TO_COMPARE", 6)
    home.settings.curation.min_likeness = 0.5
    found = answers(home)
    assert all(row["kept"] for row in found.values())
    assert [photo_id for photo_id, row in found.items() if row["review"]] == [ids[3]]
    assert (found[ids[3]]["number"], found[ids[3]]["threshold"]) == (0, 0.5)


def test_years_with_an_unusual_share_of_refusals_are_named() -> None:
    rows = [{"partition": str(1940 + number % 4), "kept": number % 5 > 0} for number in range(800)]
    assert unusual_partitions(rows) == []
    odd = [{"partition": "1944", "kept": number % 2 > 0} for number in range(100)]
    (sentence,) = unusual_partitions(rows + odd)
    assert sentence.startswith("1944: 50% of 100 photographs were refused")
    assert unusual_partitions([]) == []
