"""What does a scan of 40 and of 200 megapixels cost, and does everything of it survive?

Belongs here: drawing a scan, colorizing it in a process of its own, and comparing what the result tells with what the
scan told. How it is colorized is the package's affair.

A 16-bit RGB TIFF, LZW compressed, with an ICC profile, EXIF, a position and IPTC's records is drawn from a photograph
with grain, and colorized by the starter as `kwcolor colorize` does it. The clock runs from the start of the process to
its end; the peak of memory is the process's own (`ru_maxrss`). Seconds of processor are given as well, as they say more
where other programs run on the same cores.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from report import Promise, conclude, machine_facts, options, say, table

from kwcolor_pipeline.colorize.metadata import ICC, IPTC, Tag, Tree, add_to_tiff, read_tree, telling, undefined
from kwcolor_pipeline.colorize.reading import srgb_profile
from kwcolor_pipeline.sample import read_index

_PACKAGES = ("kwcolor_pipeline", "torch", "numpy", "tifffile", "imagecodecs")
#: Width, height, and the most seconds and GiB; the larger scan has only to end.
_SCANS: dict[str, tuple[int, int, float | None, float]] = {
    "40 megapixels": (7746, 5164, 25.0, 3.0),
    "200 megapixels": (17_320, 11_547, None, 8.0),
}
_QUICK: dict[str, tuple[int, int, float | None, float]] = {"10 megapixels": (3873, 2582, 25.0, 3.0)}
_ROWS = 64
_TOLD = Tree(
    {
        270: Tag(2, 12, b"Pusan, 1950\0"),
        271: Tag(2, 8, b"Scanner\0"),
        282: Tag(5, 1, (600).to_bytes(4, "little") + (1).to_bytes(4, "little")),
        283: Tag(5, 1, (600).to_bytes(4, "little") + (1).to_bytes(4, "little")),
        296: Tag(3, 1, (2).to_bytes(2, "little")),
        IPTC: undefined(b"\x1c\x02\x78\0\x08refugees"),
        ICC: undefined(srgb_profile()),
    },
    {0x9003: Tag(2, 20, b"1950:08:01 10:00:00\0"), 0x829D: Tag(5, 1, bytes([56, 0, 0, 0, 10, 0, 0, 0]))},
    {1: Tag(2, 2, b"N\0")},
)
#: Colorizes one file as the command does, and prints what the process took.
_CHILD = """
import json, resource, sys
from pathlib import Path
from kwcolor_pipeline.colorize.batch import colorize_files
from kwcolor_pipeline.settings import load_settings
from kwcolor_pipeline.starter import STARTER
home, scan, output = map(Path, sys.argv[1:])
report = colorize_files(load_settings(home=home, device="cpu"), [scan], output, STARTER, "the starter", "same")
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"problems": report.problems, "processor": used.ru_utime + used.ru_stime,
                  "gib": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30}))
"""


def draw(path: Path, width: int, height: int) -> None:
    """A toned scan of this size."""
    source = next(one for one in read_index() if "astronaut" in one.file)
    grey = Image.open(source.path).convert("L").resize((width, height), Image.Resampling.BICUBIC)
    chance = np.random.default_rng(0)

    def strips() -> Any:
        for top in range(0, height, _ROWS):
            part = np.asarray(grey.crop((0, top, width, min(top + _ROWS, height))), np.float32) * 257
            part = (part + chance.standard_normal(part.shape, np.float32) * 400).clip(0, 65535)
            yield np.dstack([part, part * 0.97, part * 0.9]).astype(np.uint16)

    with tifffile.TiffWriter(path, byteorder="<") as writer:
        shape = (height, width, 3)
        writer.write(
            np.concatenate(list(strips())),
            shape=shape,
            dtype=np.uint16,
            photometric="rgb",
            compression="lzw",
            predictor=True,
            rowsperstrip=_ROWS,
            metadata=None,
            software=False,
        )
    data = path.read_bytes()
    added, patches = add_to_tiff(memoryview(data), [_TOLD], len(data))
    with path.open("r+b") as handle:
        handle.seek(len(data))
        handle.write(added)
        for place, value in patches.items():
            handle.seek(place)
            handle.write(value)


def measure(folder: Path, name: str, width: int, height: int) -> dict[str, Any]:
    """Seconds, peak of memory, and whether size, depth, profile and tags are the scan's."""
    scan, output = folder / "scan.tif", folder / "colour"
    say(f"drawing a scan of {name}")
    draw(scan, width, height)
    start = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", _CHILD, str(folder / "home"), str(scan), str(output)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    told = json.loads(done.stdout)
    result = output / "scan.tif"
    with tifffile.TiffFile(result) as tiff:
        page = tiff.pages[0]
        alike = page.shape == (height, width, 3) and page.dtype == np.uint16
    before, after = (read_tree(path.read_bytes()) for path in (scan, result))
    kept = (
        telling(before) == telling(after)
        and after.main[ICC].data == before.main[ICC].data
        and after.main[IPTC] == before.main[IPTC]
    )
    figures = {"mebibytes": scan.stat().st_size / 2**20, "seconds": seconds, **told, "alike": alike, "kept": kept}
    scan.unlink()
    result.unlink()
    return figures


def main() -> int:
    """Measure, print, and say by the exit status whether the promises hold."""
    asked = options(__doc__ or "", photos=False).parse_args()
    scans = _QUICK if asked.quick else _SCANS
    promises: list[Promise] = []
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        machine = machine_facts(_PACKAGES, Path(name))
        for size, (width, height, seconds, gib) in scans.items():
            found = measured[size] = measure(Path(name), size, width, height)
            if seconds is not None:
                how = "from the start of the process to its end"
                promises.append(Promise.at_most(f"seconds, {size}", found["seconds"], seconds, how))
            promises.append(Promise.at_most(f"GiB, {size}", found["gib"], gib, "the process's peak of memory"))
            whole = found["alike"] and found["kept"] and not found["problems"]
            how = "1 where the result has the scan's size, 16 bits, its ICC profile and every tag of it"
            promises.append(Promise.at_least(f"everything kept, {size}", float(whole), 1.0, how))
    heads = ["scan", "MiB", "seconds", "of processor", "GiB"]
    keys = ("mebibytes", "seconds", "processor", "gib")
    say(table(heads, [[size, *(found[key] for key in keys)] for size, found in measured.items()]))
    return conclude(
        asked,
        "large_scans",
        promises,
        measured,
        machine,
        ["10 megapixels instead of 40 and 200"] if asked.quick else [],
    )


if __name__ == "__main__":
    sys.exit(main())
