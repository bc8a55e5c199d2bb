"""Results of other programs: looked up by name, checked, resized; and the photographs written for them."""

import logging

import numpy as np
import pytest
from PIL import Image

from kwcolor_pipeline.baselines.results import FolderOfResults, export_test_photographs
from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.pairs import read_pairs
from kwcolor_pipeline.settings import SettingsProblem

IDS = [f"{number:064x}" for number in range(6)]
LIMIT = 1_000_000


def colour(seed: int, size: tuple[int, int] = (30, 20)) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


GRAY = np.zeros((20, 30), np.uint8)


def test_results_are_found_by_photo_id_whatever_their_format(tmp_path):
    colour(0).save(tmp_path / f"{IDS[0]}.png")
    (tmp_path / "more").mkdir()
    colour(1).save(tmp_path / "more" / f"{IDS[1]}.TIF", "TIFF")
    colour(2).save(tmp_path / "scan.png")
    results = FolderOfResults(tmp_path, LIMIT)
    results.check([IDS[0], IDS[1], "scan.jpg"])
    assert np.array_equal(results(GRAY, IDS[0]), np.asarray(colour(0)))
    assert np.array_equal(results(GRAY, IDS[1]), np.asarray(colour(1)))
    # A photograph of a folder is known by its file's name, and a result may have another ending.
    assert np.array_equal(results(GRAY, "scan.jpg"), np.asarray(colour(2)))


def test_a_grey_result_becomes_three_channels(tmp_path):
    colour(0).convert("L").save(tmp_path / f"{IDS[0]}.png")
    result = FolderOfResults(tmp_path, LIMIT)(GRAY, IDS[0])
    assert result.shape == (20, 30, 3)
    assert np.array_equal(result[..., 0], result[..., 2])


def test_missing_results_are_named_and_counted(tmp_path):
    colour(0).save(tmp_path / f"{IDS[0]}.png")
    results = FolderOfResults(tmp_path, LIMIT)
    with pytest.raises(SettingsProblem, match=r"no result for 000000000000…, .* and 2 more; `kwcolor baselines"):
        results.check(IDS)
    with pytest.raises(SettingsProblem, match=r"no result for old\.jpg;"):
        results(GRAY, "old.jpg")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", ""])
def test_names_are_looked_up_and_never_opened_as_paths(tmp_path, name):
    (tmp_path / "inside").mkdir()
    colour(0).save(tmp_path / "secret.png")
    colour(0).save(tmp_path / "inside" / f"{IDS[0]}.png")
    with pytest.raises(SettingsProblem, match="no result"):
        FolderOfResults(tmp_path / "inside", LIMIT)(GRAY, name)


def test_another_size_is_resized_and_said(tmp_path, caplog):
    colour(0, (61, 40)).save(tmp_path / f"{IDS[0]}.png")
    with caplog.at_level(logging.WARNING):
        result = FolderOfResults(tmp_path, LIMIT)(GRAY, IDS[0])
    assert result.shape == (20, 30, 3)
    assert "61 x 40 pixels and is resized to 30 x 20" in caplog.text


@pytest.mark.parametrize("size", [(20, 30), (60, 60), (300, 150)])
def test_another_shape_is_refused(tmp_path, size):
    colour(0, size).save(tmp_path / f"{IDS[0]}.png")
    with pytest.raises(SettingsProblem, match="the whole photograph"):
        FolderOfResults(tmp_path, LIMIT)(GRAY, IDS[0])


def test_damaged_and_huge_results_are_refused(tmp_path):
    (tmp_path / f"{IDS[0]}.png").write_bytes(b"no picture")
    colour(0).save(tmp_path / f"{IDS[1]}.png")
    (tmp_path / f"{IDS[1]}.png").write_bytes((tmp_path / f"{IDS[1]}.png").read_bytes()[:200])
    colour(0).save(tmp_path / f"{IDS[2]}.png")
    results = FolderOfResults(tmp_path, LIMIT)
    for photo_id in IDS[:2]:
        with pytest.raises(SettingsProblem, match="cannot be read"):
            results(GRAY, photo_id)
    with pytest.raises(SettingsProblem, match="30 x 20 pixels, more than"):
        FolderOfResults(tmp_path, 599)(GRAY, IDS[2])


def test_two_results_for_one_photograph_are_refused(tmp_path):
    colour(0).save(tmp_path / "a.png")
    colour(0).save(tmp_path / "a.jpg")
    with pytest.raises(SettingsProblem, match="both results for `a`"):
        FolderOfResults(tmp_path, LIMIT)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingsProblem, match="not a folder"):
        FolderOfResults(tmp_path / "none", LIMIT)


def test_what_is_exported_and_colorized_comes_back(small_settings, tmp_path):
    """The whole way: the photographs are written, "another program" tints each, the folder gives them by id."""
    pairs = list(read_pairs(small_settings.paths, "test"))
    assert export_test_photographs(small_settings.paths, tmp_path / "grey") == len(pairs) > 0
    (tmp_path / "done").mkdir()
    for path in sorted((tmp_path / "grey").iterdir()):
        with Image.open(path) as image:
            assert image.mode == "L"
            Image.merge("RGB", [image, image.point(lambda value: value // 2), image]).save(
                tmp_path / "done" / path.name
            )
    results = FolderOfResults(tmp_path / "done", LIMIT)
    results.check([pair.photo_id for pair in pairs])
    for pair in pairs:
        result = results(pair.gray, pair.photo_id)
        assert np.array_equal(result, np.stack([pair.gray, pair.gray // 2, pair.gray], axis=-1))


def test_exporting_needs_pairs_and_a_folder(small_settings, tmp_path):
    with pytest.raises(SettingsProblem, match="no pairs yet"):
        export_test_photographs(Home(tmp_path / "empty"), tmp_path / "grey")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsProblem, match="is a file"):
        export_test_photographs(small_settings.paths, tmp_path / "file")
