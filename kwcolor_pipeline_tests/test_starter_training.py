"""The making of the starter, small: packed, trained on the CPU, exported, and taken up where it was stopped."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kwcolor_pipeline.colorize.engine import open_colorizer
from kwcolor_pipeline.networks.bundle import read_bundle
from kwcolor_pipeline_tests.photos.pictures import encoded, scene
from starter_training.recipe import RENDERING

REPOSITORY = Path(__file__).parents[1]
FIELDS = ("file", "id", "year", "title", "licence", "landing_url")


def write_folder(folder: Path, seeds: range, landing: str) -> None:
    folder.mkdir(parents=True)
    with (folder / "index.csv").open("w", newline="") as handle:
        index = csv.DictWriter(handle, FIELDS)
        index.writeheader()
        for seed in seeds:
            (folder / f"{seed}.jpg").write_bytes(encoded(scene(seed, (200, 150))))
            about = ("1942", f"Scene {seed}", "No known restrictions", f"{landing}{seed}")
            index.writerow(dict(zip(FIELDS, (f"{seed}.jpg", str(seed), *about), strict=True)))


def starter_training(*arguments: object) -> str:
    command = [sys.executable, "-m", "starter_training", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_the_starter_is_made_small(tmp_path: Path) -> None:
    photos, work = tmp_path / "photos", tmp_path / "work"
    write_folder(photos / "fsac_1939_1944", range(60), "https://www.loc.gov/item/")
    write_folder(photos / "natural_colour", range(60, 90), "https://example.org/")
    starter_training("pack", "--photos", photos, "--work", work)
    shards = sorted((work / "packed").glob("*.tar"))
    assert shards
    assert all(shard.stat().st_size <= 60_000_000 for shard in shards)

    small = ("--small", "--device", "cpu", "--work", work)
    said = starter_training("train", *small)
    assert said.count("unpacked") == 2
    weights = {name: read_bundle(work / "bundles" / name).weights_sha256 for name in ("broad", "finish", "gan")}
    assert len(set(weights.values())) == 3
    # What was trained is taken as it is: no epoch is trained again, though each is told again.
    before = {path: path.stat().st_mtime for path in work.glob("*/models/*/*/generator.safetensors")}
    starter_training("train", *small)
    assert before == {path: path.stat().st_mtime for path in work.glob("*/models/*/*/generator.safetensors")}
    assert weights == {name: read_bundle(work / "bundles" / name).weights_sha256 for name in weights}

    table = {"starter": {"psnr": [28.0, 27.5, 28.5], "ciede2000": [8.0, 7.0, 9.0]}}
    found = {"measured": {"tables": {"kodachromes": table}, "photographs": {"kodachromes": 11}}}
    (work / "quality.json").write_text(json.dumps(found))
    (tmp_path / "starter").mkdir()
    starter_training("export", "--photos", photos, "--work", work, "--to", tmp_path / "starter")
    exported = read_bundle(tmp_path / "starter")
    assert exported.weights_sha256 == weights["gan"]
    assert exported.description["rendering"] == RENDERING
    assert open_colorizer(tmp_path / "starter", "cpu")
    card = (tmp_path / "starter" / "README.md").read_text()
    assert "| starter | 28.00 (27.50 to 28.50) | 8.00 (7.00 to 9.00) |" in card
    assert (tmp_path / "starter" / "failures.webp").stat().st_size > 1000

    # Whatever was learned from is listed, and nothing that was kept apart.
    rows = pq.read_table(work / "photographs" / "pairs" / "index.parquet").to_pylist()
    listed = set(pq.read_table(tmp_path / "starter" / "photographs.parquet")["photo_id"].to_pylist())
    assert {row["photo_id"] for row in rows if row["split"] != "test"} <= listed
    kept_apart = {row["photo_id"] for row in rows if row["split"] == "test"}
    assert kept_apart
    assert not kept_apart & listed
