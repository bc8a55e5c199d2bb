from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from kwcolor_pipeline.colour.lab import grey_to_lightness
from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.pairs import Pair, read_pairs
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training import data
from kwcolor_pipeline.training.augmentation import Strengths
from kwcolor_pipeline.training.data import (
    Crops,
    DeviceCrops,
    HostCrops,
    PictureCache,
    TrainingBatches,
    centre_crops,
    fits,
    open_cache,
    to_batch,
)

CPU = torch.device("cpu")


def drawn(*pictures: np.ndarray) -> PictureCache:
    """A cache of pictures (H, W, 4)."""
    sizes = [picture.size for picture in pictures]
    return PictureCache(
        photo_ids=[str(number) for number in range(len(pictures))],
        shapes=[picture.shape[:2] for picture in pictures],
        offsets=[0, *np.cumsum(sizes).tolist()][:-1],
        pixels=np.concatenate([picture.ravel() for picture in pictures]),
    )


def flat(level: int, side: int = 40) -> np.ndarray:
    return np.full((side, side, 4), level, np.uint8)


def batches(
    cache: PictureCache, batch_size: int = 4, seed: int = 0, jitter: float = 0.2, **more: Any
) -> TrainingBatches:
    return TrainingBatches(cache, 32, batch_size, Strengths(lightness_jitter=jitter), seed, CPU, **more)


def textured(height: int, width: int) -> np.ndarray:
    """Every place has a grey of its own, and its colour is a known function of the grey."""
    random = np.random.default_rng(height * width)
    grey = random.integers(0, 256, (height, width), dtype=np.uint8)
    return np.stack([grey, grey, 255 - grey, np.full_like(grey, 7)], axis=-1)


@pytest.mark.parametrize("on_device", [False, True])
def test_a_batch_is_a_function_of_seed_and_step(on_device: bool) -> None:
    cache = drawn(*(textured(40 + n, 45) for n in range(5)))
    straight, jumping = batches(cache, on_device=on_device), batches(cache, on_device=on_device)
    seen = [straight.at(step) for step in range(9)]
    for step in (7, 0, 3, 8):
        batch = jumping.at(step)
        assert torch.equal(batch.lightness, seen[step].lightness)
        assert torch.equal(batch.lab, seen[step].lab)
    assert not torch.equal(batches(cache, seed=1, on_device=on_device).at(0).lab, seen[0].lab)
    assert not torch.equal(seen[0].lab, seen[5].lab)


