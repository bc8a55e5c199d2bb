"""How many photographs are hashed a second on a core, beside imagehash on fully decoded pictures?

Belongs here: the two ways, the measurement and its promise. The hashes are the package's.

Both ways open a JPEG, turn it as its EXIF says, and give phash and dhash of the picture and of its mirror image;
ours looks for borders and trims them as well. imagehash is used as its documentation shows, on the decoded picture.
Floors: decoding alone, in full and to the small copy that ours hashes. One process and one thread; ways take turns,
medians of the turns count, in seconds of processor time, so that other work on the machine disturbs less.

Beside that, without a promise: what all cores hash together, in processes as the package does it and in threads.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from pictures import prepare
from PIL import Image, ImageOps
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.photos.hashing import hashes_of
from kwcolor_pipeline.photos.parallel import available_cores, on_all_cores

SIZES = ((1280, 960), (640, 480))
_TURNS = 5
_ORIENTATION = 0x0112
_PACKAGES = ("kwcolor_pipeline", "pillow", "imagehash", "numpy", "scipy")


def scans(folder: Path, size: tuple[int, int], count: int, photos: Path | None) -> tuple[list[Path], str]:
    """``count`` JPEG files of ``size``, every eighth lying on its side with a note in its EXIF; and what they are."""
    sources, what = prepare(count, folder / "sources", photos)
    chance = np.random.default_rng(0)
    paths = []
    for number, source in enumerate(sources):
        with Image.open(source) as opened:
            picture = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), size, Image.Resampling.BICUBIC)
        # Grain of its own, or what was enlarged would be easier to decode than a scan.
        grain = chance.normal(0, 4, (size[1], size[0], 1)).astype(np.float32)
        picture = Image.fromarray((np.asarray(picture, np.float32) + grain).clip(0, 255).astype(np.uint8))
        exif = Image.Exif()
        if number % 8 == 7:
            exif[_ORIENTATION] = 6
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        paths.append(folder / f"{number:05}.jpg")
        picture.save(paths[-1], "JPEG", quality=88, exif=exif)
    return paths, what


def by_imagehash(path: Path) -> dict[str, int]:
    """The same four hashes of the picture in full size."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
    mirror = ImageOps.mirror(picture)
    hashes = {
        "phash": imagehash.phash(picture),
        "dhash": imagehash.dhash(picture),
        "mirror_phash": imagehash.phash(mirror),
        "mirror_dhash": imagehash.dhash(mirror),
    }
    return {name: int(str(value), 16) for name, value in hashes.items()}


def decoded(path: Path) -> None:
    """The floor of whoever decodes a picture in full."""
    with Image.open(path) as opened:
        opened.load()


def drafted(path: Path) -> None:
    """The floor of ours: decoding to a copy with a shortest side of 128 pixels or more."""
    with Image.open(path) as opened:
        opened.draft("L", (128, 128))
        opened.load()


WAYS: dict[str, Callable[[Path], Any]] = {
    "ours": hashes_of,
    "imagehash": by_imagehash,
    "decoding to a small copy": drafted,
    "decoding in full": decoded,
}


def on_one_core(paths: Sequence[Path]) -> dict[str, float]:
    """Photographs a second of processor time, by way."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for way in WAYS.values():
        way(paths[0])  # what is imported and looked up at the first call only
    for _ in range(_TURNS):
        for name, way in WAYS.items():
            start = time.process_time()
            for path in paths:
                way(path)
            seconds[name].append(time.process_time() - start)
    return {name: len(paths) / statistics.median(turns) for name, turns in seconds.items()}


def on_cores(paths: Sequence[Path]) -> dict[str, float]:
    """Photographs a second by the clock: in one process, in threads, and in processes with and without their start."""
    cores = available_cores()
    with ThreadPoolExecutor(cores) as threads:
        rates = {
            "one process": _rate(lambda: list(map(hashes_of, paths)), len(paths)),
            "threads": _rate(lambda: list(threads.map(hashes_of, paths)), len(paths)),
        }
    rates["processes, with their start"] = _rate(lambda: list(on_all_cores(hashes_of, paths)), len(paths))
    # From the first outcome on, when the processes have started.
    working = on_all_cores(hashes_of, paths)
    next(working)
    rates["processes"] = _rate(lambda: list(working), len(paths))
    return rates


def _rate(work: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def differing_bits(paths: Sequence[Path]) -> float:
    """Bits of 64 that ours and imagehash's phash and dhash differ in, on average; borders are trimmed by ours only."""
    pairs = [(hashes_of(path), by_imagehash(path)) for path in paths]
    return statistics.mean(
        (ours[name] ^ theirs[name]).bit_count() for ours, theirs in pairs for name in ("phash", "dhash")
    )


def main() -> int:
    """Measure and report; the exit status."""
    asked = options(__doc__ or "").parse_args()
    count, many = (16, 200) if asked.quick else (64, 1000)
    rates: dict[str, dict[str, float]] = {}
    bits: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="kwcolor-benchmark-") as temporary:
        folder = Path(temporary)
        machine = machine_facts(_PACKAGES, folder)
        for width, height in SIZES:
            size = f"{width}x{height}"
            (folder / size).mkdir()
            paths, what = scans(folder / size, (width, height), count, asked.photos)
            say(f"{size}: {len(paths)} JPEG files, {sum(path.stat().st_size for path in paths) / len(paths):.0f} bytes")
            rates[size], bits[size] = on_one_core(paths), differing_bits(paths)
        together = on_cores([paths[number % count] for number in range(many)])
    say()
    columns = list(rates)
    rows = [[way, *(rates[size][way] for size in columns)] for way in WAYS]
    say(table(["photographs a second on one core", *columns], rows))
    say(
        table(
            [f"on {available_cores()} cores, {columns[-1]}", "photographs a second"], list(map(list, together.items()))
        )
    )
    large = rates["1280x960"]
    promises = [
        Promise.at_least(
            "hashing_ratio",
            large["ours"] / large["imagehash"],
            3,
            f"photographs of 1280x960 hashed a second on one core by ours over imagehash's, medians of {_TURNS} turns",
        )
    ]
    facts = {
        "pictures": f"{what}, fitted to each size with grain added",
        "photographs_a_second": rates,
        "ratio": {size: rates[size]["ours"] / rates[size]["imagehash"] for size in columns},
        "bits_that_differ": bits,
        "all_cores": {"cores": available_cores(), "photographs": many, "photographs_a_second": together},
    }
    scaled = [f"{count} photographs, {many} on all cores"] if asked.quick else []
    return conclude(asked, "hashing", promises, facts, machine, scaled)


if __name__ == "__main__":
    sys.exit(main())
