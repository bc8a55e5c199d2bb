"""Backup and restoration: what comes back is what was there, and what is not whole is no backup."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from kwcolor_pipeline import backup
from kwcolor_pipeline.backup import back_up, restore
from kwcolor_pipeline.definitions import build_definitions
from kwcolor_pipeline.home import Home
from kwcolor_pipeline.orchestration import incremental
from kwcolor_pipeline.orchestration.instance import open_instance
from kwcolor_pipeline.orchestration.resources import MLflow
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline_tests.commands import run_command
from kwcolor_pipeline_tests.journeys.photographs import PhotoFolder
from kwcolor_pipeline_tests.small_homes import settings_for

PHOTOGRAPHS = ["crawled_photos", "deduplicated_photos", "curated_photos", "grayscale_pairs"]


@pytest.fixture
def home(tmp_path):
    """A home with a bit of everything, made up."""
    home = Home(tmp_path / "home")
    store = PhotoStore(home.photos)
    for data in (b"first", b"second"):
        store.put(data, "JPEG")
    for name, text in {
        "manifests/crawled_photos/1941.parquet": "rows",
        "manifests/crawled_photos/.1942.parquet.12-ab.part": "half written",
        "pairs/result.json": "{}",
        "pairs/cache/train-48/pixels.bin": "decoded",
        "models/critic/0123.checkpoint": "on the way",
        "network/loc/listing": "passing",
        "review/decisions.csv": "a decision",
        "mlflow.lock": "",
    }.items():
        path = home.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    database(home.mlflow_database)
    return home


def database(path, rows=3):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE runs (number INTEGER)")
    connection.executemany("INSERT INTO runs VALUES (?)", [(number,) for number in range(rows)])
    connection.commit()
    connection.close()


def rows(data):
    connection = sqlite3.connect(":memory:")
    connection.deserialize(data[:18] + b"\1\1" + data[20:])  # a database in memory has no write-ahead log
    return connection.execute("SELECT number FROM runs").fetchall()


def content(home):
    return {
        str(path.relative_to(home.root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(home.root.rglob("*"))
        if path.is_file()
    }


def objects(folder):
    return [path for path in (folder / "objects").rglob("*") if path.is_file()]


def test_what_was_there_comes_back_to_the_byte(home, tmp_path):
    before = content(home)
    done = back_up(home, tmp_path / "copies")
    assert done.problems == []
    assert (done.files, done.copied) == (7, 7)
    made_again = {"pairs/cache/train-48/pixels.bin", "network/loc/listing", "mlflow.lock"}
    made_again |= {name for name in before if name.endswith(".part")}
    elsewhere = Home(tmp_path / "elsewhere")
    restored = restore(tmp_path / "copies", elsewhere)
    assert restored.home_then == str(home.root)
    after, expected = content(elsewhere), {name: told for name, told in before.items() if name not in made_again}
    # SQLite counts the copying in the file's header.
    assert [rows(each.pop("mlflow.db")[0]) for each in (after, expected)] == [[(0,), (1,), (2,)]] * 2
    assert after == expected
    assert PhotoStore(elsewhere.photos).damaged() == []


def test_the_second_backup_copies_what_is_new_and_each_can_be_restored(home, tmp_path):
    copies = tmp_path / "copies"
    first = back_up(home, copies)
    assert back_up(home, copies).copied == 0
    PhotoStore(home.photos).put(b"third", "PNG")
    (home.pairs / "result.json").write_text('{"new": 1}')
    second = back_up(home, copies)
    assert (second.copied, second.bytes) == (2, len(b"third") + len('{"new": 1}'))

    restore(copies, Home(tmp_path / "older"), which=first.list_file.stem)
    assert (tmp_path / "older/pairs/result.json").read_text() == "{}"
    restore(copies, Home(tmp_path / "newer"))
    assert (tmp_path / "newer/pairs/result.json").read_text() == '{"new": 1}'

    kept = back_up(home, copies, keep=1)
    assert list((copies / "backups").iterdir()) == [kept.list_file]
    assert len(objects(copies)) == kept.files
    assert restore(copies, Home(tmp_path / "kept")).files == 8


@pytest.mark.parametrize("after", [0, 3, 6])
def test_a_backup_that_was_killed_is_none_and_is_continued(home, tmp_path, after):
    copies = tmp_path / "copies"
    script = f"""
