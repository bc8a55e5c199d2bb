from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kwcolor_pipeline.colour.lab import grey_to_lightness, rgb_to_lab
from kwcolor_pipeline.training.augmentation import EYE, FILMS, Augmentation, Rows, Strengths
from kwcolor_pipeline.training.data import Batch, to_batch
from kwcolor_pipeline.training.presets import PRESETS

CPU = torch.device("cpu")
FULL = Strengths(
    film_response=1,
    blur=3,
    uneven_light=1,
    lightness_jitter=0.9,
    grain=20,
    fade=1,
    scratches=1,
    blockiness=1,
)
EFFECTS = [field.name for field in fields(Strengths)]
SIZE = 32


def only(effect: str, strength: float | None = None) -> Strengths:
    return Strengths(**{effect: getattr(FULL, effect) if strength is None else strength})


def photographs(count: int = 6, seed: int = 0) -> np.ndarray:
    """Smooth coloured pictures (N, S, S, 4) from black to white, with their own grey."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    waves = random.uniform(1, 9, (count, 3, 2, 1, 1))
    rgb = (128 + 140 * np.sin(waves[:, :, 0] * y + waves[:, :, 1] * x)).clip(0, 255).astype(np.uint8)
    grey = (rgb * np.array([0.3, 0.6, 0.1]).reshape(1, 3, 1, 1)).sum(axis=1).astype(np.uint8)
    return np.concatenate([grey[:, None], rgb], axis=1).transpose(0, 2, 3, 1).copy()


def augmented(strengths: Strengths, crops: np.ndarray, step: int = 0, seed: int = 0, rows: Rows | None = None) -> Batch:
    augmentation, seen = Augmentation(strengths, seed, CPU), rows or Rows(0, len(crops), len(crops))
    return to_batch(crops, CPU, lambda lightness, rgb, eye: augmentation(lightness, rgb, eye, step, seen))


@settings(deadline=None, max_examples=25)
@given(
    strengths=st.builds(
        Strengths, **{name: st.one_of(st.just(0.0), st.floats(0, getattr(FULL, name))) for name in EFFECTS}
    ),
    seed=st.integers(0, 2**40),
    step=st.integers(0, 2**40),
)
def test_the_truth_is_untouched_and_the_input_is_a_lightness(strengths: Strengths, seed: int, step: int) -> None:
    crops = photographs(3)
    crops[0], crops[1] = 0, 255
    plain, changed = to_batch(crops, CPU), augmented(strengths, crops, step, seed)
    assert torch.equal(changed.lab, plain.lab)
    assert changed.lightness.shape == plain.lightness.shape
    assert changed.lightness.dtype == torch.float32
    assert changed.lightness.isfinite().all()
    assert float(changed.lightness.min()) >= 0
    assert float(changed.lightness.max()) <= 100.001


def test_without_strength_nothing_changes() -> None:
    crops = photographs()
    assert torch.equal(augmented(Strengths(), crops).lightness, to_batch(crops, CPU).lightness)


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_effect_changes_the_input_more_with_more_strength(effect: str) -> None:
    crops = photographs(16)
    plain = to_batch(crops, CPU).lightness
    weak, strong = (augmented(only(effect, getattr(FULL, effect) * share), crops) for share in (0.2, 1))
    changes = [float((batch.lightness - plain).abs().mean()) for batch in (weak, strong)]
    assert 0 < changes[0] < changes[1]


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_is_a_function_of_seed_and_step_and_pictures_differ(effect: str) -> None:
    crops = np.repeat(photographs(1, seed=4), 16, axis=0)
    first = augmented(only(effect), crops, step=5).lightness
    augmented(only(effect), crops, step=6)  # a stream that outlived a step would go on from here
    assert torch.equal(first, augmented(only(effect), crops, step=5).lightness)
    assert not torch.equal(first, augmented(only(effect), crops, step=6).lightness)
    assert not torch.equal(first, augmented(only(effect), crops, step=5, seed=1).lightness)
    assert len({row.numpy().tobytes() for row in first}) > 8


def test_the_arguments_stay_as_they_are() -> None:
    lightness, rgb = torch.rand(2, 1, SIZE, SIZE) * 100, torch.rand(2, 3, SIZE, SIZE)
    eye = rgb_to_lab(rgb)[:, :1]
    before = [tensor.clone() for tensor in (lightness, rgb, eye)]
    Augmentation(FULL, 0, CPU)(lightness, rgb, eye, 0, Rows(0, 2, 2))
    assert all(torch.equal(a, b) for a, b in zip(before, (lightness, rgb, eye), strict=True))


def test_augmenting_leaves_torchs_own_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    augmented(FULL, photographs())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("effect", [*EFFECTS, "all"])
def test_processes_see_together_what_one_would_see(effect: str) -> None:
    crops, strengths = photographs(7), FULL if effect == "all" else only(effect)
    whole = augmented(strengths, crops, step=3).lightness
    parts = [augmented(strengths, crops[a:b], 3, rows=Rows(a, b - a, 7)).lightness for a, b in ((0, 4), (4, 7))]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-3)


def test_switching_one_effect_off_leaves_the_others_draws() -> None:
    crops = photographs()
    both = augmented(replace(only("fade"), grain=5), crops)
    grainless = augmented(only("fade"), crops)
    assert float((both.lightness - grainless.lightness).abs().mean()) < 5
    assert torch.corrcoef(torch.stack([both.lightness.flatten(), grainless.lightness.flatten()]))[0, 1] > 0.9


def test_films_see_grey_as_it_is_and_a_blue_sky_differently() -> None:
    assert all(sum(film) == pytest.approx(1) for film in (EYE, *FILMS))
    grey = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None, None], 16, axis=0).repeat(SIZE, axis=2)
    grey = grey.repeat(4, axis=3)
    assert torch.allclose(augmented(only("film_response"), grey).lightness, to_batch(grey, CPU).lightness, atol=0.01)
    sky = np.broadcast_to(np.array([160, 90, 160, 230], np.uint8), (64, SIZE, SIZE, 4)).copy()
    seen = augmented(only("film_response"), sky).lightness[:, 0, 0, 0] - to_batch(sky, CPU).lightness[:, 0, 0, 0]
    assert float(seen.max()) > 5  # a plate for blue
    assert float(seen.min()) < -5  # behind a red filter


def test_a_film_weighs_linear_light() -> None:
    """On the blue-sensitive plate pure blue is as light as grey of (almost) its level."""
    crop = np.broadcast_to(np.array([100, 0, 0, 200], np.uint8), (256, SIZE, SIZE, 4)).copy()
    pair, eye = (float(value) for value in (grey_to_lightness(torch.tensor(100, dtype=torch.uint8)), 0))
    rgb = torch.tensor([0, 0, 200]).view(1, 3, 1, 1) / 255
    eye = float(rgb_to_lab(rgb)[0, 0])
    linear = ((200 / 255 + 0.055) / 1.055) ** 2.4
    plate = 116 * (FILMS[-1][2] * linear) ** (1 / 3) - 16
    lightest = float(augmented(only("film_response"), crop).lightness.max())
    assert pair + 0.9 * (plate - eye) < lightest < pair + plate - eye + 0.01


def test_blur_keeps_the_mean_of_flat_places_and_their_edges() -> None:
    flat = np.full((8, SIZE, SIZE, 4), 90, np.uint8)
    assert torch.allclose(augmented(only("blur"), flat).lightness, to_batch(flat, CPU).lightness, atol=1e-3)
    point = np.zeros((32, SIZE, SIZE, 4), np.uint8)
    point[:, 16, 16] = 255
    blurred = augmented(only("blur", 3), point).lightness
    assert torch.allclose(blurred.sum(dim=(1, 2, 3)), torch.tensor(100.0), rtol=1e-3)
    heights = blurred[:, 0, 16, 16]
    assert float(heights.max()) > 90  # hardly blurred
    assert float(heights.min()) < 5
    assert torch.allclose(blurred, blurred.flip(2, 3).roll((1, 1), (2, 3)), atol=0.01)  # the same to every side
    assert torch.allclose(blurred, blurred.transpose(2, 3), atol=0.01)


def test_jitter_bends_by_one_gamma_a_picture() -> None:
    crops = photographs()
    plain, bent = to_batch(crops, CPU).lightness, augmented(only("lightness_jitter", 0.5), crops).lightness
    gamma = bent.div(100).log() / plain.div(100).log()
    inner = (plain > 10) & (plain < 90)
    for row in range(len(crops)):
        values = gamma[row][inner[row]]
        assert float(values.max() - values.min()) < 1e-3
        assert np.exp(-0.5) <= float(values[0]) <= np.exp(0.5)


def test_fading_raises_black_lowers_white_and_keeps_the_order() -> None:
    ramp = np.repeat(np.linspace(0, 255, SIZE).astype(np.uint8)[None, None, :, None], 64, axis=0).repeat(SIZE, axis=1)
    faded = augmented(only("fade"), ramp.repeat(4, axis=3)).lightness[:, 0, 0]
    assert float(faded[:, 0].max()) > 25
    assert float(faded[:, -1].min()) < 80
    assert (faded.diff(dim=1) >= 0).all()


def test_grain_has_no_mean_and_is_strongest_in_the_middle_tones() -> None:
    def deviations(level: int) -> torch.Tensor:
        crops = np.full((64, SIZE, SIZE, 4), level, np.uint8)
        noise = augmented(only("grain", 4), crops).lightness - to_batch(crops, CPU).lightness
        assert abs(float(noise.mean())) < 0.2
        return noise.std(dim=(1, 2, 3))

    dark, middle, light = (deviations(level) for level in (20, 119, 230))
    assert float(middle.mean()) > 1.3 * float(dark.mean())
    assert float(middle.mean()) > 1.3 * float(light.mean())
    assert 3 < float(middle.max()) < 4.5
    assert float(middle.min()) < 0.5


def test_scratches_are_few_thin_and_mostly_light() -> None:
    crops = np.full((200, SIZE, SIZE, 4), 119, np.uint8)
    change = augmented(only("scratches", 0.3), crops).lightness - 50
    marked = change.abs() > 5
    shares = marked.float().mean(dim=(1, 2, 3))
    assert 0.2 < float((shares == 0).float().mean()) < 0.9
    assert float(shares.mean()) < 0.05
    assert int((change > 5).sum()) > int((change < -5).sum()) > 0
    lines = marked.float().mean(dim=2).max(dim=2).values, marked.float().mean(dim=3).max(dim=2).values
    assert all(float(share.max()) > 0.5 for share in lines)  # along the rows, and along the columns


def test_blockiness_is_what_jpeg_does() -> None:
    """A picture that varies only within blocks of 8 loses its fine waves, and a flat one stays nearly as it is."""
    flat = np.full((8, SIZE, SIZE, 4), 77, np.uint8)
    change = augmented(only("blockiness"), flat).lightness - to_batch(flat, CPU).lightness
    assert float(change.abs().max()) < 1  # half a step of the mean: up to 32 / 8 / 2 grey levels
    board = np.where(np.indices((SIZE, SIZE)).sum(axis=0) % 2, 124, 114).astype(np.uint8)
    board = np.broadcast_to(board[None, ..., None], (32, SIZE, SIZE, 4)).copy()
    contrast = augmented(only("blockiness"), board).lightness.std(dim=(1, 2, 3))
    assert float(contrast.min()) < 0.1 < 1.5 < float(contrast.max())


def test_presets_carry_a_strength_for_every_effect() -> None:
    assert all(hasattr(preset, name) for preset in PRESETS.values() for name in EFFECTS)
    archive, demo = (Strengths.of(PRESETS[name]) for name in ("archive", "demo"))
    for name in EFFECTS:
        assert 0 < getattr(demo, name) <= getattr(archive, name), name
