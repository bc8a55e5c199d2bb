"""`kwcolor versions`: the table for people and the JSON for programs."""

import datetime
import json
import math
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from kwcolor_pipeline import cli
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.tracking.mlflow_tracking import (
    DATA_TAG,
    PRESET_TAG,
    PROMOTED_TAG,
    WEIGHTS_TAG,
    Version,
    open_tracking,
)
from kwcolor_pipeline.tracking.version_table import version_table
from kwcolor_pipeline_tests.tracking.test_mlflow_tracking import bundle_in

WHEN = datetime.datetime(2026, 11, 2, 8, 5, tzinfo=datetime.UTC)


def version(number: int, *aliases: str, tags: dict[str, str] | None = None, **metrics: float) -> Version:
    return Version(number, aliases, tags or {}, "run", metrics, WHEN, "", "")


def test_the_champion_is_marked_and_only_what_somebody_measured_is_a_column() -> None:
    tags = {PRESET_TAG: "demo", DATA_TAG: "0123456789abcdef"}
    headings, rows = version_table(
        [
            version(3, "challenger", tags=tags, test_ciede2000=7.12345, best_score=1.0, test_colourfulness_p95=2.0),
            version(2, "blessed", "champion", tags=tags, test_ciede2000=math.nan, test_ssim=0.98765),
            version(1),
        ]
    )
    assert headings == ["", "version", "aliases", "created", "preset", "data", "ciede2000", "ssim"]
    assert rows == [
        ["", "3", "challenger", "2026-11-02 08:05", "demo", "0123456789ab", "7.123", ""],
        ["★", "2", "blessed, champion", "2026-11-02 08:05", "demo", "0123456789ab", "nan", "0.9877"],
        ["", "1", "", "2026-11-02 08:05", "", "", "", ""],
    ]


def test_no_version_is_an_empty_table() -> None:
    assert version_table([]) == (["", "version", "aliases", "created", "preset", "data"], [])


def test_the_command_prints_what_mlflow_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KWCOLOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KWCOLOR_HOME", str(tmp_path / "home"))
    tracking = open_tracking(load_settings())
    for number, preset in enumerate(("demo", "[bold]")):
        with tracking.run("train", {}, {}) as run:
            run.log_metrics({"best_score": 2.0})
            tags = {WEIGHTS_TAG: str(number), PRESET_TAG: preset, DATA_TAG: f"{number}23456789abcdef"}
            bundle = bundle_in(tmp_path / f"bundle{number}", preset.encode())
            tracking.register_version(run, bundle, tags, "Trained on 9 pictures.")
    first = tracking.versions()[1]
    tracking.log_version_metrics(first, {"test_ciede2000": 6.54321, "test_fid": math.nan})
    tracking.promote(first, {PROMOTED_TAG: "It is the first."})

    def kwcolor(*arguments: str, width: int = 200) -> str:
        # The captured output is no terminal and has no width of its own.
        monkeypatch.setattr(cli, "_out", Console(width=width))
        monkeypatch.setattr(sys, "argv", ["kwcolor", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    lines = kwcolor("versions").splitlines()
    assert [word for word in lines[1].split() if word.isalnum()] == [
        *("version", "aliases", "created", "preset", "data", "ciede2000", "fid")
    ]
    assert "2 " in lines[3]
    assert "challenger" in lines[3]
    assert "[bold]" in lines[3]
    for words in ("★", "champion", "demo", "023456789abc", "6.543", "nan"):
        assert words in lines[4]

    # A narrow terminal has fewer columns and whole numbers.
    narrow = kwcolor("versions", width=50)
    for words in ("★", "champion", "6.543", "Not shown for want of room: created, data"):
        assert words in narrow
    assert "…" not in narrow
    assert max(map(len, narrow.splitlines()[:-1])) <= 50

    assert "Not shown" in kwcolor("versions", width=10)

    newest, champion = json.loads(kwcolor("versions", "--json"))
    assert (newest["version"], newest["champion"], newest["aliases"]) == (2, False, ["challenger"])
    assert (champion["version"], champion["champion"], champion["aliases"]) == (1, True, ["champion"])
    assert champion["metrics"] == {"best_score": 2.0, "test_ciede2000": 6.54321, "test_fid": None}
    assert (champion["preset"], champion["data"]) == ("demo", "023456789abcdef")
    assert champion["tags"][PROMOTED_TAG] == "It is the first."
    assert champion["description"] == "Trained on 9 pictures. It is the first."
    assert champion["run"].endswith(f"/runs/{first.run_id}")