import os, signal, sys
from pathlib import Path
from kwcolor_pipeline import backup
from kwcolor_pipeline.home import Home
copied, left = backup._copied, {after}
def killed(path, to):
    global left
    if left == 0:
        to.write_bytes(path.read_bytes()[:2])
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return copied(path, to)
backup._copied = killed
backup.back_up(Home(Path({str(home.root)!r})), Path({str(copies)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert killed.returncode == (-signal.SIGKILL if after < 6 else 0)
    if after < 6:
        with pytest.raises(SettingsProblem, match="no finished backup"):
            restore(copies, Home(tmp_path / "elsewhere"))
        assert not (tmp_path / "elsewhere").exists()
    done = back_up(home, copies)
    assert (done.files, done.copied) == (7, 6 - after if after < 6 else 0)
    assert list((copies / "unfinished").glob("*")) == []
    assert restore(copies, Home(tmp_path / "elsewhere")).files == 7


def test_a_database_is_copied_as_one_moment_has_it_while_it_is_written(home, tmp_path):
    stop = threading.Event()

    def write():
        connection = sqlite3.connect(home.mlflow_database, timeout=60)
        while not stop.is_set():
            with connection:  # always three rows more
                connection.executemany("INSERT INTO runs VALUES (?)", [(0,), (1,), (2,)])
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            back_up(home, tmp_path / "copies")
            restored = Home(tmp_path / f"restored-{number}")
            restore(tmp_path / "copies", restored)
            connection = sqlite3.connect(restored.mlflow_database)
            assert connection.execute("SELECT count(*) FROM runs").fetchone()[0] % 3 == 0
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.close()
    finally:
        stop.set()
        writer.join()


def test_what_changes_while_it_is_copied_is_copied_again(home, tmp_path, monkeypatch):
    kept, changes = backup._kept, iter(["a", "bb"])

    def meanwhile(folder, path, name, done):
        entry = kept(folder, path, name, done)
        text = next(changes, None) if name == "review/decisions.csv" else None
        if text is not None:
            path.write_text(text)
        return entry

    monkeypatch.setattr(backup, "_kept", meanwhile)
    back_up(home, tmp_path / "copies")
    restore(tmp_path / "copies", Home(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere/review/decisions.csv").read_text() == "bb"


def test_a_home_that_never_rests_is_not_backed_up(home, tmp_path, monkeypatch):
    kept, count = backup._kept, iter(range(1, 100))

    def restless(folder, path, name, done):
        (home.pairs / "result.json").write_text("x" * next(count))
        return kept(folder, path, name, done)

    monkeypatch.setattr(backup, "_kept", restless)
    with pytest.raises(SettingsProblem, match="changes all the while"):
        back_up(home, tmp_path / "copies")
    with pytest.raises(SettingsProblem, match="no finished backup"):
        restore(tmp_path / "copies", Home(tmp_path / "elsewhere"))


def test_a_damaged_photograph_is_told_and_left_out(home, tmp_path):
    broken = next(home.photos.glob("??/*.jpg"))
    broken.write_bytes(b"rot")
    done = back_up(home, tmp_path / "copies")
    assert done.files == 6
    (sentence,) = done.problems
    assert str(broken) in sentence


def test_a_damaged_database_is_told_and_no_backup_is_made_of_it(home, tmp_path):
    database(home.root / "dagster.db", rows=20_000)
    data = bytearray((home.root / "dagster.db").read_bytes())
    data[8192:16384] = b"\xff" * 8192
    (home.root / "dagster.db").write_bytes(data)
    with pytest.raises(SettingsProblem, match=r"dagster\.db"):
        back_up(home, tmp_path / "copies")
    assert not list((tmp_path / "copies").glob("backups/*"))


def test_a_damaged_backup_changes_nothing(home, tmp_path):
    copies = tmp_path / "copies"
    back_up(home, copies)
    before = content(home)
    for change in (lambda path: path.write_bytes(b"rot!!"), lambda path: path.unlink()):
        first = next(path for path in objects(copies) if path.read_bytes() in (b"first", b"rot!!"))
        change(first)
        with pytest.raises(SettingsProblem, match=f"{first}"):
            restore(copies, home, overwrite=True)
        assert {name: told for name, told in content(home).items() if not name.startswith(".restoring")} == before


def test_a_home_is_only_replaced_when_that_is_asked_for(home, tmp_path):
    copies = tmp_path / "copies"
    back_up(home, copies)
    (home.root / "manifests/crawled_photos/1941.parquet").write_text("changed since")
    (home.root / "new").write_text("since")
    with pytest.raises(SettingsProblem, match=r"is not empty.*--overwrite"):
        restore(copies, home)
    assert (home.root / "new").exists()
    restore(copies, home, overwrite=True)
    assert (home.root / "manifests/crawled_photos/1941.parquet").read_text() == "rows"
    assert sorted(path.name for path in home.root.iterdir()) == [
        *("manifests", "mlflow.db", "models", "pairs", "photos", "review")
    ]


def test_what_cannot_be_backed_up_or_restored_is_said(home, tmp_path):
    with pytest.raises(SettingsProblem, match="no home"):
        back_up(Home(tmp_path / "nowhere"), tmp_path / "copies")
    for folder in (home.root / "copies", tmp_path):
        with pytest.raises(SettingsProblem, match="lie in each other"):
            back_up(home, folder)
    done = back_up(home, tmp_path / "copies")
    with pytest.raises(SettingsProblem, match="no finished backup called yesterday"):
        restore(tmp_path / "copies", Home(tmp_path / "elsewhere"), which="yesterday")
    listed = json.loads(done.list_file.read_text())
    for changed, problem in (
        ({**listed, "form": 2}, "restore it with that version"),
        ({**listed, "files": {"../outside": {}}}, "outside a home"),
        ([], "no list of a backup"),
    ):
        done.list_file.write_text(json.dumps(changed))
        with pytest.raises(SettingsProblem, match=problem):
            restore(tmp_path / "copies", Home(tmp_path / "elsewhere"))
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(SettingsProblem, match="cannot be read or written"):
        back_up(home, blocked)


@pytest.mark.slow
def test_after_a_restoration_everything_is_up_to_date(tmp_path, monkeypatch, capsys):
    """The commands, on a home that runs have made, with Dagster's history."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    PhotoFolder(tmp_path / "colour").add({"1941": 8, "1942": 8})
    settings = settings_for(tmp_path / "home", sources=[f"folder:{tmp_path / 'colour'}"], korean_war_sources=[])
    definitions = build_definitions(settings)

    def run():
        with open_instance(settings) as instance:
            return incremental.run(settings, definitions, instance, MLflow(settings), select=PHOTOGRAPHS).materialized

    assert len(run()) == 5
    monkeypatch.setenv("KWCOLOR_HOME", str(settings.home))
    code, said, _ = run_command(monkeypatch, capsys, "backup", tmp_path / "copies")
    assert code == 0
    assert "new" in said
    settings.home.rename(tmp_path / "lost")
    code, said, _ = run_command(monkeypatch, capsys, "restore", tmp_path / "copies")
    assert code == 0
    for name in ("photos", "manifests", "pairs"):
        before, after = (content(Home(root / name)) for root in (tmp_path / "lost", settings.home))
        assert after == {path: told for path, told in before.items() if not path.startswith("cache/")}
    assert run() == []
