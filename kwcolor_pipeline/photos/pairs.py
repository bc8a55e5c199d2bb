"""Pairs: each kept photograph in colour and in grey, in tar shards, split for training and measuring.

Belongs here: making and reading the pairs and their index. Which photographs are kept was decided before;
how a network sees a pair is the affair of ``training``.

Each photograph is ``<id>.color.jpg``, ``<id>.gray.png`` and ``<id>.json`` in one of the ``shards``;
``pairs/index.parquet`` lists them and ``pairs/shards.json`` the shards' sha256.
"""

import contextlib
import functools
import io
import itertools
import json
import tarfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

from kwcolor_pipeline.home import Home, Result, atomic_path, fingerprint, sha256_of, write_json
from kwcolor_pipeline.photos.borders import cropped, open_upright
from kwcolor_pipeline.photos.curation import read_curated
from kwcolor_pipeline.photos.decolorizing import decolorize
from kwcolor_pipeline.photos.encoding import jpeg, png
from kwcolor_pipeline.photos.known_to_starter import clusters_known_to_starter, starter_photographs_version
from kwcolor_pipeline.photos.large import alone_if_large
from kwcolor_pipeline.photos.measured import Progress, Row
from kwcolor_pipeline.photos.near_duplicates import read_deduplicated
from kwcolor_pipeline.photos.parallel import on_all_cores
from kwcolor_pipeline.photos.shards import Files, delete_others, open_shard, planned, read_shard, write_shard
from kwcolor_pipeline.photos.splits import SPLITS, assign_splits, read_ledger, remembered, write_ledger
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import PairSettings, Settings

#: Raise it when the same photographs and settings would give other pairs.
CODE_VERSION = f"3 pillow={PIL.__version__}"

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
        ("made_as", pa.string()),
    ]
)

# Mean difference in grey levels between the grey picture and the JPEG's grey: quality 95 stays below 1.5.
_GREY_TOLERANCE = 3.0

# Columns of `curated_photos` that a pair says about its photograph, and all that it is made from.
_ABOUT = ("source", "partition", "title", "creator", "date_text", "licence", "licence_url", "landing_url")
_BOX = ("left", "top", "right", "bottom")
_SHAPING = ("photo_id", "cluster_id", *_ABOUT, *_BOX)

# Shards to check that make another process worth its start.
_SHARDS_WORTHWHILE = 8

Pixels = npt.NDArray[np.uint8]
#: A photograph and what its pictures depend on.
_Key = tuple[str, str]


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


def make_pairs(settings: Settings, progress: Progress | None = None, workers: int | None = None) -> Pairs:
    """Make the pairs of every kept photograph of `curated_photos`; what is unchanged is not made again.

    Shards whose content is the same stay; those that change take over the pictures that they held before.
    ``workers`` processes make pictures, by default one a core; the shards are the same for any number.
    Raises SettingsProblem where there are too few photographs for three splits.
    """
    home = settings.paths
    kept, members = _kept(home), _members(home)
    wanted = _fingerprint(settings, kept, members)
    recorded = _current(home, wanted)
    if recorded:
        return Pairs(recorded, index_path(home), reused=True)
    ledger = read_ledger(home)
    clusters = {row["cluster_id"]: members[row["cluster_id"]] for row in kept}
    known = clusters_known_to_starter(home, clusters, settings.near_duplicates)
    # What an older starter did not know may be in test; there it would flatter, and nothing of test ever trains.
    left_out = {name for name in known if any(ledger.get(member) == "test" for member in clusters[name])}
    kept = [row for row in kept if row["cluster_id"] not in left_out]
    clusters = {name: ids for name, ids in clusters.items() if name not in left_out}
    split_of = assign_splits(clusters, ledger, settings.pairs, known)
    shards = planned([_planned_row(row, split_of[row["cluster_id"]], settings.pairs) for row in kept])
    missing = {name: rows for name, rows in shards.items() if not (home.pairs / name).exists()}
    made = _write_shards(home, missing, settings.pairs, progress, workers)
    write_ledger(home, remembered(ledger, split_of, clusters))
    index = [{**row, "shard": name} for name in sorted(shards) for row in shards[name]]
    with atomic_path(index_path(home)) as temporary:
        pq.write_table(pa.Table.from_pylist(index, schema=INDEX_SCHEMA), temporary)
    hashes = _hashed(home, shards, missing)
    summary = {
        "photographs": len(index),
        "clusters": len(split_of),
        "known_to_the_starter": len(known),
        "left_out": len(left_out),
        "splits": dict(sorted(Counter(row["split"] for row in index).items())),
        "shards": len(shards),
        "shards_written": len(missing),
        "pairs_made": made,
    }
    result = Result(wanted, fingerprint(hashes), summary)
    result.write(_record(home))
    delete_others(home, shards)
    return Pairs(result, index_path(home), reused=False)


