"""The trained starter becomes a part of the package: weights, description, list of photographs, model card.

Belongs here: what is written into ``kwcolor_pipeline/starter``. How good it is was measured by
``benchmarks/quality.py --json``; its figures go into the card as they are.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kwcolor_pipeline.home import write_bytes
from kwcolor_pipeline.networks.bundle import Bundle, load_generator, write_bundle
from kwcolor_pipeline.photos.near_duplicates import hashes_file, read_deduplicated
from kwcolor_pipeline.photos.pairs import read_index
from kwcolor_pipeline.settings import Settings
from kwcolor_pipeline.starter import PHOTOGRAPHS, STARTER
from starter_training.card import card_text

_COLUMNS = ("photo_id", "phash", "dhash")


def export(settings: Settings, bundle: Bundle, quality: dict[str, Any], folder: Path = STARTER) -> Bundle:
    """Write the bundle's generator and all that is said about it into ``folder``, which the package ships.

    ``settings`` are those of the home with the photographs, ``quality`` what the benchmark of that name found.
    """
    generator = load_generator(bundle, torch.device("cpu"))
    description = {name: value for name, value in bundle.description.items() if name not in ("kind", "weights_sha256")}
    # Where the phase before it lay says nothing elsewhere.
    description["preset"] = description["preset"] | {
        "pretrain_start": Path(description["preset"]["pretrain_start"]).name
    }
    exported = write_bundle(folder, "generator", generator, description, half=True)
    exported.weights_file.chmod(0o644)
    shutil.copy(bundle.folder / "history.json", folder)
    table = photographs(settings)
    pq.write_table(table, folder / PHOTOGRAPHS.name, compression="zstd")
    learned = [row for row in read_index(settings.paths) if row["split"] in ("train", "valid")]
    licences = Counter(row["licence"] or "not stated" for row in learned)
    write_bytes(folder / "README.md", card_text(exported.description, licences, len(table), quality).encode())
    return exported


def photographs(settings: Settings) -> pa.Table:
    """All photographs that it learned from or that chose its epochs, and their copies that were left out."""
    clusters = {row["cluster_id"] for row in read_index(settings.paths) if row["split"] != "test"}
    members = {row["photo_id"] for row in read_deduplicated(settings.paths) if row["cluster_id"] in clusters}
    hashes = pq.read_table(hashes_file(settings.paths), columns=list(_COLUMNS))
    chosen = [photo_id in members for photo_id in hashes["photo_id"].to_pylist()]
    return hashes.filter(pa.array(chosen)).sort_by("photo_id").replace_schema_metadata(None)


def read_quality(path: Path) -> dict[str, Any]:
    """What ``benchmarks/quality.py --json`` wrote."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found
