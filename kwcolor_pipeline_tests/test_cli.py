"""The command line: what the operator can solve is one sentence and exit code 2, never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from kwcolor_pipeline import cli
from kwcolor_pipeline.colour.measures import colourfulness
from kwcolor_pipeline.home import Home
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline_tests.commands import run_command
from kwcolor_pipeline_tests.photos.pictures import encoded, scene


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home without photographs; its databases take seconds to make."""
    return Home(tmp_path_factory.mktemp("cli") / "home")


@pytest.fixture
def kwcolor(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `kwcolor …` in this process and in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KWCOLOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KWCOLOR_HOME", str(home.root))
    monkeypatch.setenv("KWCOLOR_DEVICE", "cpu")
    monkeypatch.setenv("DAGSTER_HOME", "")

    def run(*arguments: str | Path) -> Outcome:
        return Outcome(*run_command(monkeypatch, capsys, *arguments))

    return run


def bundle_of(settings: Settings) -> Path:
    from kwcolor_pipeline.training.stages import latest

    return latest(settings.paths, "gan_model").bundle.folder


def assert_refused(outcome: Outcome, says: str) -> None:
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.err.startswith("Could not start: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.rstrip().endswith(".")
    assert "Traceback" not in outcome.err + outcome.out
    assert "Done" not in outcome.out


@pytest.mark.parametrize(
    ("variables", "arguments", "says"),
    [
        ({"KWCOLOR_PRESET": "huge"}, ["run"], "There is no preset `huge`"),
        ({}, ["run", "--preset", "huge"], "There is no preset `huge`"),
        ({"KWCOLOR_TRAINING__SIZE": "50"}, ["run"], "Training field `size`"),
        ({"KWCOLOR_PAIRS__SIZE": "big"}, ["versions"], "Setting `pairs.size` (it is 'big')"),
        ({"KWCOLOR_HOME": "s3://bucket"}, ["versions"], "Setting `home`"),
        ({"KWCOLOR_CONFIG": "nowhere.toml"}, ["versions"], "KWCOLOR_CONFIG names nowhere.toml"),
        ({}, ["run", "--years", "1066"], "`1066` is not a year"),
        ({}, ["run", "--select", "[bold]"], "There is no asset `[bold]`"),
        ({"KWCOLOR_SOURCES": "folder:/nowhere/[at]/all"}, ["run"], "/nowhere/[at]/all"),
        ({}, ["colorize", "x.jpg", "-o", "out", "--model", "mine"], "`mine` is no model"),
        ({}, ["evaluate", "--model", "models:/kwcolor/9", "--photos", "."], "no model version `models:/kwcolor/9`"),
    ],
)
def test_what_cannot_start_says_why_in_one_sentence(
    kwcolor: Command, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], arguments: list[str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert_refused(kwcolor(*arguments), says)


def test_a_corrupt_settings_file_is_named(kwcolor: Command) -> None:
    Path("kwcolor.toml").write_text("size = = 3")
    assert_refused(kwcolor("versions"), "settings cannot be read")


def test_a_damaged_mlflow_database_is_named(kwcolor: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWCOLOR_HOME", str(tmp_path / "home"))
    database = Home(tmp_path / "home").mlflow_database
    database.parent.mkdir()
    database.write_bytes(b"this is no database" * 100)
    assert_refused(kwcolor("versions"), f"{database} is damaged")
    assert_refused(kwcolor("run"), f"{database} is damaged")
    assert database.read_bytes().startswith(b"this is no database")


def test_a_damaged_dagster_database_is_named(kwcolor: Command, home: Home) -> None:
    assert kwcolor("run", "--years", "1066").code == 2  # makes the databases
    history = home.dagster / "history"
    for database in (history / "runs.db", history / "runs" / "index.db"):
        sound = database.read_bytes()
        database.write_bytes(b"this is no database" * 100)
        assert_refused(kwcolor("run", "--select", "deduplicated_photos"), f"Dagster's database in {home.dagster}")
        database.write_bytes(sound)


def test_without_any_training_the_starter_colorizes(kwcolor: Command, tmp_path: Path) -> None:
    import skimage.data

    Image.fromarray(skimage.data.chelsea()).convert("L").save(tmp_path / "cat.png")
    for arguments in ([], ["--model", "starter"]):
        done = kwcolor("colorize", tmp_path / "cat.png", "-o", tmp_path / "out", *arguments)
        assert done.code == 0, done.err
        with Image.open(tmp_path / "out" / "cat.png") as picture:
            assert colourfulness(np.asarray(picture)) > 8
        (tmp_path / "out" / "cat.png").unlink()


def test_colorizing_with_a_bundles_folder(kwcolor: Command, trained_settings: Settings, tmp_path: Path) -> None:
    bundle = bundle_of(trained_settings)
    photographs = tmp_path / "in [draft]"
    photographs.mkdir()
    (photographs / "good.jpg").write_bytes(encoded(scene(1)))
    done = kwcolor("colorize", photographs, "-o", tmp_path / "out [bold]", "--model", bundle)
    in_colour = f"· {photographs}/good.jpg is in colour already; it was colorized anew, from its own lightness.\n"
    assert (done.code, done.err) == (0, in_colour)
    assert done.out == f"Done: 1 colorized into {tmp_path}/out [bold].\n"
    (photographs / "bad.jpg").write_text("no picture")
    partly = kwcolor("colorize", photographs, "-o", tmp_path / "out [bold]", "--model", bundle)
    assert (partly.code, partly.out) == (1, "  1 is there already; --again colorizes anew\n")
    assert partly.err == f"· {photographs}/bad.jpg is not a picture in a format that can be read.\n"
    nothing = kwcolor("colorize", photographs / "bad.jpg", "-o", tmp_path / "out", "--model", bundle)
    assert (nothing.code, nothing.out, nothing.err) == (2, "", partly.err)
    assert_refused(kwcolor("colorize", tmp_path / "nowhere", "-o", "out", "--model", bundle), "nowhere does not exist")
    assert_refused(
        kwcolor("colorize", photographs, "-o", "out", "--model", bundle, "--format", "gif"), "`gif` is not a format"
    )
    (bundle / "generator.safetensors").write_bytes(b"")
    assert_refused(kwcolor("colorize", photographs, "-o", "out", "--model", bundle), "generator.safetensors is damaged")
    assert_refused(kwcolor("colorize", photographs, "-o", "out", "--model", tmp_path), "is not a model bundle")


def test_evaluating_a_folder(kwcolor: Command, trained_settings: Settings, tmp_path: Path) -> None:
    photographs = tmp_path / "photos"
    photographs.mkdir()
    for seed in (1, 2):
        (photographs / f"{seed}.jpg").write_bytes(encoded(scene(seed)))
    Image.new("L", (80, 80), 100).save(photographs / "grey.png")
    done = kwcolor(
        "evaluate", "--model", bundle_of(trained_settings), "--photos", photographs, "--json", tmp_path / "numbers.json"
    )
    assert done.code == 1
    assert "grey.png is not in colour" in done.err
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert len(written["photographs"]) == 3 * 2
    missing = kwcolor("evaluate", "--model", bundle_of(trained_settings), "--photos", tmp_path / "nowhere")
    assert_refused(missing, "nowhere is not a folder")


def test_the_installed_command_behaves_the_same(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
    ended = subprocess.run(
        [Path(sys.executable).with_name("kwcolor"), "run", "--preset", "[huge]"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | {"KWCOLOR_HOME": str(tmp_path / "home")},
        timeout=60,
        check=False,
    )
    assert_refused(Outcome(ended.returncode, ended.stdout, ended.stderr), "There is no preset `[huge]`")
    assert list(tmp_path.iterdir()) == []


def test_sources_says_what_there_is_and_what_each_needs(kwcolor: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_out", Console(width=400))
    monkeypatch.setenv("KWCOLOR_SOURCES", "sample,loc")
    outcome = kwcolor("sources")
    assert outcome.code == 0
    for told in (
        "folder:PATH",
        "sample (in use)",
        "KWCOLOR_CONTACT",
        "KWCOLOR_NARA__API_KEY",
        "when they were published",
    ):
        assert told in outcome.out
    assert "20 in 10 s, 80 in a minute, one at a time" in outcome.out
    monkeypatch.setenv("KWCOLOR_CONTACT", "me@example.org")
    assert "KWCOLOR_CONTACT" not in kwcolor("sources").out
