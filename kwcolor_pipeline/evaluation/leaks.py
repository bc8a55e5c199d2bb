"""Test photographs that the training pairs hold as well, whole or in part.

Belongs here: looking at the pictures in the shards, as they lie on the disk, for copies across splits. Deduplication
keeps copies in one split long before; this is the proof that it did, and it trusts none of its tables. What follows
from a leak is the affair of ``comparison``.
"""

import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from kwcolor_pipeline.home import Home, atomic_path, fingerprint, sha256_of, write_json
from kwcolor_pipeline.photos.hashing import hash_version, hashes_of_grey, small_grey
from kwcolor_pipeline.photos.pairs import read_index
from kwcolor_pipeline.photos.second_look import square
from kwcolor_pipeline.photos.shards import read_shard

if TYPE_CHECKING:
    from kwcolor_pipeline.settings import NearDuplicateSettings, Settings

Row = dict[str, Any]
Indices = npt.NDArray[np.int64]

_HASHES = ("phash", "dhash", "mirror_phash", "mirror_dhash")
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("shard", "sha256", "photo_id")),
        *((name, pa.uint64()) for name in _HASHES),
        ("embedding", pa.binary()),
    ]
)
_VERSION_KEY = b"kwcolor_version"
# Test photographs whose likeness to all others is in memory at a time, and pairs that are compared at a time.
_ROWS, _PAIRS = 256, 256


@dataclass(frozen=True)
class Leak:
    """A photograph of the test split and its copy in another one."""

    test_id: str
    test_title: str
    copy_id: str
    copy_title: str
    copy_split: str

    def __str__(self) -> str:
        return (
            f"The test photograph “{self.test_title}” ({self.test_id[:12]}…) is in {self.copy_split} as "
            f"“{self.copy_title}” ({self.copy_id[:12]}…)"
        )


def leaked(leaks: Sequence[Leak]) -> str | None:
    """The first of ``leaks`` in a sentence with the remedy; None where there is none."""
    if not leaks:
        return None
    more = f" and {len(leaks) - 1} more" if len(leaks) > 1 else ""
    return f"{leaks[0]}{more}; turn one of them down with `kwcolor review` and train again."


def find_leaks(settings: "Settings") -> list[Leak]:
    """Every pair of a test photograph and one of `train` or `valid` that shows the same picture or a part of it.

    What was found is kept in ``manifests/evaluation_report/leaks.json`` until a shard has other bytes, hashes and
    embeddings of a shard by its sha256 in ``looks.parquet`` beside it.
    Raises FileNotFoundError where `grayscale_pairs` has not been materialized, tarfile.TarError or OSError where a
    shard cannot be read.
    """
    home = settings.paths
    about = {row["photo_id"]: row for row in read_index(home)}
    shards = {shard: sha256_of(home.pairs / shard) for shard in sorted({row["shard"] for row in about.values()})}
    kept = home.manifests / "evaluation_report" / "leaks.json"
    asked = fingerprint([shards, settings.near_duplicates.model_dump(), _version()])
    known = _known(kept, asked)
    if known is None:
        known = _found(settings, about, shards)
        write_json(kept, {"asked": asked, "leaks": [dataclasses.asdict(leak) for leak in known]})
    return known


def _known(path: Path, asked: str) -> list[Leak] | None:
    """What was found when the same was asked; None where nothing usable is there."""
    try:
        kept = json.loads(path.read_bytes())
        return [Leak(**leak) for leak in kept["leaks"]] if kept["asked"] == asked else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _found(settings: "Settings", about: Mapping[str, Row], shards: Mapping[str, str]) -> list[Leak]:
    home = settings.paths
    looks = _looks(home, shards)
    tested = [look for look in looks if look["shard"].startswith("test/")]
    others = [look for look in looks if not look["shard"].startswith("test/")]
    if not (tested and others):
        return []
    pairs = _alike(tested, others, settings.near_duplicates)
    copies = _are_copies(home, tested, others, pairs, settings.near_duplicates)
    return [
        _leak(tested[first], others[second], about)
        for (first, second), same in zip(pairs.tolist(), copies.tolist(), strict=True)
        if same
    ]


def _leak(tested: Row, other: Row, about: Mapping[str, Row]) -> Leak:
    titles = [about.get(look["photo_id"], {}).get("title") or "untitled" for look in (tested, other)]
    split = other["shard"].partition("/")[0]
    return Leak(tested["photo_id"], titles[0], other["photo_id"], titles[1], split)


def _looks(home: Home, shards: Mapping[str, str]) -> list[Row]:
    """Hashes and embedding of every photograph in the shards (name to sha256); those of known ones are remembered."""
    table = home.manifests / "evaluation_report" / "looks.parquet"
    known: dict[tuple[str, str], list[Row]] = {}
    for row in _read(table):
        known.setdefault((row["shard"], row["sha256"]), []).append(row)
    looks: list[Row] = []
    for shard, sha256 in tqdm(shards.items(), desc="leaks", unit="shard", disable=None, leave=False):
        found = known.get((shard, sha256))
        looks += found if found is not None else _look(home.pairs / shard, shard, sha256)
    if shards.items() != known.keys():
        with atomic_path(table) as temporary:
            pq.write_table(pa.Table.from_pylist(looks, schema=_versioned()), temporary)
    return looks


