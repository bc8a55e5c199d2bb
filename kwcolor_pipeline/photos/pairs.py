"""Pairs: each kept photograph in colour and in grey, in tar shards, split for training and measuring.

Belongs here: making and reading the pairs and their index, and the split ledger. Which photographs
are kept was decided before; how a network sees a pair is the affair of ``training``.

``pairs/<split>/<bucket>-<content>.tar`` holds ``<id>.color.jpg``, ``<id>.gray.png`` and ``<id>.json``
of each photograph; ``pairs/index.parquet`` lists them; ``pairs/ledger.parquet`` remembers the split of
every photograph that ever was in one.
"""

import hashlib
import io
import json
import math
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from kwcolor_pipeline.home import Home, Result, atomic_path, fingerprint, sha256_of
from kwcolor_pipeline.photos.borders import open_upright
from kwcolor_pipeline.photos.curation import read_curated
from kwcolor_pipeline.photos.measured import Progress, Row
from kwcolor_pipeline.photos.near_duplicates import read_deduplicated
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import PairSettings, Settings, SettingsProblem

#: Raise it when the same photographs and settings would give other pairs.
CODE_VERSION = f"1 pillow={PIL.__version__}"

#: Weakest claim first: a photograph that is claimed by several splits goes to the last one.
SPLITS = ("train", "valid", "test")

#: Photographs that a shard holds, about.
SHARD_SIZE = 256

INDEX_SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("cluster_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source", pa.string()),
        ("partition", pa.string()),
        ("title", pa.string()),
        ("creator", pa.string()),
        ("date_text", pa.string()),
        ("licence", pa.string()),
        ("licence_url", pa.string()),
        ("landing_url", pa.string()),
        ("decolorizer", pa.string()),
    ]
)
_LEDGER_SCHEMA = pa.schema([("photo_id", pa.string()), ("split", pa.string())])

# Mean difference in grey levels between the grey picture and the JPEG's grey: quality 95 stays below 1.5.
_GREY_TOLERANCE = 3.0
# Rec. 709 / sRGB: relative luminance of linear light.
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])

# Columns of `curated_photos` that a pair says about its photograph, and all that it is made from.
_ABOUT = ("source", "partition", "title", "creator", "date_text", "licence", "licence_url", "landing_url")
_SHAPING = ("photo_id", "cluster_id", *_ABOUT, "left", "top", "right", "bottom")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pairs:
    """The asset: its record, its index (columns: ``INDEX_SCHEMA``), and whether it was there already."""

    result: Result
    index: Path
    reused: bool


@dataclass(frozen=True)
class Pair:
    """One photograph twice: ``gray`` uint8 [height, width], ``color`` uint8 sRGB [height, width, 3]."""

    photo_id: str
    gray: Pixels
    color: Pixels
    metadata: dict[str, Any]


def make_pairs(settings: Settings, progress: Progress | None = None) -> Pairs:
    """Make the pairs of every kept photograph of `curated_photos`; shards whose content is unchanged stay.

    Raises SettingsProblem where there are too few photographs for three splits.
    """
    home = settings.paths
    kept, members = _kept(home), _members(home)
    wanted = _fingerprint(settings, kept, members)
    recorded = _current(home, wanted)
    if recorded:
        return Pairs(recorded, _index(home), reused=True)
    ledger = _read_ledger(home)
    split_of = assign_splits({row["cluster_id"]: members[row["cluster_id"]] for row in kept}, ledger, settings.pairs)
    shards = _planned(kept, split_of, settings.pairs)
    store = PhotoStore(home.photos)
    missing = {name: rows for name, rows in shards.items() if not (home.pairs / name).exists()}
    _write_shards(home, missing, store, settings.pairs, progress)
    index = [row for name in sorted(shards) for row in _index_rows(home, name)]
    remembered = ledger | {member: split for cluster, split in split_of.items() for member in members[cluster]}
    _write_table(_ledger(home), _ledger_rows(remembered), _LEDGER_SCHEMA)
    _write_table(_index(home), index, INDEX_SCHEMA)
    summary = {
        "photographs": len(index),
        "clusters": len(split_of),
        "splits": dict(sorted(Counter(row["split"] for row in index).items())),
        "shards": len(shards),
        "shards_written": len(missing),
    }
    hashes = {name: sha256_of(home.pairs / name) for name in sorted(shards)}
    result = Result(wanted, fingerprint(hashes), summary)
    result.write(_record(home))
    _delete_unreferenced(home, set(shards))
    return Pairs(result, _index(home), reused=False)


