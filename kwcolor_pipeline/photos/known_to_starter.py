"""Which photographs the starter learned from: a model that begins as the starter cannot be measured on them.

Belongs here: finding them among a home's photographs, by hash. What becomes of them is the affair of ``pairs``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from kwcolor_pipeline.home import Home, sha256_of
from kwcolor_pipeline.photos.near_duplicates import hashes_file
from kwcolor_pipeline.settings import NearDuplicateSettings
from kwcolor_pipeline.starter import PHOTOGRAPHS

#: Photographs that are compared with all of the starter's at a time.
_BLOCK = 1024


def starter_photographs_version() -> str:
    """Hash of the list of photographs that the starter learned from."""
    return sha256_of(PHOTOGRAPHS)


def clusters_known_to_starter(
    home: Home, clusters: Mapping[str, Sequence[str]], wanted: NearDuplicateSettings
) -> set[str]:
    """Names of those of ``clusters`` (name to photo_ids) in which a photograph is one of the starter's, or a copy.

    A copy is what deduplication calls one by hashes alone, mirrored or not.
    Raises FileNotFoundError where `deduplicated_photos` has not been materialized.
    """
    starter = pq.read_table(PHOTOGRAPHS)
    ids = set(starter["photo_id"].to_pylist())
    cluster_of = {member: name for name, members in clusters.items() for member in members}
    known = {name for member, name in cluster_of.items() if member in ids}
    hashes = pq.read_table(hashes_file(home))
    usable = [
        photo_id in cluster_of and not flat and error is None
        for photo_id, flat, error in zip(
            *(hashes[name].to_pylist() for name in ("photo_id", "flat", "error")), strict=True
        )
    ]
    found = hashes.filter(pa.array(usable))
    near = np.zeros(len(found), dtype=bool)
    for prefix in ("", "mirror_"):
        near |= _any_near(_hashes(found, prefix), _hashes(starter, ""), wanted)
    return known | {cluster_of[photo_id] for photo_id in found.filter(pa.array(near))["photo_id"].to_pylist()}


def _hashes(table: pa.Table, prefix: str) -> npt.NDArray[np.uint64]:
    """Perceptual and difference hashes, [2, photographs]."""
    return np.stack([table[f"{prefix}{name}"].to_numpy() for name in ("phash", "dhash")])


def _any_near(
    ours: npt.NDArray[np.uint64], theirs: npt.NDArray[np.uint64], wanted: NearDuplicateSettings
) -> npt.NDArray[np.bool_]:
    """Of each of ``ours`` [2, n] whether any of ``theirs`` [2, m] is near by one hash and not far by the other."""
    near = np.zeros(ours.shape[1], dtype=bool)
    for start in range(0, len(near), _BLOCK):
        block = slice(start, start + _BLOCK)
        phash, dhash = (np.bitwise_count(ours[kind, block, None] ^ theirs[kind]) for kind in (0, 1))
        sure = (phash <= wanted.phash_distance) & (dhash <= wanted.confirming_distance)
        sure |= (dhash <= wanted.dhash_distance) & (phash <= wanted.confirming_distance)
        near[block] = sure.any(axis=1)
    return near
