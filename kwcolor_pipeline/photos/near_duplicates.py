"""Near-duplicates over all years: which photographs are copies of one, and which copy stands for them.

Belongs here: the exact search for near hashes, the clusters, the choice of the representative, and
the asset's table ``manifests/deduplicated_photos/all.parquet``. How a picture is hashed does not.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from kwcolor_pipeline.home import Home, Result, atomic_path, fingerprint
from kwcolor_pipeline.photos import hashing, manifest
from kwcolor_pipeline.photos.manifest import Status
from kwcolor_pipeline.photos.measured import Progress, Row, measure_once
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import NearDuplicateSettings, Settings

#: Raise it when the same inputs and settings would give another result.
CODE_VERSION = "1"

#: What a representative takes over from its copies; the fields of a group come from one copy together.
INHERITED = (
    ("title",),
    ("creator",),
    ("licence", "licence_url"),
    ("landing_url",),
    ("date_text", "year_taken", "year_published"),
)

#: The manifest's columns and what deduplication adds to them.
SCHEMA = pa.schema(
    [
        *manifest.SCHEMA,
        ("partition", pa.string()),
        ("cluster_id", pa.string()),
        ("representative", pa.bool_()),
        ("duplicate_of", pa.string()),
    ]
)

# Columns that change at every crawl and say nothing about the photograph.
_VOLATILE = {"retrieved_at", "etag", "last_modified"}
# Candidate pairs that are held in memory at a time.
_SLAB = 4_000_000

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Deduplicated:
    """The asset: its record, its table (columns: ``SCHEMA``), and whether it was there already."""

    result: Result
    table: Path
    reused: bool


def deduplicate(settings: Settings, progress: Progress | None = None) -> Deduplicated:
    """Cluster every stored photograph of every crawled year; one representative a cluster.

    Reads the manifests of `crawled_photos`. Hashes only photographs that were not hashed before. A
    photograph that cannot be decoded is alone in its cluster; curation refuses it.
    """
    photographs = _photographs(settings.paths)
    wanted = _fingerprint(settings, photographs)
    recorded = _current(settings.paths, wanted)
    if recorded:
        return Deduplicated(recorded, _table(settings.paths), reused=True)
    photo_ids = sorted(photographs)
    store = PhotoStore(settings.paths.photos)
    hashes, newly_hashed = measure_once(
        settings.paths.manifests / "deduplicated_photos" / "hashes.parquet",
        hashing.hash_version(),
        photo_ids,
        lambda photo_id: hashing.hashes_of(store.find(photo_id)),
        hashing.SCHEMA,
        progress,
    )
    rows = _clustered(photographs, _clusters(photo_ids, hashes, settings.near_duplicates))
    representatives = [row for row in rows if row["representative"]]
    result = Result(
        wanted,
        fingerprint([{key: row[key] for key in _stable(row)} for row in representatives]),
        {
            "photographs": len(rows),
            "clusters": len(representatives),
            "duplicates_dropped": len(rows) - len(representatives),
            "newly_hashed": newly_hashed,
        },
    )
    with atomic_path(_table(settings.paths)) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    result.write(_record(settings.paths))
    return Deduplicated(result, _table(settings.paths), reused=False)


def deduplicate_is_current(settings: Settings) -> bool:
    """Whether :func:`deduplicate` would return the recorded result."""
    return _current(settings.paths, _fingerprint(settings, _photographs(settings.paths))) is not None


def near_pairs(hashes: Hashes, radius: int) -> Indices:
    """All pairs i < j of ``hashes`` [n] that differ in at most ``radius`` bits: [pairs, 2], sorted.

    Exact. General pigeonhole rule (Norouzi, Punjani, Fleet, "Fast exact search in Hamming space with
    multi-index hashing", 2014, refined to unequal radii): in bands of 64 bits with radii r and
    sum(r + 1) = radius + 1, two hashes within ``radius`` agree within r in at least one band.
    """
    if hashes.size < 2:
        return np.empty((0, 2), dtype=np.int64)
    found = [
        pairs
        for shift, width, band_radius in _bands(hashes.size, radius)
        for candidates in _band_candidates(hashes, shift, width, band_radius)
        if (pairs := _verified(hashes, candidates, radius)).size
    ]
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), dtype=np.int64)


def components(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Connected components of ``count`` nodes: for each node its component's smallest node (union-find)."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, second in links:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(node) for node in range(count)]


def _bands(count: int, radius: int) -> Iterator[tuple[int, int, int]]:
    """(shift, width, radius) of each band; as wide as the number of hashes makes worthwhile."""
    bands = min(radius + 1, max(2, round(64 / math.log2(max(count, 4)))))
    edges = [64 * band // bands for band in range(bands + 1)]
    for band in range(bands):
        band_radius = (radius + 1) // bands + (band < (radius + 1) % bands) - 1
        yield edges[band], edges[band + 1] - edges[band], band_radius


def _band_candidates(hashes: Hashes, shift: int, width: int, radius: int) -> Iterator[Indices]:
    """Pairs of indices whose keys in the band differ in at most ``radius`` bits, in slabs [pairs, 2]."""
    mask = np.uint64((1 << width) - 1)
    keys = (hashes >> np.uint64(shift)) & mask
    order = np.argsort(keys, kind="stable").astype(np.int64)
    values, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    for flipped in range(radius + 1):
        for bits in itertools.combinations(range(width), flipped):
            flip = np.uint64(sum(1 << bit for bit in bits))
            partner = np.minimum(np.searchsorted(values, values ^ flip), values.size - 1)
            # Each unordered pair of keys once: the smaller key looks for the larger one.
            joined = np.flatnonzero((values[partner] == values ^ flip) & (values <= values ^ flip))
            yield from _products(order, starts, counts, joined, partner[joined])


def _products(order: Indices, starts: Indices, counts: Indices, left: Indices, right: Indices) -> Iterator[Indices]:
    """All pairs between the members of the keys ``left`` and ``right``, in slabs of bounded size."""
    sizes = counts[left] * counts[right]
    for chunk in np.split(np.arange(left.size), np.flatnonzero(np.diff(np.cumsum(sizes) // _SLAB)) + 1):
        lefts, rights, size = left[chunk], right[chunk], sizes[chunk]
        if not size.size:
            continue
        offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        across = np.repeat(counts[rights], size)
        first = order[np.repeat(starts[lefts], size) + offset // across]
        second = order[np.repeat(starts[rights], size) + offset % across]
        yield np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _verified(hashes: Hashes, pairs: Indices, radius: int) -> Indices:
    first, second = pairs[:, 0], pairs[:, 1]
    near = np.bitwise_count(hashes[first] ^ hashes[second]) <= radius
    return pairs[near & (first != second)]


def _clusters(photo_ids: list[str], hashes: dict[str, Row], wanted: NearDuplicateSettings) -> dict[str, str]:
    """The cluster of every photograph: the smallest photo_id in it. ``photo_ids`` is sorted."""
    usable = [i for i, photo_id in enumerate(photo_ids) if not (hashes[photo_id]["error"] or hashes[photo_id]["flat"])]
    column = {
        name: np.array([hashes[photo_ids[i]][name] for i in usable], dtype=np.uint64)
        for name in ("phash", "mirror_phash", "dhash", "mirror_dhash")
    }
    links = _links(
        np.concatenate([column["phash"], column["mirror_phash"]]),
        np.concatenate([column["dhash"], column["mirror_dhash"]]),
        wanted,
    )
    # The second half of the hashes are the mirror images of the same photographs.
    photograph = [*usable, *usable]
    smallest = components(len(photo_ids), ((photograph[first], photograph[second]) for first, second in links))
    return {photo_id: photo_ids[smallest[i]] for i, photo_id in enumerate(photo_ids)}


def _links(phashes: Hashes, dhashes: Hashes, wanted: NearDuplicateSettings) -> Iterator[tuple[int, int]]:
    """Links that connect all near pictures; equal ones in a star, so that thousands of copies stay cheap.

    The other hash has to confirm: landscapes under a clear sky share either of them, hardly both.
    """
    pictures, first, member = np.unique(
        np.stack([phashes, dhashes], axis=1), axis=0, return_index=True, return_inverse=True
    )
    yield from enumerate(first[member.ravel()].tolist())
    phash, dhash = pictures[:, 0], pictures[:, 1]
    for searched, other, radius in ((phash, dhash, wanted.phash_distance), (dhash, phash, wanted.dhash_distance)):
        confirmed = _verified(other, near_pairs(searched, radius), wanted.confirming_distance)
        yield from first[confirmed].tolist()


def _photographs(home: Home) -> dict[str, Row]:
    """Stored photographs by id, with their partition; found twice, they fill each other's gaps."""
    found: dict[str, list[Row]] = defaultdict(list)
    for path in sorted((home.manifests / "crawled_photos").glob("*.parquet")):
        for row in manifest.read_manifest(path):
            if row.status == Status.STORED and row.photo_id:
                found[row.photo_id].append({**row.model_dump(), "status": str(row.status), "partition": path.stem})
    return {photo_id: _inherit(rows[0], rows[1:]) for photo_id, rows in sorted(found.items())}


def _clustered(photographs: dict[str, Row], cluster_of: dict[str, str]) -> list[Row]:
    """The asset's rows, ordered by photo_id."""
    members: dict[str, list[Row]] = defaultdict(list)
    for photo_id, row in photographs.items():
        members[cluster_of[photo_id]].append(row)
    rows = []
    for cluster_id, copies in members.items():
        best, *others = sorted(copies, key=_rank)
        rows.append({**_inherit(best, others), "cluster_id": cluster_id, "representative": True, "duplicate_of": None})
        rows += [
            {**row, "cluster_id": cluster_id, "representative": False, "duplicate_of": best["photo_id"]}
            for row in others
        ]
    return sorted(rows, key=lambda row: row["photo_id"])


def _rank(row: Row) -> tuple[int, bool, str]:
    """Sorts the best copy first: most pixels, then with a licence, then the smallest id."""
    return -(row["width"] or 0) * (row["height"] or 0), not row["licence"], row["photo_id"]


def _inherit(row: Row, others: list[Row]) -> Row:
    """``row`` with groups of fields that it lacks taken from the first of ``others`` that has them."""
    filled = dict(row)
    for group in INHERITED:
        donor = next((other for other in [row, *others] if any(other[field] for field in group)), row)
        filled |= {field: donor[field] for field in group}
    return filled


def _stable(row: Row) -> list[str]:
    return [key for key in row if key not in _VOLATILE]


def _fingerprint(settings: Settings, photographs: dict[str, Row]) -> str:
    # The rows hold the stored pictures' sha256, so they cover the manifests' data versions.
    return fingerprint(
        {
            "photographs": [{key: row[key] for key in _stable(row)} for row in photographs.values()],
            "settings": settings.near_duplicates.model_dump(),
            "hashes": hashing.hash_version(),
            "code": CODE_VERSION,
        }
    )


def _current(home: Home, wanted: str) -> Result | None:
    recorded = Result.read(_record(home))
    return recorded if recorded and recorded.fingerprint == wanted and _table(home).exists() else None


def _table(home: Home) -> Path:
    return home.manifests / "deduplicated_photos" / "all.parquet"


def _record(home: Home) -> Path:
    return home.manifests / "deduplicated_photos" / "all.json"


def read_deduplicated(home: Home) -> list[dict[str, Any]]:
    """The rows of the asset's table (columns: ``SCHEMA``).

    Raises FileNotFoundError where `deduplicated_photos` has not been materialized.
    """
    if not _table(home).exists():
        raise FileNotFoundError(f"{_table(home)} is not there; materialize deduplicated_photos first")
    rows: list[dict[str, Any]] = pq.read_table(_table(home)).to_pylist()
    return rows
