import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import UnidentifiedImageError

from kwcolor_pipeline.photos import measured, parallel
from kwcolor_pipeline.photos.measured import measure_once

SCHEMA = pa.schema([("length", pa.int32())])


def length(photo_id: str) -> dict:
    return {"length": len(photo_id)}


def forbidden(photo_id: str) -> dict:
    raise AssertionError(f"{photo_id} was measured again")


def test_only_unseen_photographs_are_measured(tmp_path: Path) -> None:
    table = tmp_path / "lengths.parquet"
    rows, new = measure_once(table, "1", ["a", "bb", "a"], length, SCHEMA)
    assert ({key: row["length"] for key, row in rows.items()}, new) == ({"a": 1, "bb": 2}, 2)
    assert measure_once(table, "1", ["bb", "a"], forbidden, SCHEMA)[1] == 0
    rows, new = measure_once(table, "1", ["a", "ccc"], length, SCHEMA)
    assert (list(rows), new) == (["a", "ccc"], 1)
    assert measure_once(table, "1", ["bb"], forbidden, SCHEMA)[1] == 0


def test_another_version_or_other_columns_measure_anew(tmp_path: Path) -> None:
    table = tmp_path / "lengths.parquet"
    measure_once(table, "1", ["a"], length, SCHEMA)
    assert measure_once(table, "2", ["a"], length, SCHEMA)[1] == 1
    wider = pa.schema([("length", pa.int64())])
    assert measure_once(table, "2", ["a"], length, wider)[1] == 1


def test_an_unreadable_picture_is_recorded_and_not_tried_again(tmp_path: Path) -> None:
    def broken(photo_id: str) -> dict:
        raise UnidentifiedImageError("cannot identify image file")

    table = tmp_path / "lengths.parquet"
    rows, _ = measure_once(table, "1", ["a"], broken, SCHEMA)
    assert "cannot identify" in rows["a"]["error"]
    rows, new = measure_once(table, "1", ["a"], forbidden, SCHEMA)
    assert (rows["a"]["length"], new) == (None, 0)


def test_a_missing_file_is_not_taken_for_an_unreadable_picture(tmp_path: Path) -> None:
    def missing(photo_id: str) -> dict:
        raise FileNotFoundError("crawl its year again")

    with pytest.raises(FileNotFoundError, match="crawl its year"):
        measure_once(tmp_path / "lengths.parquet", "1", ["a"], missing, SCHEMA)


def test_a_stopped_run_goes_on_where_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "SAVE_EVERY", 3)
    table, ids = tmp_path / "lengths.parquet", [f"{number:02}" for number in range(10)]

    def dies_at_seven(photo_id: str) -> dict:
        if photo_id == "07":
            raise KeyboardInterrupt
        return length(photo_id)

    with pytest.raises(KeyboardInterrupt):
        measure_once(table, "1", ids, dies_at_seven, SCHEMA)
    seen: list[tuple[int, int]] = []
    rows, new = measure_once(table, "1", ids, length, SCHEMA, progress=lambda done, total: seen.append((done, total)))
    assert (len(rows), new, seen[-1]) == (10, 4, (4, 4))


def test_a_damaged_table_is_measured_anew(tmp_path: Path) -> None:
    table = tmp_path / "lengths.parquet"
    table.write_bytes(b"not parquet at all")
    assert measure_once(table, "1", ["a"], length, SCHEMA)[1] == 1


def test_the_table_is_the_same_for_any_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTHWHILE", 4)
    ids = [f"{number:02}" for number in range(30)]
    tables, seen = [], []
    for workers in (1, 3):
        path = tmp_path / f"{workers}.parquet"
        measure_once(path, "1", ids, lambda photo_id: {"length": int(photo_id)}, SCHEMA, None, workers)
        tables.append(path.read_bytes())
    assert tables[0] == tables[1]
    measure_once(tmp_path / "new.parquet", "1", ids, length, SCHEMA, lambda *count: seen.append(count), workers=2)
    assert seen == [(number, 30) for number in range(1, 31)]


def test_saving_writes_what_is_new_and_the_table_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "SAVE_EVERY", 3)
    written: list[tuple[str, int]] = []
    write = measured._write

    def noted(path: Path, table: pa.Table) -> None:
        written.append((path.name, table.num_rows))
        write(path, table)

    monkeypatch.setattr(measured, "_write", noted)
    path = tmp_path / "lengths.parquet"
    measure_once(path, "1", [f"{number:02}" for number in range(100, 107)], length, SCHEMA)
    assert [rows for _, rows in written] == [3, 3, 7]
    written.clear()
    measure_once(path, "1", ["a", "b"], length, SCHEMA)
    assert written == [("lengths.parquet", 9)]
    written.clear()
    measure_once(path, "1", ["a", "b"], forbidden, SCHEMA)
    assert written == []
    assert [child.name for child in tmp_path.iterdir()] == ["lengths.parquet"]
    assert pq.read_table(path)["photo_id"].to_pylist() == sorted([*map(str, range(100, 107)), "a", "b"])


KILLED = """
import sys, time
from pathlib import Path
import pyarrow as pa
from kwcolor_pipeline.photos import measured, parallel
parallel.WORTHWHILE = 8
measured.SAVE_EVERY = 10

def slow(photo_id):
    time.sleep(0.02)
    return {"length": int(photo_id)}

ids = [f"{number:04}" for number in range(2000)]
measured.measure_once(Path(sys.argv[1]), "1", ids, slow, pa.schema([("length", pa.int32())]), workers=2)
"""


def test_a_killed_process_leaves_what_it_saved(tmp_path: Path) -> None:
    path = tmp_path / "lengths.parquet"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".*.rows.part"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not path.exists()
    saved = 10 * len(list(tmp_path.glob(".*.rows.part")))
    ids = [f"{number:04}" for number in range(200)]
    rows, new = measure_once(path, "1", ids, lambda photo_id: {"length": int(photo_id)}, SCHEMA)
    assert new == max(0, 200 - saved)
    assert [rows[photo_id]["length"] for photo_id in ids] == list(range(200))
    assert pq.read_table(path).num_rows == max(200, saved)
    assert not list(tmp_path.glob(".lengths.parquet.*.rows.part"))


def test_what_another_run_measured_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lengths.parquet"

    def meets_another(photo_id: str) -> dict:
        measure_once(path, "1", ["other"], length, SCHEMA)
        return length(photo_id)

    measure_once(path, "1", ["mine"], meets_another, SCHEMA)
    assert measure_once(path, "1", ["mine", "other"], forbidden, SCHEMA)[1] == 0
