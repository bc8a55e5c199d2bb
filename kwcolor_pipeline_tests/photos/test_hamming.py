import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwcolor_pipeline.photos import hamming
from kwcolor_pipeline.photos.hamming import near_pairs


def brute_force(hashes: np.ndarray, radius: int) -> list[list[int]]:
    values = hashes.tolist()
    pairs = itertools.combinations(range(len(values)), 2)
    return [[i, j] for i, j in pairs if (values[i] ^ values[j]).bit_count() <= radius]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    radius=st.integers(0, 20),
    clear=st.integers(0, 63),
)
def test_the_banded_search_equals_brute_force(seed: int, count: int, radius: int, clear: int) -> None:
    random = np.random.default_rng(seed)
    # Clearing high bits crowds the hashes, as flat skies do; planted copies differ by 0 to radius + 2 bits.
    hashes = random.integers(0, 2**64, count, dtype=np.uint64) >> np.uint64(clear)
    flips = [
        sum(1 << int(bit) for bit in random.choice(64, int(random.integers(0, radius + 3)), replace=False))
        for _ in range(count)
    ]
    hashes = np.concatenate([hashes, hashes ^ np.array(flips, dtype=np.uint64)])
    assert near_pairs(hashes, radius).tolist() == brute_force(hashes, radius)


def test_the_search_is_exact_among_thousands_and_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "_SLAB", 1000)
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**64, 3000, dtype=np.uint64)
    hashes[1000:1040] = hashes[0]
    for distance in range(10):
        hashes[2000 + distance] = hashes[distance] ^ np.uint64((1 << distance) - 1 << 13)
    first, second = np.triu_indices(3000, 1)
    near = np.bitwise_count(hashes[first] ^ hashes[second]) <= 8
    assert near_pairs(hashes, 8).tolist() == np.stack([first[near], second[near]], axis=1).tolist()
