"""Evaluations of made-up colorizers whose order is known."""

import json

import numpy as np
import pytest
import torch

from kwcolor_pipeline.evaluation import evaluate as evaluate_module
from kwcolor_pipeline.evaluation.evaluate import (
    COLOURFULNESS_DISTANCE,
    FRECHET,
    PHOTOGRAPH_METRICS,
    Evaluation,
    evaluate,
)
from kwcolor_pipeline.evaluation.feature_cache import FeatureCache
from kwcolor_pipeline.evaluation.intervals import paired_p_value
from kwcolor_pipeline.evaluation.metrics import OF_A_PHOTOGRAPH, Compared, Seen, cosine_distance, measure
from kwcolor_pipeline.evaluation.perceptual import FID, LPIPS, Perceptual


def _photographs(count, seed=0):
    random = np.random.default_rng(seed)
    for index in range(count):
        coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        colour = coarse.repeat(6, axis=0).repeat(6, axis=1)
        yield f"id{index}", f"Photograph {index}", colour.mean(axis=2).astype(np.uint8), colour


def _features(pictures):
    return np.array([[*picture.mean(axis=(0, 1)), *picture.std(axis=(0, 1))] for picture in pictures])


def _pale(gray, photo_id):
    """Half way from grey to the truth, which it knows by the grey picture."""
    known = {g.tobytes(): c for _, _, g, c in _photographs(8)}
    grey = gray[:, :, None].astype(int)
    return ((grey + known[gray.tobytes()]) // 2).astype(np.uint8)


def _red(gray, photo_id):
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


class _Counting:
    def __init__(self):
        self.pictures = 0

    def __call__(self, pictures):
        self.pictures += len(pictures)
        return _features(pictures)


def test_the_truth_is_looked_at_once_a_photograph():
    counting = _Counting()
    evaluate(_photographs(3), {"red": _red, "redder": _red}, lambda _: None, features=counting)
    assert counting.pictures == 3 * (2 + 2)


def test_every_row_has_the_figures_of_the_metrics_own_classes(evaluation):
    for (photo_id, _, gray, truth), row in zip(_photographs(8), evaluation.rows_of("red"), strict=True):
        result = _red(gray, photo_id)
        pair = Compared(Seen(truth), Seen(result))
        expected = [metric.of(pair) for metric in OF_A_PHOTOGRAPH[:-1]]
        expected.append(cosine_distance(*_features([truth, result])))
        assert row.photo_id == photo_id
        assert row.metrics == pytest.approx(tuple(expected), rel=1e-5)
    assert evaluation.rows_of("truth")[0].metrics[:4] == (100, 1, 0, 0)
    assert evaluation.rows_of("truth")[0].metrics.lite0_distance == 0
    assert evaluation.rows_of("grey copy")[0].metrics.uniformity == 0
    assert set(evaluation.table[0].metrics) == {*PHOTOGRAPH_METRICS, COLOURFULNESS_DISTANCE, FRECHET}


def test_a_p_value_is_that_of_the_paired_values(evaluation):
    # All eight photographs are nearer to the truth when pale than when red: two of the 256 ways are as far.
    assert evaluation.p_value("ciede2000", "pale", "red") == 2 / 2**8
    assert evaluation.p_value("ciede2000", "red", "pale") == 2 / 2**8
    assert evaluation.p_value("ciede2000", "red", "red") == 1
    values = [evaluation.values(name, "ssim") for name in ("pale", "grey copy")]
    assert evaluation.p_value("ssim", "pale", "grey copy") == paired_p_value(*values, evaluation.seed)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 21])
