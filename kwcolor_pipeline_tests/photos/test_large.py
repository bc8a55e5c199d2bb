import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kwcolor_pipeline.photos.large import LARGE, alone_if_large, pixels_of
from kwcolor_pipeline_tests.faults.damaged_pictures import png_claiming
from kwcolor_pipeline_tests.photos.pictures import encoded, scene


def most_at_once(pixels: int) -> int:
    """How many of six threads are inside together."""
    inside: list[int] = []
    most = 0
    together = threading.Lock()

    def enter(number: int) -> None:
        nonlocal most
        with alone_if_large(pixels):
            with together:
                inside.append(number)
                most = max(most, len(inside))
            threading.Event().wait(0.05)
            with together:
                inside.remove(number)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(enter, range(6)))
    return most


def test_large_pictures_take_turns_and_others_do_not() -> None:
    assert most_at_once(LARGE + 1) == 1
    assert most_at_once(LARGE) > 1


def test_an_error_lets_the_next_one_in() -> None:
    with pytest.raises(ValueError, match="broken"), alone_if_large(LARGE + 1):
        raise ValueError("broken")
    assert most_at_once(LARGE + 1) == 1


def test_pixels_are_read_from_the_header(tmp_path: Path) -> None:
    files = {"whole": encoded(scene(0, (40, 30))), "broken": b"\xff\xd8", "bomb": png_claiming(60_000, 60_000)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert [pixels_of(tmp_path / name) for name in files] == [1200, 0, 0]
    with pytest.raises(FileNotFoundError):
        pixels_of(tmp_path / "missing")
