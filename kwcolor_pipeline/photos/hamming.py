"""The exact search for all pairs of 64-bit hashes that differ in a few bits.

Belongs here: numbers in, pairs of numbers out. What the hashes are of does not.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

# Candidate pairs that are held in memory at a time.
_SLAB = 4_000_000


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
        if (pairs := within(hashes, candidates, radius)).size
    ]
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), dtype=np.int64)


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


def within(hashes: Hashes, pairs: Indices, radius: int) -> Indices:
    """Those of ``pairs`` [pairs, 2] whose ``hashes`` differ in at most ``radius`` bits."""
    first, second = pairs[:, 0], pairs[:, 1]
    near = np.bitwise_count(hashes[first] ^ hashes[second]) <= radius
    return pairs[near & (first != second)]
