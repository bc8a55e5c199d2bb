"""Evaluations of made-up colorizers whose order is known."""

import json

import numpy as np
import pytest

from kwcolor_pipeline.evaluation.evaluate import COLOURFULNESS_DISTANCE, FRECHET, Evaluation, evaluate


def _photographs(count, seed=0):
    random = np.random.default_rng(seed)
    for index in range(count):
        coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        colour = coarse.repeat(6, axis=0).repeat(6, axis=1)
        yield f"id{index}", f"Photograph {index}", colour.mean(axis=2).astype(np.uint8), colour


def _features(pictures):
    return np.array([[*picture.mean(axis=(0, 1)), *picture.std(axis=(0, 1))] for picture in pictures])


def _pale(gray):
    """Half way from grey to the truth, which it knows by the grey picture."""
    known = {g.tobytes(): c for _, _, g, c in _photographs(8)}
    grey = gray[:, :, None].astype(int)
    return ((grey + known[gray.tobytes()]) // 2).astype(np.uint8)


def _red(gray):
    return np.stack([np.full_like(gray, 255), gray // 4, gray // 4], axis=2)


@pytest.fixture(scope="module")
def evaluation():
    done = []
    outcome = evaluate(_photographs(8), {"pale": _pale, "red": _red}, done.append, features=_features)
    assert done == list(range(1, 9))
    return outcome


def test_the_table_goes_from_the_floor_to_the_ceiling(evaluation):
    assert evaluation.colorizers == ["grey copy", "pale", "red", "truth"]
    assert len(evaluation.photographs) == 4 * 8
    means = {row.colorizer: row.metrics for row in evaluation.table}
    assert means["truth"]["ciede2000"] == (0, 0, 0)
    assert means["truth"][COLOURFULNESS_DISTANCE] == (0, 0, 0)
    assert means["truth"][FRECHET].value == pytest.approx(0, abs=1e-6)
    assert means["grey copy"]["colourfulness"] == (0, 0, 0)
    for metric in ("ciede2000", FRECHET, COLOURFULNESS_DISTANCE):
        assert 0 < means["pale"][metric].value < means["grey copy"][metric].value
    assert means["pale"]["ciede2000"].value < means["red"]["ciede2000"].value


def test_a_difference_is_paired(evaluation):
    difference = evaluation.difference("ciede2000", "pale", "grey copy")
    assert difference.high < 0
    means = {row.colorizer: row.metrics["ciede2000"].value for row in evaluation.table}
    assert difference.value == pytest.approx(means["pale"] - means["grey copy"])


def test_json_is_strict_and_reads_back(evaluation):
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation


def test_the_same_photographs_give_the_same_numbers(evaluation):
    again = evaluate(_photographs(8), {"pale": _pale, "red": _red}, lambda _: None, features=_features)
    assert again == evaluation


def test_the_truth_is_looked_at_once_a_photograph():
    asked = []

    def counting(pictures):
        asked.append(len(pictures))
        return _features(pictures)

    evaluate(_photographs(3), {"red": _red}, lambda _: None, features=counting)
    assert asked == [3, 3, 3]


def test_one_photograph_has_no_frechet_distance():
    outcome = evaluate(_photographs(1), {"red": _red}, lambda _: None, features=_features)
    assert all(FRECHET not in row.metrics for row in outcome.table)


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ValueError, match="no photograph"):
        evaluate([], {"red": _red}, lambda _: None, features=_features)
    with pytest.raises(ValueError, match="another name"):
        evaluate(_photographs(1), {"truth": _red}, lambda _: None, features=_features)
    with pytest.raises(ValueError, match="`half` gave"):
        evaluate(_photographs(1), {"half": lambda gray: _red(gray[::2])}, lambda _: None, features=_features)


def test_an_unknown_colorizer_is_named(evaluation):
    with pytest.raises(KeyError, match="`blue` was not evaluated"):
        evaluation.rows_of("blue")