def make_pairs_is_current(settings: Settings) -> bool:
    """Whether :func:`make_pairs` would return the recorded result."""
    home = settings.paths
    return _current(home, _fingerprint(settings, _kept(home), _members(home))) is not None


def read_index(home: Home) -> list[dict[str, Any]]:
    """The rows of the index (columns: ``INDEX_SCHEMA``), shard by shard.

    Raises FileNotFoundError where `grayscale_pairs` has not been materialized.
    """
    if not index_path(home).exists():
        raise FileNotFoundError(f"{index_path(home)} is not there; materialize grayscale_pairs first")
    rows: list[dict[str, Any]] = pq.read_table(index_path(home)).to_pylist()
    return rows


def read_pairs(home: Home, split: str) -> Iterator[Pair]:
    """The pairs of one split (train, valid or test), always in the same order, one shard in memory at a time.

    Raises FileNotFoundError where `grayscale_pairs` has not been materialized, ValueError for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"{split!r} is not a split: {', '.join(SPLITS)}")
    for shard in dict.fromkeys(row["shard"] for row in read_index(home) if row["split"] == split):
        for photo_id, files in read_shard(home.pairs / shard).items():
            yield _pair(photo_id, files)


def check_pairs(home: Home, workers: int | None = None) -> list[str]:
    """What is wrong with the pairs, one sentence each; empty where nothing is."""
    index = read_index(home)
    problems = [
        f"cluster {cluster[:12]}… is in {' and '.join(sorted(splits))}"
        for cluster, splits in _splits_by_cluster(index).items()
        if len(splits) > 1
    ]
    by_shard: dict[str, set[str]] = defaultdict(set)
    for row in index:
        by_shard[row["shard"]].add(row["photo_id"])
    shards = [(home.pairs / shard, photo_ids) for shard, photo_ids in by_shard.items()]
    found = on_all_cores(_shard_problems, shards, workers, worthwhile=_SHARDS_WORTHWHILE)
    return [*problems, *(problem for of_shard in found for problem in of_shard)]


def _planned_row(row: Row, split: str, wanted: PairSettings) -> Row:
    """All that a pair depends on; the index's row but for its shard."""
    width, height = _pair_size(row["right"] - row["left"], row["bottom"] - row["top"], wanted.size)
    # What the pictures depend on: what is said about them may change without making them again.
    made_as = f"{[row[side] for side in _BOX]} {wanted.size} {wanted.decolorizer} {CODE_VERSION}"
    return {
        **row,
        "split": split,
        "width": width,
        "height": height,
        "decolorizer": wanted.decolorizer,
        "made_as": made_as,
    }


def _pair_size(width: int, height: int, shortest: int) -> tuple[int, int]:
    """A picture's size with this shortest side; smaller pictures stay as they are."""
    if min(width, height) <= shortest:
        return width, height
    scale = shortest / min(width, height)
    return max(shortest, round(width * scale)), max(shortest, round(height * scale))


def _write_shards(
    home: Home,
    shards: dict[str, list[Row]],
    wanted: PairSettings,
    progress: Progress | None,
    workers: int | None,
) -> int:
    """Write the shards; the number of pairs whose pictures had to be made."""
    rows = [row for photographs in shards.values() for row in photographs]
    shard_of = _made_before(home, rows)
    new = [row for row in rows if _key(row) not in shard_of]
    make = functools.partial(_pictures, PhotoStore(home.photos), wanted.decolorizer)
    with contextlib.closing(on_all_cores(make, new, workers)) as made, _counted(len(rows), progress) as count:
        for name, photographs in shards.items():
            write_shard(home.pairs / name, count(_filled(home, photographs, shard_of, made)))
    return len(new)


def _filled(
    home: Home, rows: list[Row], shard_of: dict[_Key, str], made: Iterator[Files]
) -> Iterator[tuple[str, Files]]:
    """A shard's photographs with their files: pictures from older shards where they are there, else from ``made``."""
    with contextlib.ExitStack() as stack:
        older = {shard_of[_key(row)] for row in rows if _key(row) in shard_of}
        read = {shard: stack.enter_context(open_shard(home.pairs / shard)) for shard in sorted(older)}
        for row in rows:
            shard = shard_of.get(_key(row))
            pictures = read[shard](row["photo_id"]) if shard else next(made)
            yield row["photo_id"], {**pictures, "json": _metadata(row)}