def make_pairs_is_current(settings: Settings) -> bool:
    """Whether :func:`make_pairs` would return the recorded result."""
    home = settings.paths
    return _current(home, _fingerprint(settings, _kept(home), _members(home))) is not None


def read_index(home: Home) -> list[dict[str, Any]]:
    """The rows of the index (columns: ``INDEX_SCHEMA``), shard by shard.

    Raises FileNotFoundError where `grayscale_pairs` has not been materialized.
    """
    if not _index(home).exists():
        raise FileNotFoundError(f"{_index(home)} is not there; materialize grayscale_pairs first")
    rows: list[dict[str, Any]] = pq.read_table(_index(home)).to_pylist()
    return rows


def read_pairs(home: Home, split: str) -> Iterator[Pair]:
    """The pairs of one split (train, valid or test), always in the same order, one shard in memory at a time.

    Raises FileNotFoundError where `grayscale_pairs` has not been materialized, ValueError for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"{split!r} is not a split: {', '.join(SPLITS)}")
    for shard in dict.fromkeys(row["shard"] for row in read_index(home) if row["split"] == split):
        for photo_id, files in _read_shard(home.pairs / shard).items():
            yield _pair(photo_id, files)


def check_pairs(home: Home) -> list[str]:
    """What is wrong with the pairs, one sentence each; empty where nothing is."""
    problems = [
        f"cluster {cluster[:12]}… is in {' and '.join(sorted(splits))}"
        for cluster, splits in _splits_by_cluster(read_index(home)).items()
        if len(splits) > 1
    ]
    by_shard: dict[str, set[str]] = defaultdict(set)
    for row in read_index(home):
        by_shard[row["shard"]].add(row["photo_id"])
    for shard, photo_ids in by_shard.items():
        problems += _shard_problems(home.pairs / shard, photo_ids)
    return problems


def decolorize(color: Pixels, decolorizer: str) -> Pixels:
    """Grey uint8 [height, width] of sRGB uint8 [height, width, 3].

    ``lightness``: the grey of the same CIE L*, through linear light (IEC 61966-2-1): relative
    luminance Y of the picture, encoded again. ``luma``: PIL's mode L (ITU-R 601 on encoded values).
    """
    if decolorizer == "luma":
        return np.asarray(Image.fromarray(color).convert("L"))
    luminance = _linear(np.arange(256) / 255)[color] @ _LUMINANCE
    return np.rint(_encoded(luminance) * 255).astype(np.uint8)


def assign_splits(clusters: dict[str, list[str]], ledger: dict[str, str], wanted: PairSettings) -> dict[str, str]:
    """The split of every cluster; ``clusters`` lists the photo_ids in each, ``ledger`` their earlier splits.

    A cluster stays where its photographs were; of several splits test wins over valid over train.
    New clusters go, in an order that is fixed but arbitrary, where most are lacking. Nothing ever
    leaves test. Raises SettingsProblem where a split would stay empty.
    """
    if len(clusters) < 3:
        raise SettingsProblem(
            f"Only {len(clusters)} different photographs are left for training and measuring, at least 3 are needed; "
            "crawl more years or sources, or look at the reasons in manifests/curated_photos."
        )
    split_of = {}
    for cluster, members in clusters.items():
        claims = [ledger[member] for member in members if member in ledger]
        if claims:
            split_of[cluster] = max(claims, key=SPLITS.index)
    shares = {"test": wanted.test_share, "valid": wanted.valid_share}
    shares["train"] = 1 - sum(shares.values())
    counts = Counter(split_of.values())
    for cluster in sorted(clusters.keys() - split_of.keys(), key=lambda key: hashlib.sha256(key.encode()).digest()):
        empty = [split for split in shares if not counts[split]]
        split = empty[0] if empty else max(shares, key=lambda key: shares[key] * len(clusters) - counts[key])
        split_of[cluster] = split
        counts[split] += 1
    lacking = [split for split in SPLITS if not counts[split]]
    if lacking:
        raise SettingsProblem(
            f"No photograph is left for {' and '.join(lacking)}, because all of them were in other splits before; "
            "crawl more years or sources."
        )
    return split_of


def _planned(kept: list[Row], split_of: dict[str, str], wanted: PairSettings) -> dict[str, list[Row]]:
    """The shards by name, each with its photographs: a pure function of what is kept and of the splits."""
    by_split: dict[str, list[Row]] = defaultdict(list)
    for row in kept:
        split = split_of[row["cluster_id"]]
        by_split[split].append({**row, "split": split})
    shards = {}
    for split, rows in by_split.items():
        bits = max(0, math.ceil(math.log2(len(rows) / SHARD_SIZE)))
        buckets: dict[int, list[Row]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["photo_id"]):
            buckets[int(row["photo_id"][:8], 16) >> (32 - bits)].append(row)
        for bucket, members in buckets.items():
            content = fingerprint({"photographs": members, "settings": _look(wanted), "code": CODE_VERSION})
            shards[f"{split}/{bucket:0{max(1, -(-bits // 4))}x}-{content[:12]}.tar"] = members
    return shards


def _look(wanted: PairSettings) -> dict[str, Any]:
    return {"size": wanted.size, "decolorizer": wanted.decolorizer}


def _write_shards(
    home: Home, shards: dict[str, list[Row]], store: PhotoStore, wanted: PairSettings, progress: Progress | None
) -> None:
    total = sum(map(len, shards.values()))
    done = 0
    with ThreadPoolExecutor(2) as pool, tqdm(total=total, unit="pair", disable=None, leave=False) as shown:
        for name, rows in shards.items():
            with (
                atomic_path(home.pairs / name) as temporary,
                tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
            ):
                for files in pool.map(lambda row: _files(row, store, wanted), rows):
                    for file_name, data in sorted(files.items()):
                        _add(tar, file_name, data)
                    shown.update()
                    done += 1
                    if progress:
                        progress(done, total)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    # TarInfo's own defaults are fixed: mtime 0, owner 0, mode 644.
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _files(row: Row, store: PhotoStore, wanted: PairSettings) -> dict[str, bytes]:
    picture = open_upright(store.find(row["photo_id"]))
    picture = picture.crop((row["left"], row["top"], row["right"], row["bottom"]))
    scale = wanted.size / min(picture.size)
    if scale < 1:
        width, height = (max(wanted.size, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    grey = Image.fromarray(decolorize(np.asarray(picture), wanted.decolorizer))
    metadata = {
        **{name: row[name] for name in ("cluster_id", "split", *_ABOUT)},
        "width": picture.width,
        "height": picture.height,
        "decolorizer": wanted.decolorizer,
    }
    return {
        f"{row['photo_id']}.color.jpg": _encoded_picture(picture, "JPEG", quality=95, subsampling=0),
        f"{row['photo_id']}.gray.png": _encoded_picture(grey, "PNG"),
        f"{row['photo_id']}.json": json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode(),
    }


def _encoded_picture(image: Image.Image, pil_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, pil_format, **options)
    return buffer.getvalue()


def _read_shard(path: Path) -> dict[str, dict[str, bytes]]:
    """The files of each photograph in a shard, by ending (``color.jpg``, ``gray.png``, ``json``)."""
    files: dict[str, dict[str, bytes]] = defaultdict(dict)
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content:
                photo_id, _, ending = member.name.partition(".")
                files[photo_id][ending] = content.read()
    return files


def _index_rows(home: Home, shard: str) -> list[Row]:
    """The index's rows of a shard, from the shard itself, which may be older than this run."""
    return [
        {"photo_id": photo_id, "shard": shard, **json.loads(files["json"])}
        for photo_id, files in _read_shard(home.pairs / shard).items()
    ]