@given(count=st.integers(1, 11), batch_size=st.integers(2, 7), seed=st.integers(0, 9))
def test_every_picture_comes_once_a_pass(count: int, batch_size: int, seed: int) -> None:
    cache = drawn(*(flat(20 * number, 32) for number in range(count)))
    made = batches(cache, batch_size, seed, jitter=0)
    levels = {round(float(to_batch(flat(20 * n, 32)[None], CPU).lightness[0, 0, 0, 0]), 3): n for n in range(count)}
    steps = -(-3 * count // batch_size)
    drawn_order = [
        levels[round(float(value), 3)] for step in range(steps) for value in made.at(step).lightness[:, 0, 0, 0]
    ]
    for number in range(3):
        assert Counter(drawn_order[number * count : (number + 1) * count]) == Counter(range(count))


@pytest.mark.parametrize("on_device", [False, True])
def test_grey_and_colour_are_cropped_and_mirrored_together(on_device: bool) -> None:
    """The blue channel is fixed and green is the negative of the grey: a shift or a lone mirror would break that."""
    cache = drawn(textured(61, 40), textured(40, 83))
    made = batches(cache, batch_size=8, jitter=0, on_device=on_device)
    for step in range(4):
        batch = made.at(step)
        greys = torch.searchsorted(grey_to_lightness(torch.arange(256, dtype=torch.uint8)), batch.lightness - 1e-4)
        crops = torch.cat([greys, greys, 255 - greys, torch.full_like(greys, 7)], dim=1).permute(0, 2, 3, 1)
        expected = to_batch(crops.to(torch.uint8).numpy(), CPU)
        assert float((batch.lab - expected.lab).abs().max()) < 1  # scaled crops are rounded to whole levels


@given(
    shapes=st.lists(st.tuples(st.integers(32, 60), st.integers(32, 60)), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_crops_of_the_device_are_those_of_the_host_within_a_level(shapes: list[tuple[int, int]], seed: int) -> None:
    cache = drawn(*(textured(*shape) for shape in shapes))
    random = np.random.default_rng(seed)
    pictures = random.integers(0, len(shapes), 6)
    heights, widths = np.array(shapes)[pictures].T
    sides = random.integers(32, np.minimum(heights, widths) + 1)
    tops, lefts = (random.integers(0, longest - sides + 1) for longest in (heights, widths))
    crops = Crops(pictures, tops, lefts, sides, random.random(6) < 0.5)
    host, device = HostCrops(cache, 32).cut(crops), DeviceCrops(cache, 32, CPU).cut(crops)
    assert host.shape == device.shape == (6, 32, 32, 4)
    assert host.dtype == device.dtype == torch.uint8
    assert int((host.int() - device.int()).abs().max()) <= 1
    unscaled = torch.from_numpy(sides == 32)
    assert torch.equal(host[unscaled], device[unscaled])


def test_every_place_and_size_of_a_crop_occurs() -> None:
    cache = drawn(textured(40, 48))
    crops = [batches(cache, 16, seed)._crops(step) for seed in range(4) for step in range(8)]
    sides, tops, lefts = (
        np.concatenate([getattr(each, name) for each in crops]) for name in ("sides", "tops", "lefts")
    )
    assert set(sides) == set(range(32, 41))
    assert (tops + sides).max() == 40
    assert (lefts + sides).max() == 48
    assert tops.min() == lefts.min() == 0


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_see_together_what_one_would_see(ranks: int) -> None:
    cache = drawn(*(textured(40 + n, 45) for n in range(5)))
    whole = batches(cache, 7)
    parts = [batches(cache, 7, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert {part.steps_per_epoch for part in parts} == {whole.steps_per_epoch}
    for step in (0, 4):
        seen = [part.at(step) for part in parts]
        assert torch.equal(torch.cat([batch.lab for batch in seen]), whole.at(step).lab)
        assert torch.allclose(torch.cat([batch.lightness for batch in seen]), whole.at(step).lightness)


def test_crops_cut_ahead_are_the_same() -> None:
    cache = drawn(*(textured(40 + n, 45) for n in range(5)))
    plain, ahead = batches(cache), batches(cache)
    ahead._worker = ThreadPoolExecutor(1)
    for step in (0, 1, 2, 7, 3):  # a resumed training jumps
        assert torch.equal(plain.at(step).lab, ahead.at(step).lab)
    ahead._worker.shutdown()


def test_the_cpu_leaves_the_pictures_on_disk() -> None:
    assert not fits(drawn(flat(1)), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("on_device", [True, False])
def test_a_gpu_sees_the_crops_of_the_cpu(on_device: bool) -> None:
    cache, cuda = drawn(*(textured(40 + n, 45) for n in range(5))), torch.device("cuda")
    made = TrainingBatches(cache, 32, 4, Strengths(), 0, cuda, on_device=on_device)
    assert fits(cache, cuda)
    for step in (0, 1, 5):
        cpu, gpu = batches(cache, jitter=0).at(step), made.at(step)
        assert gpu.lab.device.type == "cuda"
        assert float((cpu.lightness - gpu.lightness.cpu()).abs().max()) < 0.6  # one grey level
        assert torch.equal(gpu.lab, made.at(step).lab)


def test_mirrored_and_shifted_crops_both_occur() -> None:
    column = np.arange(64, dtype=np.uint8)
    picture = np.broadcast_to(column[None, :, None] * 4, (64, 64, 4)).copy()
    made = batches(drawn(picture), batch_size=16, jitter=0)
    rising = (made.at(0).lightness[:, 0, 0].diff(dim=1) > 0).all(dim=1)
    assert {True, False} == set(rising.tolist())
    assert len(made.at(0).lightness[:, 0, 0, 0].unique()) > 4


def test_augmentation_changes_the_input_and_not_the_truth() -> None:
    cache = drawn(textured(50, 50))
    plain, jittered = batches(cache, jitter=0).at(3), batches(cache, jitter=0.5).at(3)
    assert torch.equal(plain.lab, jittered.lab)
    assert not torch.allclose(plain.lightness, jittered.lightness)


def test_a_batch_has_the_units_it_says() -> None:
    red = np.broadcast_to(np.array([54, 255, 0, 0], np.uint8), (1, 32, 32, 4))
    batch = to_batch(red.copy(), CPU)
    assert batch.lightness.shape == (1, 1, 32, 32)
    assert batch.lab.shape == (1, 3, 16, 16)
    # CIELAB of sRGB red is 53.24, 80.09, 67.20; the lightness is that of grey 54.
    assert batch.lab[0, 1:, 0, 0].tolist() == pytest.approx([80.09, 67.20], abs=0.05)
    assert float(batch.lab[0, 0, 0, 0]) == pytest.approx(rgb2lab(np.full((1, 1, 3), 54, np.uint8))[0, 0, 0], abs=0.01)


def test_the_validation_sees_every_picture_once_at_its_centre() -> None:
    cache = drawn(*(textured(40 + number, 50) for number in range(5)))
    made = list(centre_crops(cache, 32, 2, CPU))
    assert [len(batch.lab) for batch in made] == [2, 2, 1]
    crop = cache.picture(4)[6:38, 9:41]
    assert torch.equal(made[2].lab, to_batch(crop[None].copy(), CPU).lab)


def test_the_cache_holds_the_pairs_whatever_their_shape(small_settings: Settings) -> None:
    home = small_settings.paths
    cache = open_cache(home, "train", 37, "a" * 64)
    pairs = {pair.photo_id: pair for pair in read_pairs(home, "train")}
    assert set(cache.photo_ids) == pairs.keys()
    for number, photo_id in enumerate(cache.photo_ids):
        pair, picture = pairs[photo_id], cache.picture(number)
        height, width = picture.shape[:2]
        assert min(height, width) == 37
        assert width / height == pytest.approx(pair.gray.shape[1] / pair.gray.shape[0], rel=0.02)
        assert abs(float(picture[..., 0].mean()) - float(pair.gray.mean())) < 1
        assert np.abs(picture[..., 1:].mean(axis=(0, 1)) - pair.color.mean(axis=(0, 1))).max() < 1


@pytest.mark.parametrize("shape", [(32, 500), (500, 33), (7, 9), (64, 64)])
def test_odd_shapes_are_scaled_to_the_shortest_side(shape: tuple[int, int]) -> None:
    pair = Pair("x", np.zeros(shape, np.uint8), np.zeros((*shape, 3), np.uint8), {})
    scaled = data._scaled(pair, 37)
    assert min(scaled.shape[:2]) == 37
    assert max(scaled.shape[:2]) == round(37 * max(shape) / min(shape))


def test_the_cache_is_made_once_a_data_version(small_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_settings.paths
    open_cache(home, "train", 48, "old" * 30)
    open_cache(home, "valid", 32, "old" * 30)
    made = open_cache(home, "train", 37, "new" * 30)

    def no_reading(*_: object) -> None:
        raise AssertionError("the pairs were read again")

    with monkeypatch.context() as patched:
        patched.setattr(data, "read_pairs", no_reading)
        again = open_cache(home, "train", 37, "new" * 30)
        with pytest.raises(AssertionError, match="read again"):
            open_cache(home, "train", 37, "newer" * 30)
    assert np.array_equal(made.pixels, again.pixels)
    assert [path.name for path in (home.pairs / "cache").iterdir()] == ["train-37-newnewnewnewnewn"]


def test_a_cache_that_was_broken_off_is_none(small_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_settings.paths

    def broken_off(home: Home, split: str):  # type: ignore[no-untyped-def]
        yield next(iter(read_pairs(home, split)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(data, "read_pairs", broken_off)
        with pytest.raises(KeyboardInterrupt):
            open_cache(home, "train", 37, "a" * 64)
    assert list((home.pairs / "cache").iterdir()) == []
    killed = home.pairs / "cache" / ".train-37-aaaaaaaaaaaaaaaa.123-abcd.part"
    killed.mkdir()
    (killed / "pixels.bin").write_bytes(b"half")
    assert len(open_cache(home, "train", 37, "a" * 64)) == len(list(read_pairs(home, "train")))
    assert not killed.exists()


def test_an_empty_split_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "read_pairs", lambda home, split: iter(()))
    with pytest.raises(SettingsProblem, match="no valid pairs"):
        open_cache(Home(tmp_path), "valid", 32, "a" * 64)
