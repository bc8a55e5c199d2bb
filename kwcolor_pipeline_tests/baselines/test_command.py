"""`kwcolor baselines`: the list, and the photographs for other programs."""

import functools

import pytest
from rich.console import Console

from kwcolor_pipeline import cli
from kwcolor_pipeline.baselines.published import ARTISTIC, STABLE
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline_tests.commands import run_command


@pytest.fixture
def command(small_settings, monkeypatch, capsys):
    monkeypatch.setenv("KWCOLOR_HOME", str(small_settings.home))
    monkeypatch.setattr(cli, "_out", Console(width=120))

    return functools.partial(run_command, monkeypatch, capsys, "baselines")


def test_it_says_what_is_here_and_how_to_get_the_rest(command, monkeypatch, tmp_path):
    (tmp_path / "results [1]").mkdir()
    monkeypatch.setenv("KWCOLOR_BASELINES__FOLDERS", f"my [own]={tmp_path / 'results [1]'}")
    code, out, err = command()
    assert (code, err) == (0, "")
    rows = {line.split("│")[1].strip(): line.split("│")[3].strip() for line in out.splitlines() if line.startswith("│")}
    assert rows["my [own]"] == "available"
    assert rows["DeOldify artistic"] == rows["DDColor"] == "not here"
    lines = out.splitlines()
    for published in (ARTISTIC, STABLE):
        assert any(published.file in line and published.sha256 in line for line in lines)
    assert not any(line.startswith("my [own]:") for line in lines)


def test_it_exports_the_test_photographs(command, small_settings, tmp_path):
    code, out, err = command("--export", tmp_path / "grey [1]")
    wanted = {f"{pair.photo_id}.png" for pair in read_pairs(small_settings.paths, "test")}
    assert (code, err) == (0, "")
    assert out == f"Done: {len(wanted)} grey photographs in {tmp_path}/grey [1].\n"
    assert {path.name for path in (tmp_path / "grey [1]").iterdir()} == wanted


def test_it_says_what_is_missing_in_one_sentence(command, monkeypatch, tmp_path):
    monkeypatch.setenv("KWCOLOR_HOME", str(tmp_path / "empty"))
    code, out, err = command("--export", tmp_path / "grey")
    assert (code, out) == (2, "")
    assert err.startswith("Could not start: There are no pairs yet")
    assert err.count("\n") == 1
