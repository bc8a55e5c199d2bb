import os
import time
from pathlib import Path
from typing import Any

import pytest

from kwcolor_pipeline.photos.curation import read_curated
from kwcolor_pipeline.photos.decisions import append_decision, decisions_path, read_decisions
from kwcolor_pipeline.review.photographs import LARGEST_PAGE, Photographs
from kwcolor_pipeline.settings import SettingsProblem, load_settings
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, framed, scene
from kwcolor_pipeline_tests.review.homes import curated, small_home, write_curated


def titles(photographs: Photographs, view: str, **asked: Any) -> list[str]:
    found = photographs.page(view, **({"reason": "", "words": "", "after": "", "offset": 0, "limit": 100} | asked))
    return [photo["title"] for photo in found["photographs"]]


def test_each_view_shows_its_photographs(tmp_path: Path) -> None:
    home, ids = small_home(tmp_path)
    append_decision(decisions_path(home.settings), ids[1], "reject")
    photographs = Photographs(home.settings)
    assert titles(photographs, "review") == ["Grey bridge"]
    assert sorted(titles(photographs, "rejected")) == ["Grey bridge", "Grey road"]
    assert sorted(titles(photographs, "kept")) == ["Doubtful river", "Kept tank"]
    assert titles(photographs, "decided") == ["Doubtful river"]
    found = photographs.page("all", "", "", "", 0, 100)
    assert found["counts"] == {"review": 1, "rejected": 2, "kept": 2, "decided": 1, "all": 4}
    assert found["pending"] == 1
    with pytest.raises(KeyError):
        photographs.page("none", "", "", "", 0, 100)


def test_what_is_most_doubtful_comes_first(tmp_path: Path) -> None:
    home, ids = small_home(tmp_path)
    rows = read_curated(home.settings.paths)
    numbers = dict(zip(ids, (None, 9.0, 5.0, 6.1), strict=True))
    for row in rows:
        row |= {"review": None if row["photo_id"] == ids[0] else "Perhaps grey", "number": numbers[row["photo_id"]]}
        row |= {"threshold": 6.0, "kept": True, "reason": None}
    write_curated(home.settings.paths, rows)
    found = Photographs(home.settings).page("all", "", "", "", 0, 100)["photographs"]
    assert [photo["photo_id"] for photo in found] == [ids[3], ids[2], ids[1], ids[0]]


def test_reasons_and_words_narrow_a_view(tmp_path: Path) -> None:
    home, _ = small_home(tmp_path)
    photographs = Photographs(home.settings)
    found = photographs.page("rejected", "", "", "", 0, 100)["reasons"]
    assert {entry["reason"]: entry["count"] for entry in found} == {"not_colour": 2, "Perhaps grey": 1}
    assert titles(photographs, "rejected", reason="Perhaps grey") == ["Grey bridge"]
    assert titles(photographs, "all", words="müller 1943") == ["Doubtful river"]
    assert titles(photographs, "all", words="müller 1944") == []