def _pair(photo_id: str, files: dict[str, bytes]) -> Pair:
    with Image.open(io.BytesIO(files["gray.png"])) as gray, Image.open(io.BytesIO(files["color.jpg"])) as color:
        return Pair(photo_id, np.asarray(gray), np.asarray(color), json.loads(files["json"]))


def _splits_by_cluster(index: list[Row]) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in index:
        splits[row["cluster_id"]].add(row["split"])
    return splits


def _shard_problems(path: Path, photo_ids: set[str]) -> list[str]:
    try:
        files = _read_shard(path)
    except (OSError, tarfile.TarError) as error:
        return [f"shard {path.parent.name}/{path.name} cannot be read: {error}"]
    problems = [f"pair {photo_id[:12]}… is missing from {path.name}" for photo_id in sorted(photo_ids - files.keys())]
    for photo_id, parts in files.items():
        problem = _pair_problem(photo_id, parts)
        problems += [f"pair {photo_id[:12]}… in {path.name} {problem}"] if problem else []
    return problems


def _pair_problem(photo_id: str, files: dict[str, bytes]) -> str | None:
    try:
        pair = _pair(photo_id, files)
    except (OSError, KeyError, ValueError, SyntaxError) as error:
        return f"cannot be read: {type(error).__name__} {error}"
    if pair.gray.shape != pair.color.shape[:2]:
        return f"differs in size: grey {pair.gray.shape}, colour {pair.color.shape[:2]}"
    expected = decolorize(pair.color, pair.metadata["decolorizer"])
    difference = float(np.abs(expected.astype(np.int16) - pair.gray).mean())
    return f"has a grey that is {difference:.1f} levels off its colours" if difference > _GREY_TOLERANCE else None


