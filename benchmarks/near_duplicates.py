"""How long does it take to find all near pairs among a million hashes, and does it find all of them?

Belongs here: the hashes, the methods that search them, the measurement and its promises. The search is the
package's; each search runs in a process of its own, whose largest resident memory counts with all it loads.

`random`: 64 random bits each, a tenth of them copies of others with 0 to 8 bits changed, and as many with 9 or
10, which must not be found. `crowded`: a twentieth of them lie in balls of 200 around centres of their own, at
most three bits away, as the hashes of clear skies and blank scans do; these alone are millions of pairs.

Peers at the sizes that they manage within the time budget: faiss (IndexBinaryFlat.range_search, whose radius is
exclusive), pybktree, and brute force in numpy. All are exact, so all have to give the same pairs.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.photos.hamming import near_pairs

RADIUS = 8
#: Share of the hashes that are copies, and share that lies in balls.
_COPIES, _CROWDED = 0.1, 0.05
_BALL = 200
_PACKAGES = ("kwcolor_pipeline", "numpy")
_PEERS = {"faiss": "faiss-cpu", "pybktree": "pybktree"}

Hashes = npt.NDArray[np.uint64]
Pairs = npt.NDArray[np.int64]


def hashes_of(kind: str, count: int, seed: int = 0) -> tuple[Hashes, Pairs]:
    """``count`` hashes, and the planted pairs (i, j) that differ in at most ``RADIUS`` bits."""
    chance = np.random.default_rng(seed)
    hashes = chance.integers(0, 2**64, count, dtype=np.uint64)
    if kind == "crowded":
        crowd = int(count * _CROWDED) // _BALL * _BALL
        centres = np.repeat(hashes[: crowd // _BALL], _BALL)
        hashes[:crowd] = _changed(centres, chance.integers(0, 4, crowd), chance)
    copies = int(count * _COPIES)
    originals = chance.permutation(count - copies)[:copies]
    distances = np.arange(copies) % (RADIUS + 3)
    hashes[count - copies :] = _changed(hashes[originals], distances, chance)
    planted = np.stack([originals, np.arange(count - copies, count)], axis=1)[distances <= RADIUS]
    order = chance.permutation(count)
    place = np.argsort(order)
    return hashes[order], np.sort(place[planted], axis=1)


def _changed(hashes: Hashes, distances: npt.NDArray[np.integer], chance: np.random.Generator) -> Hashes:
    """Each hash with so many different bits changed."""
    bits = np.argsort(chance.random((hashes.size, 64), dtype=np.float32), axis=1)
    masks = np.uint64(1) << bits.astype(np.uint64)
    chosen = np.arange(64) < distances[:, None]
    return hashes ^ np.bitwise_xor.reduce(np.where(chosen, masks, np.uint64(0)), axis=1)


def by_brute_force(hashes: Hashes, radius: int) -> Pairs:
    """Every pair compared, in rows of a thousand."""
    found = []
    for start in range(0, hashes.size, 1000):
        rows = hashes[start : start + 1000]
        first, second = np.nonzero(np.bitwise_count(rows[:, None] ^ hashes[None]) <= radius)
        found.append(np.stack([first + start, second], axis=1))
    return _ordered(np.concatenate(found))


def by_faiss(hashes: Hashes, radius: int) -> Pairs:
    """faiss's exact index for bits; a distance has to be below its radius."""
    import faiss

    codes = hashes.view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    limits, _, second = index.range_search(codes, radius + 1)
    first = np.repeat(np.arange(hashes.size), np.diff(limits.astype(np.int64)))
    return _ordered(np.stack([first, second.astype(np.int64)], axis=1))


def by_pybktree(hashes: Hashes, radius: int) -> Pairs:
    """A tree over the different hashes, asked once for each."""
    import pybktree

    places: dict[int, list[int]] = {}
    for place, value in enumerate(hashes.tolist()):
        places.setdefault(value, []).append(place)
    tree = pybktree.BKTree(pybktree.hamming_distance, places)
    found = [
        (first, second)
        for value, here in places.items()
        for _, other in tree.find(value, radius)
        for first in here
        for second in places[other]
    ]
    return _ordered(np.array(found, dtype=np.int64).reshape(-1, 2))


METHODS: dict[str, Callable[[Hashes, int], Pairs]] = {
    "ours": near_pairs,
    "numpy": by_brute_force,
    "faiss": by_faiss,
    "pybktree": by_pybktree,
}
#: Sizes that each peer is tried at; one that the size before says to take longer than the budget is left out.
SIZES = {
    "numpy": (10_000, 20_000, 50_000),
    "faiss": (10_000, 20_000, 100_000, 200_000),
    "pybktree": (1_000, 2_000, 5_000),
}


