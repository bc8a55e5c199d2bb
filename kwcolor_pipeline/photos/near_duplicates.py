"""Near-duplicates over all years: which photographs are copies of one, and which of them is the best.

Belongs here: what makes two photographs copies, the order of the copies in a cluster, what they lend each other, and
the asset's table ``manifests/deduplicated_photos/all.parquet``. How a picture is hashed (``hashing``), how near
hashes are found (``hamming``), how pictures are compared (``second_look``) and how links become clusters
(``clusters``) does not.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from kwcolor_pipeline.home import Home, Result, atomic_path, fingerprint
from kwcolor_pipeline.photos import hashing, manifest
from kwcolor_pipeline.photos.clusters import clusters, components, stable_names
from kwcolor_pipeline.photos.hamming import Hashes, Indices, near_pairs, within
from kwcolor_pipeline.photos.manifest import Status
from kwcolor_pipeline.photos.measured import Progress, Row, measure_once
from kwcolor_pipeline.photos.second_look import SecondLook
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import NearDuplicateSettings, Settings

#: Raise it when the same inputs and settings would give another result.
CODE_VERSION = "2"

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
        ("rank", pa.int32()),
        ("representative", pa.bool_()),
        ("duplicate_of", pa.string()),
    ]
)

# Columns that change at every crawl and say nothing about the photograph.
_VOLATILE = {"retrieved_at", "etag", "last_modified"}
# Of copies with as many pixels the one that asks least of those who use it, then the best described.
_LICENCES = (r"public domain|\bpd\b|\bcc0\b|no known", r"\bby\b(?!.*\bsa\b)", r"\bby\b", r".")
_SOURCES = ("loc", "nara", "commons", "europeana", "flickr", "folder", "sample", "google")


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
    # The best copies first, so that of a cluster the first one stands for it.
    photo_ids = sorted(photographs, key=lambda photo_id: _rank(photographs[photo_id]))
    store = PhotoStore(settings.paths.photos)
    hashes, newly_hashed = measure_once(
        hashes_file(settings.paths),
        hashing.hash_version(),
        photo_ids,
        lambda photo_id: hashing.hashes_of(store.find(photo_id)),
        hashing.SCHEMA,
        progress,
    )
    look = SecondLook(settings.paths, settings.near_duplicates, progress)
    found = _clusters(photo_ids, hashes, settings.near_duplicates, look)
    look.save()
    rows = _clustered(photographs, found.members, _former(settings.paths))
    representatives = [row for row in rows if row["representative"]]
    result = Result(
        wanted,
        fingerprint([{key: row[key] for key in _stable(row)} for row in representatives]),
        {
            "photographs": len(rows),
            "clusters": len(representatives),
            "duplicates_dropped": len(rows) - len(representatives),
            "joined_by_the_second_look": found.joined,
            "newly_hashed": newly_hashed,
            "newly_embedded": look.newly_embedded,
            "newly_compared": look.newly_compared,
        },
    )
    with atomic_path(_table(settings.paths)) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    result.write(_record(settings.paths))
    return Deduplicated(result, _table(settings.paths), reused=False)


def deduplicate_is_current(settings: Settings) -> bool:
    """Whether :func:`deduplicate` would return the recorded result."""
    return _current(settings.paths, _fingerprint(settings, _photographs(settings.paths))) is not None


@dataclass(frozen=True)
class _Found:
    """Clusters of photo_ids, the best copy first, and how many of them only the second look brought together."""

    members: list[list[str]]
    joined: int


def _clusters(
    photo_ids: Sequence[str], hashes: dict[str, Row], wanted: NearDuplicateSettings, look: SecondLook
) -> _Found:
    """All photographs in clusters of copies. ``photo_ids`` begins with the best copies."""
    alone = [[photo_id] for photo_id in photo_ids if hashes[photo_id]["error"] or hashes[photo_id]["flat"]]
    usable = [photo_id for photo_id in photo_ids if not (hashes[photo_id]["error"] or hashes[photo_id]["flat"])]
    if not usable:
        return _Found(alone, 0)
    near = _NearHashes.of([hashes[photo_id] for photo_id in usable], wanted)

    def near_enough(pairs: Indices) -> npt.NDArray[np.bool_]:
        return look.are_copies(usable, pairs) if wanted.second_look else near.within_twice(pairs)

    by_hash = np.array(clusters(len(usable), near.sure, near_enough), dtype=np.int64)[near.equal]
    # The best copy of each cluster, which comes first, and for every photograph the place of its own best copy.
    _, best, place = np.unique(by_hash, return_index=True, return_inverse=True)
    joined = np.arange(len(best), dtype=np.int64)
    if wanted.second_look and len(best) > 1:
        named = [usable[photograph] for photograph in best.tolist()]
        candidates = look.candidates(named, _apart(place[near.doubtful]))
        links = candidates[look.are_copies(named, candidates)]
        joined = np.array(clusters(len(best), links, lambda pairs: look.are_copies(named, pairs)), dtype=np.int64)
    members: dict[int, list[str]] = defaultdict(list)
    for photo_id, cluster in zip(usable, joined[place].tolist(), strict=True):
        members[cluster].append(photo_id)
    return _Found([*members.values(), *alone], len(best) - len(members))


@dataclass(frozen=True)
class _NearHashes:
    """What the hashes of photographs, and of their mirror images, say of them.

    ``equal``: for each photograph the first one with the same hashes. ``sure``: pairs of those that are near by one
    hash and not far by the other. ``doubtful``: pairs that are near by one hash only. Pairs are [pairs, 2].
    """

    equal: Indices
    sure: Indices
    doubtful: Indices
    _phashes: Hashes
    _mirrored: Hashes
    _radius: int

    @classmethod
    def of(cls, hashes: Sequence[Row], wanted: NearDuplicateSettings) -> "_NearHashes":
        column = {
            name: np.array([row[name] for row in hashes], dtype=np.uint64)
            for name in ("phash", "mirror_phash", "dhash", "mirror_dhash")
        }
        both = np.stack(
            [
                np.concatenate([column["phash"], column["mirror_phash"]]),
                np.concatenate([column["dhash"], column["mirror_dhash"]]),
            ],
            axis=1,
        )
        # Equal pictures are one node, so that thousands of copies stay cheap.
        pictures, first, picture = np.unique(both, axis=0, return_index=True, return_inverse=True)
        stars = enumerate((first[picture.ravel()] % len(hashes)).tolist())
        equal = np.array(components(len(hashes), ((node % len(hashes), hub) for node, hub in stars)), dtype=np.int64)
        photograph = equal[first % len(hashes)]
        phash, dhash = np.ascontiguousarray(pictures[:, 0]), np.ascontiguousarray(pictures[:, 1])
        sure, near = [], []
        for searched, other, radius in ((phash, dhash, wanted.phash_distance), (dhash, phash, wanted.dhash_distance)):
            pairs = near_pairs(searched, radius)
            # The other hash has to confirm: landscapes under a clear sky share either of them, hardly both.
            sure.append(photograph[within(other, pairs, wanted.confirming_distance)])
            near.append(photograph[pairs])
        return cls(
            equal,
            _apart(np.concatenate(sure)),
            _apart(np.concatenate(near)),
            column["phash"],
            column["mirror_phash"],
            wanted.phash_distance,
        )

    def within_twice(self, pairs: Indices) -> npt.NDArray[np.bool_]:
        """Of each pair whether the perceptual hashes are within twice the radius of copies."""
        first, second = pairs[:, 0], pairs[:, 1]
        straight = np.bitwise_count(self._phashes[first] ^ self._phashes[second])
        mirrored = np.bitwise_count(self._phashes[first] ^ self._mirrored[second])
        near: npt.NDArray[np.bool_] = np.minimum(straight, mirrored) <= 2 * self._radius
        return near


def _apart(pairs: Indices) -> Indices:
    """The different ones of ``pairs`` [pairs, 2], each with two different members, the smaller one first."""
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def _photographs(home: Home) -> dict[str, Row]:
    """Stored photographs by id, with their partition; found twice, they fill each other's gaps."""
    found: dict[str, list[Row]] = defaultdict(list)
    for path in sorted((home.manifests / "crawled_photos").glob("*.parquet")):
        for row in manifest.read_manifest(path):
            if row.status == Status.STORED and row.photo_id:
                found[row.photo_id].append({**row.model_dump(), "status": str(row.status), "partition": path.stem})
    return {photo_id: inherited(rows[0], rows[1:]) for photo_id, rows in sorted(found.items())}