def _linear(encoded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear light 0..1 of sRGB values 0..1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """sRGB values 0..1 of linear light 0..1."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _kept(home: Home) -> list[Row]:
    """What shapes the pairs of the kept photographs: nothing else may make a shard be written again."""
    return [{name: row[name] for name in _SHAPING} for row in read_curated(home) if row["kept"]]


def _members(home: Home) -> dict[str, list[str]]:
    """All photographs of every cluster, the dropped copies too: a test photograph's copies never train."""
    members: dict[str, list[str]] = defaultdict(list)
    for row in read_deduplicated(home):
        members[row["cluster_id"]].append(row["photo_id"])
    return members


def _fingerprint(settings: Settings, kept: list[Row], members: dict[str, list[str]]) -> str:
    return fingerprint(
        {
            "photographs": kept,
            "clusters": {row["cluster_id"]: members[row["cluster_id"]] for row in kept},
            "settings": settings.pairs.model_dump(),
            "code": CODE_VERSION,
        }
    )


def _current(home: Home, wanted: str) -> Result | None:
    recorded = Result.read(_record(home))
    if not (recorded and recorded.fingerprint == wanted and _index(home).exists()):
        return None
    shards = {row["shard"] for row in read_index(home)}
    return recorded if all((home.pairs / shard).exists() for shard in shards) else None


def _delete_unreferenced(home: Home, shards: set[str]) -> None:
    for path in home.pairs.glob("*/*.tar"):
        if f"{path.parent.name}/{path.name}" not in shards:
            path.unlink()


def _read_ledger(home: Home) -> dict[str, str]:
    if not _ledger(home).exists():
        return {}
    return {row["photo_id"]: row["split"] for row in pq.read_table(_ledger(home)).to_pylist()}


def _ledger_rows(ledger: dict[str, str]) -> list[Row]:
    return [{"photo_id": photo_id, "split": split} for photo_id, split in sorted(ledger.items())]


def _write_table(path: Path, rows: list[Row], schema: pa.Schema) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def _ledger(home: Home) -> Path:
    return home.pairs / "ledger.parquet"


def _index(home: Home) -> Path:
    return home.pairs / "index.parquet"


def _record(home: Home) -> Path:
    return home.pairs / "result.json"
