"""Which of FID and LPIPS are at hand, and what they come to over photographs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kwcolor_pipeline.evaluation.intervals import frechet_with_interval, mean_with_interval
from kwcolor_pipeline.evaluation.perceptual import Fid, LpipsMean, Perceptual, open_perceptual
from kwcolor_pipeline.networks import lpips
from kwcolor_pipeline.networks.inception import fid_network
from kwcolor_pipeline.settings import SettingsProblem


def _features(pictures):
    return np.array([[*picture.mean(axis=(0, 1)), *picture.std(axis=(0, 1))] for picture in pictures])


def _distance(truth, result):
    return float(np.abs(truth.astype(int) - result).mean())


def _pairs(count):
    random = np.random.default_rng(0)
    return [tuple(random.integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)) for _ in range(count)]


def test_without_files_both_are_left_out_with_a_reason():
    networks, reasons = open_perceptual(None, None, "cpu")
    assert networks == Perceptual(None, None)
    assert [reason.partition(" ")[0] for reason in reasons] == ["FID", "LPIPS"]
    assert "pt_inception-2015-12-05-6726825d.pth" in reasons[0]
    assert "alexnet-owt-7be5be79.pth" in reasons[1]


def test_a_named_file_is_opened_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "inception.pth"
    torch.save(fid_network().state_dict(), file)
    networks, reasons = open_perceptual(file, None, "cpu")
    assert networks.inception is not None
    assert networks.lpips is None
    assert len(reasons) == 1
    monkeypatch.setattr("kwcolor_pipeline.networks.lpips.heads_in_package", lambda: None)
    with pytest.raises(SettingsProblem, match="pip install --no-deps lpips"):
        open_perceptual(None, file, "cpu")
    monkeypatch.setattr("kwcolor_pipeline.networks.lpips.heads_in_package", lambda: tmp_path / "heads.pth")
    with pytest.raises(SettingsProblem, match=lpips.ALEXNET_FILE):
        open_perceptual(None, file, "cpu")


def test_fid_is_the_frechet_distance_of_inceptions_features():
    metric = Fid(_features, seed=4)
    for truth, result in _pairs(6):
        metric.update(truth, result)
    truths, results = zip(*_pairs(6), strict=True)
    assert metric.compute() == frechet_with_interval(_features(truths), _features(results), seed=4)
    metric.reset()
    with pytest.raises(ValueError, match="no photographs"):
        metric.compute()


def test_lpips_is_the_mean_over_photographs():
    metric = LpipsMean(_distance, seed=4)
    for truth, result in _pairs(6):
        metric.update(truth, result)
    assert metric.compute() == mean_with_interval([_distance(*pair) for pair in _pairs(6)], seed=4)
    metric.reset()
    with pytest.raises(ValueError, match="no values"):
        metric.compute()