def _clustered(photographs: dict[str, Row], groups: Sequence[Sequence[str]], former: dict[str, str]) -> list[Row]:
    """The asset's rows, ordered by photo_id; each of ``groups`` begins with the best copy."""
    name_of = stable_names(groups, former)
    rows = []
    for group in groups:
        best, *others = (photographs[photo_id] for photo_id in group)
        for rank, row in enumerate([inherited(best, others), *others]):
            about = {"cluster_id": name_of[group[0]], "rank": rank, "representative": rank == 0}
            rows.append({**row, **about, "duplicate_of": group[0] if rank else None})
    return sorted(rows, key=lambda row: row["photo_id"])


def _rank(row: Row) -> tuple[int, int, int, str]:
    """Sorts the best copy first: most pixels, then by licence, then by source, then the smallest id."""
    licence = (row["licence"] or "").casefold()
    free = next((place for place, words in enumerate(_LICENCES) if re.search(words, licence)), len(_LICENCES))
    source = _SOURCES.index(row["source"]) if row["source"] in _SOURCES else len(_SOURCES)
    return -(row["width"] or 0) * (row["height"] or 0), free, source, row["photo_id"]


def inherited(row: Row, others: Sequence[Row]) -> Row:
    """``row`` with groups of fields that it lacks (``INHERITED``) taken from the first of ``others`` that has them."""
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


def _former(home: Home) -> dict[str, str]:
    """The cluster that every photograph was in last time."""
    if not _table(home).exists():
        return {}
    table = pq.read_table(_table(home), columns=["photo_id", "cluster_id"])
    return dict(zip(table["photo_id"].to_pylist(), table["cluster_id"].to_pylist(), strict=True))


def _current(home: Home, wanted: str) -> Result | None:
    recorded = Result.read(_record(home))
    return recorded if recorded and recorded.fingerprint == wanted and _table(home).exists() else None


def hashes_file(home: Home) -> Path:
    """The table of all photographs' hashes (columns: ``photo_id``, ``hashing.SCHEMA`` and ``error``)."""
    return home.manifests / "deduplicated_photos" / "hashes.parquet"


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
