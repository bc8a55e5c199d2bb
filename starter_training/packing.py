"""Photographs in few bytes, for the journey to a rented machine and back into pairs there.

Belongs here: shards of at most 60 MB with small WebP pictures (``<id>.webp``, ``<id>.json``), and the homes that are
made of them. The pairs that a training reads are the package's own format; the training pictures themselves are
decoded straight into its cache, since nothing else looks at them.
"""

import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kwcolor_pipeline.home import Home, Result, atomic_folder, fingerprint, sha256_of, write_json
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.photos.encoding import jpeg, png
from kwcolor_pipeline.photos.pairs import INDEX_SCHEMA, Pair, read_index, read_pairs
from kwcolor_pipeline.photos.shards import read_shard, write_shard
from kwcolor_pipeline.settings import Settings, load_settings
from kwcolor_pipeline.training.data import cache_folder, write_cache
from kwcolor_pipeline.training.presets import Preset
from starter_training.photographs import SIDE, is_kodachrome

#: Bytes of a shard at most, about: some rented machines take no larger files.
MOST_BYTES = 30_000_000
_QUALITY = 82
_LIST = "shards.json"
_DECOLORIZER = "lightness"


def pack(settings: Settings, folder: Path, only: int | None = None) -> list[Path]:
    """Write the pairs of ``settings`` as shards into ``folder``, unless these lie there already.

    ``only`` so many photographs of each split, for trying things out.
    """
    wanted = fingerprint([Result.read(settings.paths.pairs / "result.json"), MOST_BYTES, _QUALITY, SIDE, only])
    listed = _listed(folder)
    if listed.get("fingerprint") == wanted:
        return [folder / name for name in listed["shards"]]
    rows = {row["photo_id"]: row for row in read_index(settings.paths)}
    with atomic_folder(folder) as temporary:
        hashes = {}
        for number, group in enumerate(_groups(_packed_pairs(settings.paths, rows, only))):
            path = temporary / f"photographs-{number:02}.tar"
            write_shard(path, group)
            hashes[path.name] = sha256_of(path)
        write_json(temporary / _LIST, {"fingerprint": wanted, "shards": hashes})
    return [folder / name for name in hashes]


def _listed(folder: Path) -> dict[str, Any]:
    try:
        listed: dict[str, Any] = json.loads((folder / _LIST).read_bytes())
    except FileNotFoundError:
        return {}
    return listed


def _packed_pairs(
    home: Home, rows: dict[str, dict[str, Any]], only: int | None
) -> Iterator[tuple[str, dict[str, bytes]]]:
    def packed(pair: Pair) -> tuple[str, dict[str, bytes]]:
        return pair.photo_id, {"webp": _webp(pair), "json": json.dumps(rows[pair.photo_id]).encode()}

    for split in ("valid", "test", "train"):
        yield from map(packed, itertools.islice(read_pairs(home, split), only))


def _webp(pair: Pair) -> bytes:
    height, width = pair.gray.shape
    # Enlarged as well, so that nothing has to be scaled where every second is paid for.
    scale = SIDE / min(height, width)
    picture = Image.fromarray(pair.color)
    buffer = io.BytesIO()
    picture.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS).save(
        buffer, "WEBP", quality=_QUALITY
    )
    return buffer.getvalue()


def _groups(packed: Iterable[tuple[str, dict[str, bytes]]]) -> Iterator[list[tuple[str, dict[str, bytes]]]]:
    group, size = [], 0
    for entry in packed:
        group.append(entry)
        size += sum(map(len, entry[1].values())) + 2048  # tar's own blocks
        if size > MOST_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def unpack(shards: Iterable[Path], home: Path, preset: Preset, kodachromes: int, others: int, device: str) -> Settings:
    """Settings of a home with pairs of what is in ``shards``, ready to train with ``preset``.

    In a pass each Kodachrome trains ``kodachromes`` times and each other photograph ``others`` times. Validation is on
    the Kodachromes alone: they are what the starter is for. What is there already is taken as it is.
    """
    shards = list(shards)
    side = round(preset.size * preset.crop_scale)
    version = fingerprint([[path.name, sha256_of(path)] for path in shards] + [kodachromes, others])
    settings = load_settings(home=home, sources=["sample"], device=device)
    paths = settings.paths
    recorded = Result.read(paths.pairs / "result.json")
    if recorded is None or recorded.data_version != version:
        pairs = list(_unpacked(shards))
        training = [
            pair
            for pair in pairs
            if pair.metadata["split"] == "train"
            for _ in range(kodachromes if is_kodachrome(pair.metadata) else others)
        ]
        valid = [pair for pair in pairs if pair.metadata["split"] == "valid" and is_kodachrome(pair.metadata)]
        _write_pairs(paths, valid, pairs)
        write_cache(cache_folder(paths, "train", side, version), training, side)
        Result(version, version, {"photographs": len(pairs)}).write(paths.pairs / "result.json")
    return settings


def _unpacked(shards: Iterable[Path]) -> Iterator[Pair]:
    files = [(photo_id, of_one) for path in shards for photo_id, of_one in read_shard(path).items()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(_pair, files)


def _pair(packed: tuple[str, dict[str, bytes]]) -> Pair:
    photo_id, files = packed
    with Image.open(io.BytesIO(files["webp"])) as picture:
        colour = np.asarray(picture.convert("RGB"))
    return Pair(photo_id, decolorize(colour, _DECOLORIZER), colour, json.loads(files["json"]))


def _write_pairs(home: Home, valid: list[Pair], pairs: list[Pair]) -> None:
    """The pairs of validation in a shard, and the index of all pictures."""
    shard = "valid/kodachromes.tar"
    write_shard(home.pairs / shard, ((pair.photo_id, _files(pair)) for pair in valid))
    shown = {pair.photo_id for pair in valid}
    rows = [
        pair.metadata | {"shard": shard}
        if pair.photo_id in shown
        else pair.metadata | {"split": "train" if pair.metadata["split"] == "train" else "test"}
        for pair in pairs
    ]
    home.pairs.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), home.pairs / "index.parquet")


def _files(pair: Pair) -> dict[str, bytes]:
    about = json.dumps(pair.metadata | {"decolorizer": _DECOLORIZER}).encode()
    return {"color.jpg": jpeg(Image.fromarray(pair.color)), "gray.png": png(pair.gray), "json": about}