def _ordered(pairs: Pairs) -> Pairs:
    """i < j, sorted."""
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def search(folder: Path, method: str, kind: str, count: int) -> dict[str, Any]:
    """Search in a process of its own: seconds, largest resident memory in MiB, and the pairs."""
    hashes, planted = hashes_of(kind, count)
    given, found = folder / "hashes.npy", folder / "pairs.npy"
    np.save(given, hashes)
    command = [sys.executable, __file__, "--search", method, str(given), str(found)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    pairs = np.load(found)
    keys = pairs[:, 0] * count + pairs[:, 1]
    missed = np.setdiff1d(planted[:, 0] * count + planted[:, 1], keys).size
    answer = {"method": method, "kind": kind, "count": count, **json.loads(done.stdout)}
    answer |= {"pairs": len(pairs), "planted": len(planted), "missed": int(missed)}
    say(f"{method:9} {kind:8} {count:>9,}: {answer['seconds']:8.2f} s, {answer['mib']:6.0f} MiB, {len(pairs):,} pairs")
    return answer | {"keys": keys}


def searching(method: str, given: str, found: str) -> int:
    """What the process of its own does."""
    hashes = np.load(given)
    start = time.perf_counter()
    pairs = METHODS[method](hashes, RADIUS)
    seconds = time.perf_counter() - start
    # Before the pairs are written, which takes memory as well.
    print(json.dumps({"seconds": seconds, "mib": _largest_memory()}))
    np.save(found, pairs)
    return 0


def _largest_memory() -> float:
    """Largest resident memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike rusage, it does not count the parent's memory before this program was loaded.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def peers_of(folder: Path, budget: float) -> list[dict[str, Any]]:
    """Each peer at growing sizes, as long as the next is expected to take less than ``budget`` seconds."""
    answers = []
    for method, sizes in SIZES.items():
        if method in _PEERS and importlib.util.find_spec(method) is None:
            say(f"{method} is not installed: `make .venv/.installed-bench` installs it")
            continue
        seconds, before = 0.0, sizes[0]
        for size in sizes:
            if seconds * (size / before) ** 2 > budget:
                break
            answers.append(search(folder, method, "random", size))
            seconds, before = answers[-1]["seconds"], size
        answers.append(search(folder, method, "crowded", sizes[0]))
    return answers


def disagreements(folder: Path, peers: list[dict[str, Any]]) -> int | None:
    """Searches in which a peer and ours give different pairs; None where a peer is missing."""
    if {answer["method"] for answer in peers} != set(SIZES):
        return None
    ours: dict[tuple[str, int], Any] = {}
    differing = 0
    for answer in peers:
        asked = answer["kind"], answer["count"]
        if asked not in ours:
            ours[asked] = search(folder, "ours", *asked)["keys"]
        differing += not np.array_equal(ours[asked], answer["keys"])
    return differing


def extrapolated(half: dict[str, Any], whole: dict[str, Any], count: int) -> float:
    """Seconds for ``count`` hashes from two sizes that are searched in the same bands.

    Looking keys up grows with the number of hashes, comparing candidates with its square.
    """
    sizes = np.array([[one["count"], one["count"] ** 2] for one in (half, whole)], dtype=np.float64)
    linear, square = np.linalg.solve(sizes, [half["seconds"], whole["seconds"]])
    return float(linear * count + square * count**2)


def main() -> int:
    """Measure and report; the exit status."""
    if sys.argv[1:2] == ["--search"]:
        return searching(*sys.argv[2:])
    parser = options(__doc__ or "", photos=False)
    parser.add_argument("--budget", type=float, default=30, help="seconds that a peer's search may take")
    asked = parser.parse_args()
    return measured(asked)


def measured(asked: argparse.Namespace) -> int:
    """All searches, their table and their promises; the exit status."""
    largest = 200_000 if asked.quick else 1_000_000
    budget = min(asked.budget, 5) if asked.quick else asked.budget
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        folder = Path(temporary)
        installed = [package for name, package in _PEERS.items() if importlib.util.find_spec(name)]
        machine = machine_facts([*_PACKAGES, *installed], folder)
        growth = [search(folder, "ours", "random", count) for count in (10_000, 100_000, largest // 2, largest)]
        crowded = search(folder, "ours", "crowded", largest)
        peers = peers_of(folder, budget)
        differing = disagreements(folder, peers)
    whole = growth[-1]
    million_tens = extrapolated(growth[-2], whole, 10_000_000)
    say()
    heads = ("method", "hashes", "number", "seconds", "MiB", "pairs found", "planted pairs missed")
    columns = ("method", "kind", "count", "seconds", "mib", "pairs", "missed")
    rows = [*growth, crowded, *peers]
    say(table(heads, [[row[column] for column in columns] for row in rows]))
    say(f"(10 million would take about {million_tens / 60:.0f} minutes, from {growth[-2]['count']:,} and {largest:,})")
    promises = [
        Promise.at_most("seconds", whole["seconds"], 60, f"all pairs of {largest:,} hashes within {RADIUS} bits"),
        Promise.at_most(
            "resident_mib", whole["mib"], 1024, "largest resident memory of that process, with all it loads"
        ),
        Promise.at_most(
            "planted_pairs_missed",
            sum(one["missed"] for one in [*growth, crowded]),
            0,
            f"of {sum(one['planted'] for one in [*growth, crowded]):,} planted at 0 to {RADIUS} bits",
        ),
        Promise.at_most(
            "searches_that_disagree",
            differing,
            0,
            "searches in which a peer's pairs are not exactly ours; "
            "peers are installed by `make .venv/.installed-bench`",
        ),
    ]
    facts = {
        "radius": RADIUS,
        "searches": [{key: value for key, value in row.items() if key != "keys"} for row in rows],
        "ten_million_seconds": million_tens,
        "ten_million_how": "a part that grows with the number and a part that grows with its square, solved from "
        f"{growth[-2]['count']:,} and {largest:,}, which are searched in the same bands",
    }
    scaled = [f"{largest:,} hashes instead of a million", f"peers have {budget:g} s"] if asked.quick else []
    return conclude(asked, "near_duplicates", promises, facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
