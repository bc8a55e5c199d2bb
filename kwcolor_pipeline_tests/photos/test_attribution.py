import csv
import datetime
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kwcolor_pipeline import cli
from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.attribution import COLUMNS, credit_line, write_attribution
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, write_manifest
from kwcolor_pipeline.settings import SettingsProblem


def row(number: int, **fields: Any) -> ManifestRow:
    basis = {
        "photo_id": f"{number:064x}",
        "source": "loc",
        "source_id": str(number),
        "file_url": f"https://files.example/{number}.jpg",
        "retrieved_at": datetime.datetime(2026, 11, number % 28 + 1, tzinfo=datetime.UTC),
        "status": Status.STORED,
    }
    return ManifestRow(**(basis | fields))


def fill(home: Home, *rows: ManifestRow, asset: str = "crawled_photos", key: str = "1943") -> None:
    write_manifest(home.manifests / asset / f"{key}.parquet", rows)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_every_stored_photograph_has_one_line(home: Home, tmp_path: Path) -> None:
    fill(home, row(1, year_taken=1943, year_published=2011), row(2, status=Status.REJECTED, photo_id=None), row(3))
    fill(home, row(3, source="nara", creator="A. Palmer", licence="CC0"), row(5, year_published=1987), key="undated")
    fill(home, row(4, title="Pusan, “Hafen”\nKai é"), asset="korean_war_photos", key="1951")
    written = write_attribution(home, tmp_path / "out")
    found = lines(written.table)
    assert list(found[0]) == list(COLUMNS)
    assert [line["photo_id"] for line in found] == [f"{number:064x}" for number in (1, 3, 4, 5)]
    assert [line["year"] for line in found] == ["1943", "", "", "1987"]
    # The source that says most is credited, and its fields stay together.
    assert (found[1]["source"], found[1]["creator"]) == ("nara", "A. Palmer")
    assert found[2]["title"] == "Pusan, “Hafen”\nKai é"
    assert found[0]["retrieved_at"] == "2026-11-02T00:00:00+00:00"
    assert written.photographs == 4


def test_the_same_photographs_give_the_same_bytes(home: Home, tmp_path: Path) -> None:
    fill(home, row(1), row(2))
    both = [write_attribution(home, tmp_path / name) for name in ("one", "two")]
    assert both[0].table.read_bytes() == both[1].table.read_bytes()
    assert both[0].croissant.read_bytes() == both[1].croissant.read_bytes()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_value_is_a_formula(home: Home, tmp_path: Path, start: str) -> None:
    hostile = f'{start}HYPERLINK("http://bad.example")'
    texts = ("title", "creator", "licence", "licence_url", "source_id", "landing_url", "date_text")
    fill(home, row(1, **dict.fromkeys(texts, hostile)))
    (line,) = lines(write_attribution(home, tmp_path).table)
    assert {line[name] for name in texts} == {"'" + hostile}
    assert not any(value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for value in line.values())


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {
                "title": "Welder",
                "creator": "A. Palmer",
                "landing_url": "https://loc.example/1",
                "licence": "CC BY 2.0",
                "licence_url": "https://licence.example/by",
            },
            "“Welder” by A. Palmer, https://loc.example/1, CC BY 2.0 (https://licence.example/by)",
        ),
        ({}, "“Untitled photograph”, https://files.example/1.jpg, licence not stated"),
        ({"file_url": "file:///home/me/a.jpg", "title": "Two\n lines "}, "“Two lines”, loc 1, licence not stated"),
    ],
)
def test_the_credit_line(fields: dict[str, Any], line: str) -> None:
    assert credit_line(row(1, **fields)) == line


def test_paths_of_this_machine_are_not_published(home: Home, tmp_path: Path) -> None:
    fill(home, row(1, source="folder", file_url="file:///home/somebody/a.jpg"))
    written = write_attribution(home, tmp_path / "out")
    assert lines(written.table)[0]["file_url"] == ""
    assert b"somebody" not in written.table.read_bytes() + written.croissant.read_bytes()


def test_the_croissant_file_describes_the_table(home: Home, tmp_path: Path) -> None:
    fill(home, row(1, licence="CC0", licence_url="https://licence.example/0"), row(2, licence="Public domain"), row(3))
    written = write_attribution(home, tmp_path)
    data = json.loads(written.croissant.read_text())
    assert (data["@type"], data["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    assert data["license"] == ["Public domain", "https://licence.example/0", "licence not stated"]
    assert {"name", "description", "url", "creator", "datePublished", "version"} <= data.keys()
    assert data["datePublished"] == "2026-11-04"
    terms = {term for term, meaning in data["@context"].items() if str(meaning).startswith(("cr:", "dct:"))}
    assert {"recordSet", "field", "source", "fileObject", "extract", "column", "key", "conformsTo"} <= terms
    (file,) = data["distribution"]
    table = written.table.read_bytes()
    assert file["contentUrl"] == written.table.name
    assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(table).hexdigest(), f"{len(table)} B")
    (records,) = data["recordSet"]
    assert records["key"] == {"@id": "photographs/photo_id"}
    assert [field["source"]["extract"]["column"] for field in records["field"]] == list(lines(written.table)[0])
    assert {field["source"]["fileObject"]["@id"] for field in records["field"]} == {file["@id"]}
    ids = [file["@id"], records["@id"], *(field["@id"] for field in records["field"])]
    assert len(set(ids)) == len(ids)
    assert all(field["description"] and field["dataType"].startswith("sc:") for field in records["field"])


def test_without_photographs_nothing_is_written(home: Home, tmp_path: Path) -> None:
    fill(home, row(1, status=Status.FAILED, photo_id=None))
    with pytest.raises(SettingsProblem, match="kwcolor run"):
        write_attribution(home, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def attribution(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `kwcolor attribution …` in this process and in an empty folder; gives the exit code."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KWCOLOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KWCOLOR_HOME", str(home.root))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["kwcolor", "attribution", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return run


def test_the_command(
    home: Home, attribution: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attribution() == 2
    told = capsys.readouterr().err
    assert told.startswith("Could not start: There is no stored photograph")
    assert told.count("\n") == 1
    fill(home, row(1))
    assert attribution() == 0
    assert (home.reports / "attribution" / "croissant.json").exists()
    assert "1 photograph credited" in capsys.readouterr().out
    assert attribution("-o", "here [bold]") == 0
    assert len(lines(tmp_path / "here [bold]" / "ATTRIBUTION.csv")) == 1
    assert "here [bold]/ATTRIBUTION.csv" in capsys.readouterr().out
