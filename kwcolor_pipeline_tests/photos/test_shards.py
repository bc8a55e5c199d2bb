import tarfile
from pathlib import Path
from typing import Any

import pytest

from kwcolor_pipeline.photos import shards
from kwcolor_pipeline.photos.shards import open_shard, planned, read_shard, write_shard
from kwcolor_pipeline.photos.store import photo_id_of


def row(number: int, partition: str | None = "1942", split: str = "train", **fields: Any) -> dict[str, Any]:
    return {"photo_id": photo_id_of(b"%d" % number), "partition": partition, "split": split, **fields}


def test_every_photograph_lies_in_one_shard_of_its_year_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_SIZE", 10)
    rows = [row(number, ("1942", "1943", None)[number % 3], "test" if number % 5 else "train") for number in range(300)]
    made = planned(rows)
    assert sorted(one["photo_id"] for found in made.values() for one in found) == sorted(
        one["photo_id"] for one in rows
    )
    for name, found in made.items():
        assert {(one["split"], one["partition"] or "undated") for one in found} == {
            (name.split("/")[0], name.split("/")[1].split("-")[0])
        }
        assert len(found) < 30
    assert planned(rows[::-1]) == made


def test_names_change_with_the_content_and_only_where_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_SIZE", 10)
    rows = [row(number) for number in range(100)]
    before = planned(rows)
    assert len(planned([*rows, row(100)]).keys() - before.keys()) == 1
    assert len(planned([*rows[1:], row(0, title="new")]).keys() - before.keys()) == 1
    assert planned([*rows, *(row(number, "1943") for number in range(200, 300))]).keys() > before.keys()


def test_what_is_written_is_read_and_any_tool_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "one.tar"
    files = {f"p{number}": {"json": b"{}", "gray.png": b"%d" % number * 1000} for number in range(5)}
    write_shard(path, files.items())
    assert read_shard(path) == files
    with open_shard(path) as read:
        assert read("p3") == files["p3"]
    with tarfile.open(path) as tar:
        assert tar.getnames()[:2] == ["p0.gray.png", "p0.json"]
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}
