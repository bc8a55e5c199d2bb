import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kwcolor_pipeline.photos.decisions import (
    COLUMNS,
    KEEP,
    REJECT,
    UNDECIDED,
    append_decision,
    decisions_path,
    read_decisions,
)
from kwcolor_pipeline.settings import Settings, SettingsProblem, load_settings

A, B, C = ("a" * 64, "b" * 64, "c" * 64)

APPENDING = """
import sys
from pathlib import Path
from kwcolor_pipeline.photos.decisions import append_decision
for number in range(20):
    append_decision(Path(sys.argv[1]), f"{sys.argv[2]}-{number}", "keep")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "review" / "decisions.csv"


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_file_lies_in_the_home_or_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert decisions_path(Settings(home=tmp_path)) == tmp_path / "review" / "decisions.csv"
    for given, meant in {"mine.csv": tmp_path / "mine.csv", "~/mine.csv": tmp_path / "me" / "mine.csv"}.items():
        monkeypatch.setenv("KWCOLOR_REVIEW__DECISIONS", given)
        assert decisions_path(load_settings(home=tmp_path / "home")) == meant


@pytest.mark.parametrize("given", ["s3://bucket/decisions.csv", " ", "~nobody-of-that-name/x.csv"])
def test_what_is_no_file_is_refused(given: str) -> None:
    with pytest.raises(SettingsProblem, match=r"review\.decisions"):
        load_settings(review={"decisions": given})


def test_nothing_is_decided_without_a_file_or_in_an_empty_one(path: Path) -> None:
    assert read_decisions(path) == {}
    for empty in (b"", b"\n", b"\xef\xbb\xbf", b"photo_id,decision\n"):
        assert read_decisions(written(path, empty)) == {}, empty


def test_the_last_line_counts_and_undecided_takes_back(path: Path) -> None:
    for photo_id, decision in ((A, KEEP), (B, REJECT), (C, KEEP), (A, REJECT), (C, UNDECIDED), (B, REJECT)):
        append_decision(path, photo_id, decision)
    assert read_decisions(path) == {A: REJECT, B: REJECT}
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[1] for line in lines[1:]] == [KEEP, REJECT, KEEP, REJECT, UNDECIDED, REJECT]
    assert [entry.name for entry in path.parent.iterdir()] == ["decisions.csv"]


def test_a_note_with_every_kind_of_sign_is_read_back(path: Path) -> None:
    append_decision(path, A, REJECT, 'a "toy", really\nÄ')
    append_decision(path, B, KEEP)
    assert read_decisions(path) == {A: REJECT, B: KEEP}
    assert '"a ""toy"", really\nÄ"' in path.read_text()


@pytest.mark.parametrize(
    ("before", "added"),
    [
        (b"photo_id,decision\na,keep\n", b"b,reject\n"),
        (b"photo_id,decision\r\na,keep\r\n", b"b,reject\r\n"),
        (b"photo_id,decision\r\na,keep", b"\r\nb,reject\r\n"),
        (b"\xef\xbb\xbfphoto_id,decision\na,keep\n", b"b,reject\n"),
        (b"who,decision,photo_id,note\nme,keep,a,\n", b",reject,b,blurred\n"),
        (b'photo_id,decision,note\na,keep,"two\nlines"\n', b"b,reject,blurred\n"),
        (b"photo_id,decision\n\na,keep\n,\n", b"b,reject\n"),
        (b"photo_id,decision\na, keep \n", b"b,reject\n"),
    ],
    ids=["plain", "CRLF", "no last line end", "byte order mark", "own columns", "quoted", "empty lines", "spaces"],
)
def test_what_others_wrote_stays_as_it_is(path: Path, before: bytes, added: bytes) -> None:
    written(path, before)
    append_decision(path, "b", REJECT, "blurred")
    assert path.read_bytes() == before + added
    assert read_decisions(path) == {"a": KEEP, "b": REJECT}


@pytest.mark.parametrize("empty", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_gets_its_header(path: Path, empty: bytes) -> None:
    append_decision(written(path, empty), A, KEEP)
    assert path.read_bytes().startswith(empty.strip() + b"photo_id,decision,")
    assert read_decisions(path) == {A: KEEP}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"id,verdict\na,keep\n", "photo_id and decision"),
        (b"photo_id;decision\na;keep\n", "photo_id and decision"),
        (b"photo_id,decision\na,keep\nb,perhaps\n", "line 3"),
        (b"photo_id,decision\n<<<<<<< HEAD\na,keep\n", "line 2"),
        (b'photo_id,decision,note\na,keep,"open\nb,keep,\n', "line 3 is no line"),
        ("photo_id,decision,note\na,keep,ä\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_what_cannot_be_understood_is_named_and_left_alone(path: Path, data: bytes, says: str) -> None:
    written(path, data)
    with pytest.raises(SettingsProblem, match=says):
        read_decisions(path)
    with pytest.raises(SettingsProblem, match=says):
        append_decision(path, A, KEEP)
    assert path.read_bytes() == data


def test_a_folder_in_the_files_place_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(SettingsProblem, match="cannot be read"):
        read_decisions(path)
    with pytest.raises(SettingsProblem, match="cannot be written"):
        append_decision(path, A, KEEP)


def test_another_word_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="perhaps"):
        append_decision(path, A, "perhaps")
    assert not path.exists()


def test_a_link_into_a_repository_stays_a_link_and_its_file_keeps_its_mode(path: Path, tmp_path: Path) -> None:
    kept = written(tmp_path / "repository" / "decisions.csv", b"photo_id,decision\n")
    kept.chmod(0o664)
    path.parent.mkdir()
    path.symlink_to(kept)
    append_decision(path, A, KEEP)
    assert path.is_symlink()
    assert read_decisions(kept) == {A: KEEP}
    assert kept.stat().st_mode & 0o777 == 0o664


def test_no_line_is_lost_or_torn_when_threads_and_processes_decide_at_once(path: Path) -> None:
    threads, each = 4, 25
    failures: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                read_decisions(path)
            except SettingsProblem as problem:
                failures.append(str(problem))

    watcher = threading.Thread(target=watch)
    watcher.start()
    others = [subprocess.Popen([sys.executable, "-c", APPENDING, path, f"p{number}"]) for number in range(2)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: append_decision(path, f"t-{number}", KEEP), range(threads * each)))
    assert [process.wait() for process in others] == [0, 0]
    done.set()
    watcher.join()
    assert failures == []
    wanted = {f"t-{number}" for number in range(threads * each)}
    wanted |= {f"p{process}-{number}" for process in range(2) for number in range(20)}
    assert read_decisions(path) == dict.fromkeys(wanted, KEEP)
    assert len(path.read_text().splitlines()) == 1 + len(wanted)
    assert [entry.name for entry in path.parent.iterdir()] == ["decisions.csv"]