@pytest.mark.parametrize("beside", [False, True])
def test_no_photograph_is_lost_or_exchanged_between_groups(count, beside, monkeypatch):
    """In groups of eight, measured after each or beside the next, as where there is a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: beside)
    outcome = evaluate(_photographs(count), {"red": _red}, lambda _: None, features=_features)
    assert [row.photo_id for row in outcome.rows_of("red")] == [f"id{index}" for index in range(count)]
    for (photo_id, _, gray, truth), row in zip(_photographs(count), outcome.rows_of("red"), strict=True):
        pair = Compared(Seen(truth), Seen(_red(gray, photo_id)))
        assert row.metrics.ciede2000 == pytest.approx(OF_A_PHOTOGRAPH[2].of(pair))


def test_a_colorizer_is_given_the_photographs_id():
    outputs = {photo_id: truth for photo_id, _, _, truth in _photographs(3)}
    outcome = evaluate(
        _photographs(3), {"folder": lambda gray, photo_id: outputs[photo_id]}, lambda _: None, features=_features
    )
    assert outcome.values("folder", "ciede2000") == [0, 0, 0]
    del outputs["id2"]
    with pytest.raises(KeyError, match="id2"):
        evaluate(_photographs(3), {"folder": lambda gray, photo_id: outputs[photo_id]}, lambda _: None)


def test_what_is_cached_is_not_computed_again_and_changes_nothing(tmp_path, evaluation, monkeypatch):
    colorizers = {"pale": _pale, "red": _red}
    asked, measured = [], []
    monkeypatch.setattr(evaluate_module, "measure", lambda *given: measured.append(given) or measure(*given))
    for _ in range(2):
        counting = _Counting()
        cache = FeatureCache(tmp_path, "1")
        outcome = evaluate(_photographs(8), colorizers, lambda _: None, features=counting, cache=cache)
        assert outcome == evaluation
        asked.append(counting.pictures)
    assert asked == [8 * 4, 8 * 2]
    assert len(measured) == 8 * 4 + 8 * 2
    counting = _Counting()
    other = [(photo_id, title, 255 - gray, truth) for photo_id, title, gray, truth in _photographs(2)]
    evaluate(other, {"red": _red}, lambda _: None, features=counting, cache=FeatureCache(tmp_path, "1"))
    assert counting.pictures == 2 * 3


def test_grey_copies_and_truths_alone_need_no_network_once_they_are_cached(tmp_path):
    counting = _Counting()
    for _ in range(2):
        cache = FeatureCache(tmp_path, "1")
        evaluate(_photographs(3), {}, lambda _: None, features=counting, cache=cache)
    assert counting.pictures == 3 * 2


def test_fid_and_lpips_are_in_the_table_where_their_networks_are():
    def distance(truth, result):
        return float(np.abs(truth.astype(int) - result).mean())

    networks = Perceptual(inception=_features, lpips=distance)
    outcome = evaluate(_photographs(5), {"red": _red}, lambda _: None, features=_features, perceptual=networks)
    table = {row.colorizer: row.metrics for row in outcome.table}
    assert table["red"][FID] == table["red"][FRECHET]
    assert table["truth"][FID] == table["truth"][LPIPS] == (0, 0, 0)
    expected = np.mean([distance(truth, _red(gray, "")) for _, _, gray, truth in _photographs(5)])
    assert table["red"][LPIPS].value == pytest.approx(expected)
    assert Evaluation.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
    one = evaluate(_photographs(1), {"red": _red}, lambda _: None, features=_features, perceptual=networks)
    assert all(FID not in row.metrics and LPIPS in row.metrics for row in one.table)


def test_one_photograph_has_no_frechet_distance():
    outcome = evaluate(_photographs(1), {"red": _red}, lambda _: None, features=_features)
    assert all(FRECHET not in row.metrics for row in outcome.table)


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ValueError, match="no photograph"):
        evaluate([], {"red": _red}, lambda _: None, features=_features)
    with pytest.raises(ValueError, match="another name"):
        evaluate(_photographs(1), {"truth": _red}, lambda _: None, features=_features)
    with pytest.raises(ValueError, match="`half` gave"):
        evaluate(
            _photographs(1),
            {"half": lambda gray, photo_id: _red(gray[::2], photo_id)},
            lambda _: None,
            features=_features,
        )


def test_an_unknown_colorizer_is_named(evaluation):
    with pytest.raises(KeyError, match="`blue` was not evaluated"):
        evaluation.rows_of("blue")