def _look(path: Path, shard: str, sha256: str) -> list[Row]:
    from kwcolor_pipeline.networks.embeddings import SIDE, embed

    greys = {photo_id: small_grey(io.BytesIO(files["gray.png"])) for photo_id, files in read_shard(path).items()}
    embeddings = embed(np.stack([square(grey, SIDE) for grey in greys.values()]))
    return [
        {
            "shard": shard,
            "sha256": sha256,
            "photo_id": photo_id,
            **{name: value for name, value in hashes_of_grey(grey).items() if name in _HASHES},
            "embedding": embedding.tobytes(),
        }
        for (photo_id, grey), embedding in zip(greys.items(), embeddings, strict=True)
    ]


def _alike(tested: Sequence[Row], others: Sequence[Row], wanted: "NearDuplicateSettings") -> Indices:
    """Pairs [pairs, 2] of positions that are worth comparing: near by a hash, or most alike in what they show."""
    mine, theirs = _vectors(tested), _vectors(others)
    hashes = {name: (_column(tested, name), _column(others, name)) for name in _HASHES}
    found = []
    for start in range(0, len(tested), _ROWS):
        rows = slice(start, start + _ROWS)
        cosines = mine[rows] @ theirs.T
        count = min(wanted.neighbours, len(others))
        kth = np.partition(cosines, -count, axis=1)[:, -count, None]
        alike = (cosines >= wanted.similarity) & (cosines >= kth)
        for name, radius in (("phash", wanted.phash_distance), ("dhash", wanted.dhash_distance)):
            own = hashes[name][0][rows, None]
            for other in (hashes[name][1], hashes[f"mirror_{name}"][1]):
                alike |= np.bitwise_count(own ^ other) <= radius
        found.append(np.argwhere(alike) + np.array([start, 0]))
    return np.concatenate(found)


def _are_copies(
    home: Home, tested: Sequence[Row], others: Sequence[Row], pairs: Indices, wanted: "NearDuplicateSettings"
) -> npt.NDArray[np.bool_]:
    """Of each pair whether both pictures, laid over each other, are copies of one."""
    from kwcolor_pipeline.networks.alignment import SIDE, copy_scores

    scores = [np.empty(0, dtype=np.float32)]
    for start in range(0, len(pairs), _PAIRS):
        chunk = pairs[start : start + _PAIRS]
        looks = [*(tested[first] for first in chunk[:, 0]), *(others[second] for second in chunk[:, 1])]
        places, inverse = np.unique([f"{look['shard']} {look['photo_id']}" for look in looks], return_inverse=True)
        pictures = _pictures(home, [place.split(" ") for place in places.tolist()], SIDE)
        first, second = inverse[: len(chunk)], inverse[len(chunk) :]
        scores.append(copy_scores(pictures, first, second, wanted.coarse_score))
    copies: npt.NDArray[np.bool_] = np.concatenate(scores) >= wanted.same_score
    return copies


def _pictures(home: Home, places: Iterable[Sequence[str]], side: int) -> npt.NDArray[np.uint8]:
    """The grey pictures [n, side, side] of (shard, photo_id), which are ordered by shard."""
    pictures = []
    opened = ""
    for shard, photo_id in places:
        if shard != opened:
            files = read_shard(home.pairs / shard)
            opened = shard
        pictures.append(square(small_grey(io.BytesIO(files[photo_id]["gray.png"])), side))
    return np.stack(pictures)


def _vectors(looks: Sequence[Row]) -> npt.NDArray[np.float32]:
    return np.stack([np.frombuffer(look["embedding"], dtype=np.float16) for look in looks]).astype(np.float32)


def _column(looks: Sequence[Row], name: str) -> npt.NDArray[np.uint64]:
    return np.array([look[name] for look in looks], dtype=np.uint64)


def _version() -> str:
    from kwcolor_pipeline.networks.alignment import ALIGNMENT_VERSION
    from kwcolor_pipeline.networks.embeddings import EMBEDDING_VERSION

    return f"1 {EMBEDDING_VERSION} {ALIGNMENT_VERSION} {hash_version()}"


def _versioned() -> pa.Schema:
    return _SCHEMA.with_metadata({_VERSION_KEY: _version().encode()})


def _read(path: Path) -> list[Row]:
    """The rows at ``path``; none where there are none that this version wrote."""
    try:
        table = pq.read_table(path)
    except (FileNotFoundError, pa.ArrowInvalid):
        return []
    rows: list[Row] = table.to_pylist() if table.schema.equals(_versioned(), check_metadata=True) else []
    return rows