@contextlib.contextmanager
def _counted(total: int, progress: Progress | None) -> Iterator[Callable[[Iterator[Any]], Iterator[Any]]]:
    """Gives a function that lets things through and counts them, for the bar and for ``progress``."""
    with tqdm(total=total, unit="pair", disable=None, leave=False) as shown:
        numbers = itertools.count(1)

        def count(things: Iterator[Any]) -> Iterator[Any]:
            for thing, done in zip(things, numbers, strict=False):
                yield thing
                shown.update()
                if progress:
                    progress(done, total)

        yield count


def _pictures(store: PhotoStore, decolorizer: str, row: Row) -> Files:
    """The two pictures of a pair, encoded."""
    size, box = (row["width"], row["height"]), (row["left"], row["top"], row["right"], row["bottom"])
    path = store.find(row["photo_id"])
    with alone_if_large(row["right"] * row["bottom"]):
        picture = cropped(open_upright(path), box)
        picture = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
    return {"color.jpg": jpeg(picture), "gray.png": png(decolorize(np.asarray(picture), decolorizer))}


def _metadata(row: Row) -> bytes:
    said = {name: row[name] for name in ("cluster_id", "split", *_ABOUT, "width", "height", "decolorizer")}
    return json.dumps(said, sort_keys=True, ensure_ascii=False).encode()


def _key(row: Row) -> _Key:
    return row["photo_id"], row["made_as"]


def _made_before(home: Home, rows: Sequence[Row]) -> dict[_Key, str]:
    """Which shard holds the pictures of ``rows``, by the last index, where that shard is as it was written."""
    wanted = {_key(row) for row in rows}
    try:
        table = pq.read_table(index_path(home), columns=["photo_id", "made_as", "shard"])
    except (FileNotFoundError, pa.ArrowInvalid):  # none, damaged, or older than the column
        return {}
    shard_of = {_key(row): row["shard"] for row in table.to_pylist() if _key(row) in wanted}
    known = _known_hashes(home)
    whole = {shard for shard in set(shard_of.values()) if _hash_of(home.pairs / shard) == known.get(shard, "")}
    return {key: shard for key, shard in shard_of.items() if shard in whole}


def _hashed(home: Home, shards: Collection[str], written: Collection[str]) -> dict[str, str]:
    """The sha256 of each shard; those that were there before are not read again, as none is ever changed."""
    known = _known_hashes(home)
    hashes = {
        name: known[name] if name in known and name not in written else sha256_of(home.pairs / name)
        for name in sorted(shards)
    }
    write_json(_hashes(home), hashes)
    return hashes


def _known_hashes(home: Home) -> dict[str, str]:
    """The sha256 of shards as they were written; empty where nothing usable is there."""
    try:
        known = json.loads(_hashes(home).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _hash_of(path: Path) -> str | None:
    return sha256_of(path) if path.exists() else None


def _pair(photo_id: str, files: Mapping[str, bytes]) -> Pair:
    with Image.open(io.BytesIO(files["gray.png"])) as gray, Image.open(io.BytesIO(files["color.jpg"])) as color:
        return Pair(photo_id, np.asarray(gray), np.asarray(color), json.loads(files["json"]))


def _splits_by_cluster(index: list[Row]) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in index:
        splits[row["cluster_id"]].add(row["split"])
    return splits


def _shard_problems(shard: tuple[Path, set[str]]) -> list[str]:
    path, photo_ids = shard
    try:
        files = read_shard(path)
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
            "starter": starter_photographs_version(),
            "code": CODE_VERSION,
        }
    )


def _current(home: Home, wanted: str) -> Result | None:
    recorded = Result.read(_record(home))
    if not (recorded and recorded.fingerprint == wanted and index_path(home).exists()):
        return None
    shards = set(pq.read_table(index_path(home), columns=["shard"])["shard"].to_pylist())
    return recorded if all((home.pairs / shard).exists() for shard in shards) else None


def _hashes(home: Home) -> Path:
    return home.pairs / "shards.json"


def index_path(home: Home) -> Path:
    """Where the index lies."""
    return home.pairs / "index.parquet"


def _record(home: Home) -> Path:
    return home.pairs / "result.json"
