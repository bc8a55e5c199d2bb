"""A thousand files that are damaged, huge or strange, through the crawl and the three stages: each ends in a row.

Everything runs in a process of its own, whose memory and that of its helpers is watched.
"""

import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from kwcolor_pipeline.photos.curation import read_curated
from kwcolor_pipeline.photos.manifest import ManifestRow, Status, read_manifest, write_manifest
from kwcolor_pipeline.photos.near_duplicates import read_deduplicated
from kwcolor_pipeline.photos.pairs import check_pairs, read_index
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings, load_settings
from kwcolor_pipeline_tests.faults.damaged_pictures import COUNT, thousand

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GIB = 2**30
ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif", "BMP": "bmp"}
STAGES = """
import json, sys
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.photos.curation import curate
from kwcolor_pipeline.photos.pairs import make_pairs
settings = load_settings(home=sys.argv[1])
print(json.dumps([step(settings).result.summary for step in (deduplicate, curate, make_pairs)]))
"""
CRAWL = """
import sys
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources import open_sources
settings = load_settings(home=sys.argv[1], sources=[f"folder:{sys.argv[2]}"])
crawl_partition(settings, open_sources(settings.sources, settings, target=False), "crawled_photos", "1943")
"""


def run(script: str, *arguments: str) -> tuple[str, int]:
    """What a program prints, and the largest resident memory in bytes of it and its children together."""
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    largest = 0
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        program = subprocess.Popen(command, stdout=output, stderr=errors)
        watched = psutil.Process(program.pid)
        while program.poll() is None:
            largest = max(largest, memory_of(watched))
            time.sleep(0.1)
        output.seek(0)
        errors.seek(0)
        assert program.returncode == 0, errors.read()[-4000:]
        return output.read(), largest


def memory_of(program: psutil.Process) -> int:
    total = 0
    try:
        for process in (program, *program.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile
        pass
    return total


def went_through(settings: Settings, photo_ids: dict[str, str]) -> Counter[str]:
    """How many of each kind of picture were kept, after every one of them was found in every table with its reason."""
    output, memory = run(STAGES, str(settings.home))
    deduplicated = {row["photo_id"]: row for row in read_deduplicated(settings.paths)}
    assert deduplicated.keys() == photo_ids.keys()
    curated: dict[str, dict[str, Any]] = {row["cluster_id"]: row for row in read_curated(settings.paths)}
    assert curated.keys() == {row["cluster_id"] for row in deduplicated.values()}
    for row in curated.values():
        assert row["kept"] == (row["reason"] is None), row
    kept = {row["photo_id"] for row in curated.values() if row["kept"]}
    assert {row["photo_id"] for row in read_index(settings.paths)} == kept
    assert check_pairs(settings.paths) == []
    assert json.loads(output)[2]["photographs"] == len(kept)
    assert memory < 2 * GIB, f"{memory / GIB:.2f} GiB"
    return Counter(photo_ids[photo_id].partition("-")[0] for photo_id in kept)


def test_each_of_a_thousand_stored_files_ends_in_a_row_with_its_reason(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    store = PhotoStore(settings.paths.photos)
    names: dict[str, str] = {}
    rows = []
    for number, (name, data, pil_format) in enumerate(thousand()):
        photo_id = store.put(data, pil_format)
        names[photo_id] = name
        now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
        stored = {"photo_id": photo_id, "file_url": f"file:///{name}", "retrieved_at": now, "status": Status.STORED}
        rows.append(ManifestRow(source="folder", source_id=f"{number}", title=name, **stored))
    assert len(names) == COUNT
    write_manifest(settings.paths.manifests / "crawled_photos" / "1943.parquet", rows)
    kept = went_through(settings, names)
    # What is whole and in colour is kept, whatever its kind.
    for kind in ("progressive", "turned", "other_ending", "strange_profile", "cmyk"):
        assert kept[kind] > 0, kept
    assert not kept.keys() & {"empty", "rubbish", "deep", "two_colours", "thin", "floating", "claiming"}, kept


def test_each_of_a_thousand_crawled_files_ends_in_a_row_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "1943"
    folder.mkdir(parents=True)
    for name, data, pil_format in thousand():
        (folder / f"{name}.{ENDINGS[pil_format]}").write_bytes(data)
    settings = load_settings(home=tmp_path / "home")
    _, memory = run(CRAWL, str(settings.home), str(folder.parent))
    assert memory < 2 * GIB, f"{memory / GIB:.2f} GiB"
    rows = read_manifest(settings.paths.manifests / "crawled_photos" / "1943.parquet")
    assert len(rows) == COUNT
    assert all(row.photo_id if row.status == Status.STORED else row.reason for row in rows)
    assert {row.status for row in rows} == {Status.STORED, Status.REJECTED}
    stored = {row.photo_id: Path(row.source_id).stem for row in rows if row.status == Status.STORED and row.photo_id}
    kinds = Counter(name.partition("-")[0] for name in stored.values())
    assert not kinds.keys() & {"empty", "rubbish", "claiming", "moving_gif", "moving_webp"}, kinds
    assert all(kinds[kind] > 0 for kind in ("progressive", "turned", "large", "cmyk", "deep", "thin")), kinds
    went_through(settings, stored)
