from pathlib import Path

import pyarrow as pa
import pytest
from PIL import UnidentifiedImageError

from kwcolor_pipeline.photos import measured
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
