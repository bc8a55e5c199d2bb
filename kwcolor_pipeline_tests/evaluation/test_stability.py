"""Measures without a truth, of made-up colorizers whose flicker is known."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kwcolor_pipeline.colour.measures import colourfulness, lab_of, uniformity
from kwcolor_pipeline.evaluation.stability import (
    BRIGHTNESS_STEP,
    TargetMeasures,
    TargetMetrics,
    measure_targets,
    target_metrics,
)

_GREYS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def _copy(gray):
    return np.repeat(gray[:, :, None], 3, axis=2)


def _red(gray):
    return np.stack([np.full_like(gray, 255), gray // 4, gray // 4], axis=2)


def _painted(colours):
    """Looks at nothing but the picture's size: each pixel has its place's colour, wherever the picture moved."""
    return lambda gray: colours[: gray.shape[0], : gray.shape[1]]


def _after_brightness(gray):
    """Blue above a mean of 128, else red, in the one lightness."""
    blue = gray.mean() > 128
    return np.broadcast_to(np.array([0, 0, 255] if blue else [255, 0, 0], np.uint8), (*gray.shape, 3))


@settings(max_examples=30)
@given(_GREYS)
def test_grey_results_have_no_colour_and_do_not_flicker(gray):
    assert target_metrics(gray, _copy) == (pytest.approx(0), 0, pytest.approx(0, abs=1e-2), pytest.approx(0, abs=1e-2))


@settings(max_examples=30)
@given(arrays(np.uint8, st.tuples(st.integers(2, 9), st.integers(2, 9))))
def test_colours_that_move_with_the_picture_do_not_flicker_after_a_shift(gray):
    assert target_metrics(gray, _red).shift_flicker == 0


def test_colours_that_stay_where_they_were_flicker_by_the_difference_of_neighbours():
    colours = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    gray = np.full((6, 7), 90, np.uint8)
    chroma = lab_of(colours)[1:]
    down = torch.linalg.vector_norm(chroma[:, :-1] - chroma[:, 1:], dim=0).mean()
    right = torch.linalg.vector_norm(chroma[:, :, :-1] - chroma[:, :, 1:], dim=0).mean()
    measured = target_metrics(gray, _painted(colours))
    assert measured.shift_flicker == pytest.approx(float(down + right) / 2, rel=1e-5)
    assert measured.brightness_flicker == 0
    assert measured.colourfulness == pytest.approx(colourfulness(colours))
    assert measured.uniformity == uniformity(colours)


def test_a_colour_that_turns_over_with_brightness_flickers():
    lab = lab_of(np.array([[[0, 0, 255], [255, 0, 0]]], np.uint8))
    apart = float(torch.linalg.vector_norm(lab[1:, 0, 0] - lab[1:, 0, 1]))
    near = np.full((5, 5), 128 - BRIGHTNESS_STEP // 2, np.uint8)
    # One of two steps crosses the border, and a shift crosses none.
    assert target_metrics(near, _after_brightness).brightness_flicker == pytest.approx(apart / 2, rel=1e-5)
    assert target_metrics(near, _after_brightness).shift_flicker == 0
    far = np.full((5, 5), 60, np.uint8)
    assert target_metrics(far, _after_brightness).brightness_flicker == 0


def test_the_ends_of_the_scale_do_not_wrap_round():
    seen = []

    def watching(gray):
        seen.append(gray)
        return _copy(gray)

    target_metrics(np.array([[0, 255], [1, 254]], np.uint8), watching)
    *_, darker, brighter = seen
    assert darker.tolist() == [[0, 251], [0, 250]]
    assert brighter.tolist() == [[4, 255], [5, 255]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_a_picture_of_one_row_or_column_is_measured(shape):
    measured = target_metrics(np.full(shape, 77, np.uint8), _red)
    assert measured.shift_flicker == 0
    assert measured.colourfulness > 0


def test_photographs_are_measured_in_order_with_intervals_and_read_back():
    random = np.random.default_rng(1)
    photographs = [(f"id{n}", f"Photograph {n}", random.integers(0, 256, (8, 9), dtype=np.uint8)) for n in range(5)]
    done = []
    measures = measure_targets(iter(photographs), _red, done.append, seed=2)
    assert done == [1, 2, 3, 4, 5]
    assert [row.photo_id for row in measures.photographs] == [f"id{n}" for n in range(5)]
    assert set(measures.means) == set(TargetMetrics._fields)
    values = [row.metrics.colourfulness for row in measures.photographs]
    interval = measures.means["colourfulness"]
    assert min(values) <= interval.low < interval.value < interval.high <= max(values)
    assert interval.value == pytest.approx(np.mean(values))
    assert measures == measure_targets(photographs, _red, lambda _: None, seed=2)
    assert TargetMeasures.from_json(json.loads(json.dumps(measures.to_json(), allow_nan=False))) == measures


def test_no_photograph_is_refused():
    with pytest.raises(ValueError, match="no photograph"):
        measure_targets([], _red, lambda _: None)
