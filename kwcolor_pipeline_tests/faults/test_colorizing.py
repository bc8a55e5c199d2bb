"""Folders of files that were made to break a colorizer, and a colorizer that is killed half-way."""

import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from kwcolor_pipeline.colorize.files import is_colorized
from kwcolor_pipeline_tests.faults import damaged_pictures as made
from kwcolor_pipeline_tests.photos.pictures import encoded, scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: `kwcolor colorize` with a network that takes no time, for it is not what is tested; it prints its peak of memory.
KWCOLOR = """
import resource, sys
from kwcolor_pipeline.colorize import batch
from kwcolor_pipeline_tests.colorize.pictures import Even, colorizer_of
batch.open_colorizer = lambda folder, device: colorizer_of(Even(20, 30))
from kwcolor_pipeline.cli import app
try:
    app(["colorize", *sys.argv[1:], "--model", "starter"])
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


#: Of sound pictures.
NAMES = ("new\nline", "tab\t", "escape\x1b[31m", "ünïcödé 사진", "a'b\"c", "-o", "[bold]", " ", "x" * 200)
TAKEN = (".jpeg", ".png", ".tiff", ".tif", ".webp", ".gif", ".bmp", ".jp2")


class Done:
    """An ended command: exit status, what it said went wrong, and its peak of memory in bytes."""

    def __init__(self, process: "subprocess.Popen[str]"):
        out, self.err = process.communicate(timeout=600)
        self.code = process.returncode
        self.peak = int(out.split("peak ")[1]) if "peak " in out else 0
        told = [line for line in self.err.splitlines() if line.startswith("· ")]
        self.problems = [
            line for line in told if not line.endswith(("from its own lightness.", "first was colorized."))
        ]


def started(root: Path, *arguments: object) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KWCOLOR_")}
    environment |= {"KWCOLOR_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
    environment |= {"KWCOLOR_COLORIZE__MAX_PIXELS": "40000000"}
    command = [sys.executable, "-W", "ignore", "-c", KWCOLOR, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def hostile() -> Iterator[tuple[str, bytes]]:
    """300 names and contents: what a folder of strangers' files may hold."""
    kinds = (
        *map(made.claiming, range(40)),
        *map(made.rubbish, range(1, 37)),
        *map(made.unusual, range(70)),
        *map(made.truncated, range(60)),
        *map(made.damaged, range(60)),
    )
    for name, data, pil_format in kinds:
        yield f"{name}.{pil_format.lower()}", data
    for number, name in enumerate(NAMES):
        yield f"{name}.png", encoded(scene(number, (40, 30)), "PNG")
    for number, size in enumerate(((1, 1), (60_000, 1), (1, 60_000), (2, 2), (16_384, 3))):
        yield f"size-{number}.png", encoded(Image.linear_gradient("L").resize(size), "PNG")
    for number, pil_format in enumerate(("JPEG2000", "JPEG2000", "TIFF", "TIFF")):
        whole = encoded(scene(number, (96, 80)), pil_format)
        chance = np.random.default_rng(number)
        for again in range(4):
            data = bytearray(whole)
            for place in chance.integers(0, len(data), 1 + again * 10):
                data[place] = int(chance.integers(0, 256))
            yield f"hurt-{number}-{again}.{pil_format.lower()[:4].replace('jpeg', 'jp2')}", bytes(data)
    # A TIFF whose pages follow each other in a circle, one of many pages, one of a gigabyte in few bytes.
    circle = bytearray(encoded(scene(1, (16, 16)), "TIFF"))
    yield "circle.tif", bytes(circle[:-4] + circle[4:8])
    yield "zip-bomb.tif", _tiff_bomb(30_000)
    yield "bomb-within-limit.tif", _tiff_bomb(6_000)
    yield "text-bomb.png", _text_bomb()


def _tiff_bomb(side: int) -> bytes:
    import io

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        rows = (bytes(row) for row in (zlib.compress(bytes(side * 3 * 500)),) * (side // 500))
        writer.write(
            rows, shape=(side, side, 3), dtype=np.uint8, photometric="rgb", compression="zlib", rowsperstrip=500
        )
    return buffer.getvalue()


def _text_bomb() -> bytes:
    whole = encoded(scene(0, (40, 30)), "PNG")
    content = b"Comment\0\0" + zlib.compress(bytes(60_000_000))
    chunk = len(content).to_bytes(4, "big") + b"zTXt" + content + zlib.crc32(b"zTXt" + content).to_bytes(4, "big")
    return whole[:33] + chunk + whole[33:]


def test_three_hundred_hostile_files_are_each_colorized_or_refused_with_a_sentence(tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    names: dict[str, None] = {}
    for name, data in hostile():
        (folder / name).write_bytes(data)
        names[name] = None
    done = Done(started(tmp_path, folder, "-o", output, "--format", "png"))
    assert done.code == 1, done.err[-2000:]
    written = list(output.iterdir())
    taken = [name for name in names if Path(name).suffix in TAKEN]
    assert len(taken) >= 295
    assert len(written) + len(done.problems) == len(taken)
    assert len(written) > 100
    assert len(done.problems) > 60
    for problem in done.problems:
        assert problem.endswith(".")
        assert problem.isprintable()
    assert not any("Traceback" in line for line in done.err.splitlines())
    assert done.peak < 1_500_000_000
    for path in written:
        with Image.open(path) as image:
            image.load()
            assert image.mode == "RGB"
        assert is_colorized(path)


def test_a_thousand_files_and_a_kill_half_way_leave_nothing_damaged_nothing_undone_and_nothing_redone(
    tmp_path: Path,
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    bad = []
    for number in range(1000):
        path = folder / f"{number:04}.jpg"
        if number % 10 == 3:
            bad.append(path)
            path.write_bytes(encoded(scene(number, (24, 16)))[:200])
        else:
            path.write_bytes(encoded(scene(number, (24, 16)).convert("L")))
    process = started(tmp_path, folder, "-o", output)
    try:
        while sum(1 for _ in output.glob("*.jpg")) < 400:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in output.glob("*.jpg")}
    assert 400 <= len(before) < 900
    done = Done(started(tmp_path, folder, "-o", output))
    assert done.code == 1
    assert len(done.problems) == len(bad) == 100
    assert all(str(path) in problem for path, problem in zip(bad, done.problems, strict=True))
    results = sorted(output.glob("*.jpg"))
    assert [path.name for path in results] == [path.name for path in sorted(folder.iterdir()) if path not in bad]
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before} == before
    for path in results:
        with Image.open(path) as image:
            image.load()
            assert image.size == (24, 16)
