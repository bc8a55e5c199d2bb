"""The staleness cases on the real assets: what the UI marks, what automation asks for, and what it leaves alone.

Every case begins with the same world: two years and a target photograph, carried through to the gallery by ticks.
"""

import contextlib
import os
import shutil
import sqlite3

import pytest

from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.orchestration.takedown import take_down
from kwcolor_pipeline.photos.pairs import read_index
from kwcolor_pipeline.tracking.mlflow_tracking import CHAMPION, MODEL_NAME
from kwcolor_pipeline_tests.orchestration.real_world import FOLLOWING, RealWorld

pytestmark = pytest.mark.slow

MODELS = ["pretrained_generator", "critic", "gan_model", "evaluation_report"]
PHOTOGRAPHS = ["deduplicated_photos", "curated_photos", "grayscale_pairs"]
PAIRS_FOLLOW = [[name] for name in PHOTOGRAPHS]
#: With so large a share nothing is trained: whether models follow is another test's affair, and takes its time.
NO_TRAINING = {"automation": {"min_change": 1}}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The world's folder, its copy to begin again from, and the sensor's cursor."""
    root = tmp_path_factory.mktemp("staleness") / "world"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DAGSTER_HOME", str(root))  # open_instance sets it; this gives it back
        world = RealWorld(root)
        world.colour.add("1941", *range(16))
        world.colour.add("1942", *range(16, 32))
        world.target.add("1951", 900, grey=True)
        assert world.tick() == []
        assert world.crawl("1941", "1942") == [True, True]
        assert world.materialize(job="one_korean_war_year", year="1951")
        # Models wait for the checks of what they are made from, which have never run yet.
        first = world.settle()
        assert first[0] == PHOTOGRAPHS
        assert sorted(name for run in first for name in run) == sorted(FOLLOWING)
    return root, shutil.copytree(root, root.with_name("saved")), world.cursor


def put_back(saved, root):
    """The world as it was saved. MLflow keeps its database open, so that file gets its content and is not replaced."""
    for path in [*root.iterdir(), *(root / "home").iterdir()]:
        if path == root / "home" or path.name.startswith("mlflow.db"):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(saved, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mlflow.db*"))
    with (
        contextlib.closing(sqlite3.connect(saved / "home" / "mlflow.db")) as before,
        contextlib.closing(sqlite3.connect(root / "home" / "mlflow.db")) as now,
    ):
        before.backup(now)


@pytest.fixture
def world(begun, monkeypatch):
    root, saved, cursor = begun
    put_back(saved, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("DAGSTER_HOME", str(root))
    world = RealWorld(root, cursor)
    assert world.badges("STALE") == []
    return world


def test_years_that_were_never_crawled_are_missing_and_ask_for_nothing(world):
    missing = world.badges("MISSING")
    assert "crawled_photos 1935" in missing
    assert not set(missing) & {"crawled_photos 1941", "crawled_photos 1942", *FOLLOWING}
    assert world.settle() == []


def test_the_same_bytes_again_change_nothing(world):
    for picture in (world.colour.root / "1941").iterdir():
        os.utime(picture, (1_000_000_000, 1_000_000_000))
    assert world.crawl("1941") == [True]
    assert world.badges("STALE") == []
    assert world.settle() == []


SAME_RESULT = {
    "deduplicated_photos": {"near_duplicates": {"neighbours": 7}},
    "curated_photos": {"curation": {"borderline_share": 0.16}},
    "evaluation_report": {"evaluation": {"min_colourfulness_share": 0.21}},
}


@pytest.mark.parametrize("name", SAME_RESULT)
def test_a_changed_setting_is_followed_as_far_as_it_changes_something(world, name):
    world.change_settings(**SAME_RESULT[name])
    assert world.badges("STALE") == [name]
    assert world.causes(name) == ["has a new code version"]
    followed = world.settle()
    assert followed[0] == [name]
    # A report has new numbers or the date of its making; what lies after photographs that stay has nothing new.
    assert followed[1:] in ([], [["colorized_gallery"]])
    assert name == "evaluation_report" or followed[1:] == []
    assert world.badges("STALE") == []


def test_a_setting_that_changes_the_pairs_is_carried_to_the_gallery(world):
    world.change_settings(pairs={"size": 48, "decolorizer": "luma"})
    assert world.badges("STALE") == ["grayscale_pairs"]
    assert world.settle() == [["grayscale_pairs"], MODELS, ["colorized_gallery"]]
    assert world.metadata("grayscale_pairs")["changed_since_training"] == 2.0
    assert world.badges("STALE") == []


def test_raised_code_versions_are_followed_once(world):
    world.change_code("curated_photos")
    assert world.badges("STALE") == ["curated_photos"]
    assert world.settle() == [["curated_photos"]]
    world.change_code("crawled_photos")
    assert world.badges("STALE") == ["crawled_photos 1942", "crawled_photos 1941"]
    assert world.settle() == []  # a year is crawled again in its turn


def test_new_photographs_are_carried_to_the_gallery_once(world):
    world.colour.add("1942", *range(40, 48))
    assert world.crawl("1942") == [True]
    assert world.badges("STALE") == ["deduplicated_photos"]
    assert world.causes("deduplicated_photos") == ["has a new dependency data version"]
    trained = [world.materializations(name) for name in MODELS]
    followed = world.settle()
    assert followed[:4] == [*PAIRS_FOLLOW, MODELS]
    assert followed[4:] in ([], [["colorized_gallery"]])  # whether the new model is shown is the report's affair
    assert [world.materializations(name) for name in MODELS] == [count + 1 for count in trained]
    assert world.badges("STALE") == []

    # Two versions are there now; somebody makes the one that the gallery does not show the champion.
    shown = world.metadata("colorized_gallery").get("model_version")  # the starter, which may be shown, has none
    other = {1: 2, 2: 1, None: 2}[shown]
    tracking = MLflow(world.settings).open()
    tracking._client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(other))
    assert world.asks_for_the_champion()
    world.materialize("colorized_gallery")
    assert world.metadata("colorized_gallery")["model_version"] == other
    assert not world.asks_for_the_champion()
    assert world.settle() == []


def test_a_wave_of_years_is_followed_once_when_all_of_it_is_in(world):
    world.change_settings(**NO_TRAINING)
    under_way = world.begin("crawled_photos", "1943")
    world.colour.add("1941", *range(40, 44))
    world.colour.add("1942", *range(44, 48))
    assert world.crawl("1941") == [True]
    assert world.tick() == []
    assert world.crawl("1942") == [True]
    assert world.tick() == []
    assert world.badges("STALE") == ["deduplicated_photos"]
    world.fail(under_way)  # a year that fails ends its wave as well
    assert world.tick() == ["deduplicated_photos"]
    world.materialize("deduplicated_photos")
    assert world.settle() == PAIRS_FOLLOW[1:]


def test_a_new_year_joins(world):
    world.change_settings(**NO_TRAINING)
    assert "crawled_photos 1943" in world.badges("MISSING")
    world.colour.add("1943", *range(40, 48))
    assert world.crawl("1943") == [True]
    assert "crawled_photos 1943" not in world.badges("MISSING")
    assert world.settle() == PAIRS_FOLLOW


def test_a_year_that_fails_is_seen_holds_nobody_back_and_is_followed_when_it_is_repaired(world):
    world.change_settings(**NO_TRAINING)
    world.colour.add("1944", *range(40, 48))
    whole = {path: path.read_bytes() for path in (world.colour.root / "1944").glob("*.jpg")}
    for path in whole:
        path.write_bytes(b"not a picture")
    world.colour.add("1942", *range(50, 58))
    assert world.crawl("1944", "1942") == [False, True]
    assert world.failed_years() == {"1944": "check"}
    assert world.settle() == PAIRS_FOLLOW
    for path, data in whole.items():
        path.write_bytes(data)
    assert world.crawl("1944") == [True]
    assert world.failed_years() == {}
    assert world.settle() == PAIRS_FOLLOW
    assert world.metadata("deduplicated_photos")["photographs"] == 48


def test_a_crawl_that_ends_in_an_error_changes_nothing_and_is_seen(world):
    (world.colour.root / "index.csv").write_text("nonsense")
    assert world.crawl("1942") == [False]
    assert world.failed_years() == {"1942": "run"}
    assert world.badges("STALE") == []
    assert world.settle() == []
    world.colour.list()
    assert world.crawl("1942") == [True]
    assert world.failed_years() == {}
    assert world.settle() == []


def test_small_changes_wait_add_up_and_are_trained_once(world):
    pairs = world.metadata("grayscale_pairs")["pairs"]
    world.change_settings(automation={"min_change": 0.2})
    trained = world.materializations("pretrained_generator")
    world.colour.add("1942", 40)
    world.crawl("1942")
    assert world.settle() == PAIRS_FOLLOW
    assert world.badges("STALE") == MODELS  # the badge hides nothing
    waiting = world.metadata("grayscale_pairs")["changed_since_training"]
    assert waiting < 0.2
    world.colour.add("1942", *range(41, 53))
    world.crawl("1942")
    assert world.settle()[:4] == [*PAIRS_FOLLOW, MODELS]
    assert world.metadata("grayscale_pairs")["pairs"] == pairs + 13
    assert world.metadata("grayscale_pairs")["changed_since_training"] >= 0.2
    assert world.materializations("pretrained_generator") == trained + 1
    assert world.badges("STALE") == []


def test_a_photograph_that_is_taken_down_leaves_the_pairs_at_once_and_the_model_with_the_monthly_training(world):
    world.change_settings(automation={"min_change": 0.2})
    victim = next(row["photo_id"] for row in read_index(world.settings.paths) if row["split"] == "train")
    outcome = take_down(world.settings, [victim], "asked to", copies=False)
    assert outcome.problems == []
    assert "deduplicated_photos" in world.badges("STALE")
    followed = world.settle()
    assert followed[:3] == PAIRS_FOLLOW
    assert not {name for run in followed for name in run} & set(MODELS)
    assert victim not in {row["photo_id"] for row in read_index(world.settings.paths)}
    assert set(MODELS) <= set(world.badges("STALE"))
    assert world.materialize(job="after_the_crawl")
    assert world.badges("STALE") == []
    assert world.settle() == []


def test_nothing_expensive_runs_twice_for_the_same_question(world):
    weights = world.metadata("gan_model")["bundle"]
    assert world.materialize(job="after_the_crawl")
    for name in (*PHOTOGRAPHS, *MODELS, "colorized_gallery"):
        assert world.metadata(name)["reused"] is True, name
    assert world.metadata("gan_model")["bundle"] == weights
    assert world.badges("STALE") == []
    assert world.settle() == []