def test_pages_go_on_behind_a_photograph_whatever_was_decided_meanwhile(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    for seed in range(9):
        home.add(encoded(scene(seed, (96, 72)).convert("L")), title=f"Scene {seed}")
    curated(home)
    photographs = Photographs(home.settings)
    whole = [photo["photo_id"] for photo in photographs.page("rejected", "", "", "", 0, 100)["photographs"]]
    assert len(whole) == 9
    seen: list[str] = []
    while len(seen) < 9:
        found = photographs.page("rejected", "", "", seen[-1] if seen else "", 0, 4)
        seen += [photo["photo_id"] for photo in found["photographs"]]
        assert found["remaining"] == 9 - len(seen)
        photographs.decide(seen[-1], "keep")
    assert seen == whole
    assert titles(photographs, "rejected", offset=7) == titles(photographs, "rejected")[7:]
    assert len(photographs.page("rejected", "", "", "", 0, LARGEST_PAGE + 1)["photographs"]) == 9


def test_a_decision_is_written_once_and_told(tmp_path: Path) -> None:
    home, ids = small_home(tmp_path)
    photographs = Photographs(home.settings)
    path = decisions_path(home.settings)
    photographs.decide(ids[2], "undecided")
    assert not path.exists()
    told = photographs.decide(ids[2], "keep")
    assert (told["photograph"]["decision"], told["photograph"]["changes"], told["pending"]) == ("keep", True, 1)
    assert told["counts"]["review"] == 1
    photographs.decide(ids[2], "keep")
    assert len(path.read_text().splitlines()) == 2
    assert photographs.decide(ids[2], "undecided")["photograph"]["decision"] is None
    assert read_decisions(path) == {}
    with pytest.raises(KeyError):
        photographs.decide("f" * 64, "keep")


def test_an_unreadable_photograph_stays_rejected_whatever_is_decided(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    broken = home.add(encoded(scene(1))[:1500])
    curated(home)
    photographs = Photographs(home.settings)
    assert photographs.decide(broken, "keep")["pending"] == 0
    assert photographs.box(broken) is None


def copies_home(root: Path) -> tuple[PhotoHome, str, str]:
    """A cluster of a large and a small copy, and a photograph of its own."""
    home = PhotoHome(root)
    large = home.add(encoded(scene(1, (384, 288))), title="Large", landing_url="javascript:x")
    small = home.add(
        encoded(scene(1, (384, 288)).resize((192, 144))), source="loc", landing_url="https://loc.example/1"
    )
    home.add(encoded(scene(2)))
    curated(home)
    return home, large, small


def test_details_show_all_copies(tmp_path: Path) -> None:
    home, large, small = copies_home(tmp_path)
    photographs = Photographs(home.settings)
    told = photographs.details(large)
    assert [copy["photo_id"] for copy in told["copies"]] == [large, small]
    assert [copy["shown"] for copy in told["copies"]] == [True, False]
    assert [copy["size"] for copy in told["copies"]] == ["384 × 288", "192 × 144"]
    assert [copy["page"] for copy in told["copies"]] == [None, "https://loc.example/1"]  # only web addresses
    assert told["number_of_copies"] == 2
    with pytest.raises(KeyError):
        photographs.details(small)


def test_a_decision_about_a_copy_is_one_about_the_photograph_that_is_shown(tmp_path: Path) -> None:
    home, large, small = copies_home(tmp_path)
    photographs = Photographs(home.settings)
    told = photographs.decide(small, "reject")
    assert (told["photograph"]["photo_id"], told["photograph"]["decision"]) == (large, "reject")
    assert [copy["decision"] for copy in photographs.details(large)["copies"]] == [None, "reject"]
    assert photographs.decide(large, "keep")["photograph"]["decision"] == "keep"
    assert photographs.decide(large, "undecided")["photograph"]["decision"] == "reject"
    assert photographs.decide(large, "undecided")["photograph"]["decision"] is None
    assert read_decisions(decisions_path(home.settings)) == {}


def test_the_frame_is_told_in_shares_of_the_picture(tmp_path: Path) -> None:
    home = PhotoHome(tmp_path)
    photo_id = home.add(encoded(framed(scene(1, (200, 160)), (20, 20, 20, 20), 8)))
    curated(home)
    photographs = Photographs(home.settings)
    left, top, right, bottom = photographs.details(photo_id)["box"]
    assert (left, top) == (pytest.approx(20 / 240, abs=0.02), pytest.approx(0.1, abs=0.02))
    assert (right, bottom) == (pytest.approx(220 / 240, abs=0.02), pytest.approx(0.9, abs=0.02))
    assert photographs.box(photo_id) is not None


def test_what_a_run_or_an_editor_changes_is_noticed(tmp_path: Path) -> None:
    home, ids = small_home(tmp_path)
    photographs = Photographs(home.settings)
    before = photographs.page("all", "", "", "", 0, 100)
    path = decisions_path(home.settings)
    path.parent.mkdir()
    path.write_text(f"photo_id,decision\n{ids[0]},reject\n")
    assert titles(photographs, "decided") == ["Kept tank"]
    rows = [row for row in read_curated(home.settings.paths) if row["photo_id"] != ids[3]]
    write_curated(home.settings.paths, rows)
    after = photographs.page("all", "", "", "", 0, 100)
    assert (before["table"] != after["table"], after["counts"]["all"]) == (True, 3)
    path.write_text("nonsense\n")
    os.utime(path, (time.time(), time.time() + 1))
    with pytest.raises(SettingsProblem, match="photo_id and decision"):
        photographs.decide(ids[0], "keep")
    path.unlink()
    assert titles(photographs, "decided") == []


def test_what_is_missing_or_damaged_is_said_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="no curated photographs to review yet; `kwcolor run"):
        Photographs(load_settings(home=tmp_path / "empty"))
    home, _ = small_home(tmp_path / "home")
    (home.settings.paths.manifests / "curated_photos" / "all.parquet").write_bytes(b"no table at all")
    with pytest.raises(SettingsProblem, match="damaged"):
        Photographs(home.settings)
