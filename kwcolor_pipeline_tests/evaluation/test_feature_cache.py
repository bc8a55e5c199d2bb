"""What is remembered of photographs, and when it no longer holds."""

from pathlib import Path

import numpy as np
import pytest

from kwcolor_pipeline.evaluation import evaluate
from kwcolor_pipeline.evaluation.evaluate import measures_version
from kwcolor_pipeline.evaluation.feature_cache import FeatureCache, Known

GREY = np.arange(20, dtype=np.uint8).reshape(4, 5)
TRUTH = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
MEASURED = Known(np.array([1 / 3, -2.0]), np.array([0.1, 1e-9]), np.array([20.5]), np.array([100.0]))


def _filled(folder: Path, *photo_ids: str, version: str = "1") -> None:
    cache = FeatureCache(folder, version)
    for photo_id in photo_ids:
        cache.add(photo_id, GREY, TRUTH, MEASURED)
    cache.save()


def test_what_was_added_is_known_exactly(tmp_path: Path) -> None:
    _filled(tmp_path / "deep" / "folder", "a", "b")
    known = FeatureCache(tmp_path / "deep" / "folder", "1").known("b", GREY, TRUTH)
    assert known is not None
    for found, wanted in zip(known, MEASURED, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert FeatureCache(tmp_path, "1").known("b", GREY, TRUTH) is None


@pytest.mark.parametrize(
    ("gray", "truth"),
    [
        (GREY + 1, TRUTH),
        (GREY, TRUTH[::-1]),
        (GREY.reshape(5, 4), TRUTH.reshape(5, 4, 3)),
    ],
)
def test_other_pixels_of_the_same_photograph_are_not_known(tmp_path: Path, gray: np.ndarray, truth: np.ndarray) -> None:
    _filled(tmp_path, "a")
    assert FeatureCache(tmp_path, "1").known("a", gray, truth) is None
    assert FeatureCache(tmp_path, "1").known("b", GREY, TRUTH) is None


def test_another_version_knows_nothing_and_replaces_the_file(tmp_path: Path) -> None:
    _filled(tmp_path, "a")
    assert FeatureCache(tmp_path, "2").known("a", GREY, TRUTH) is None
    _filled(tmp_path, "b", version="2")
    assert FeatureCache(tmp_path, "1").known("a", GREY, TRUTH) is None
    assert FeatureCache(tmp_path, "2").known("b", GREY, TRUTH) is not None


@pytest.mark.parametrize("damage", ["emptied", "cut", "flipped", "text"])
def test_a_damaged_file_is_measured_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    _filled(tmp_path, *(f"photo{number}" for number in range(50)))
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    middle = len(data) // 4
    data[middle] ^= 255
    file.write_bytes({"emptied": b"", "cut": data[:-20], "flipped": bytes(data), "text": b"no table"}[damage])
    assert FeatureCache(tmp_path, "1").known("photo7", GREY, TRUTH) is None
    assert "damaged" in caplog.text
    _filled(tmp_path, "photo7")
    assert FeatureCache(tmp_path, "1").known("photo7", GREY, TRUTH) is not None


def test_a_photograph_that_is_not_seen_again_is_forgotten(tmp_path: Path) -> None:
    _filled(tmp_path, "kept", "taken down")
    cache = FeatureCache(tmp_path, "1")
    assert cache.known("kept", GREY, TRUTH) is not None
    cache.save()
    again = FeatureCache(tmp_path, "1")
    assert again.known("taken down", GREY, TRUTH) is None
    assert again.known("kept", GREY, TRUTH) is not None


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    _filled(tmp_path, "a", "b")
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns, file.stat().st_ino
    cache = FeatureCache(tmp_path, "1")
    for photo_id in ("a", "b"):
        cache.known(photo_id, GREY, TRUTH)
    cache.save()
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_the_version_names_packages_and_device_and_changes_with_the_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    before = measures_version()
    assert "pillow" in before
    assert measures_version("cuda:1") == measures_version("cuda") != before
    monkeypatch.setattr(evaluate, "metrics_module", evaluate)
    assert measures_version() != before
