import itertools
import math

import pytest
import torch

from kwcolor_pipeline.training.averaging import AveragedNetwork
from kwcolor_pipeline.training.loop import one_cycle, set_rates
from kwcolor_pipeline.training.losses import (
    Lite0Distance,
    ValidationScore,
    chroma_l1,
    critic_hinge,
    generator_hinge,
)


def test_chroma_l1_counts_twenty_units_as_one() -> None:
    assert float(chroma_l1(torch.full((1, 2, 3, 3), 10.0), torch.full((1, 2, 3, 3), -30.0))) == 2


def test_hinge_values() -> None:
    sure, unsure = torch.tensor([2.0, 1.0]), torch.tensor([0.0, 0.0])
    assert float(critic_hinge(sure, -sure)) == 0
    assert float(critic_hinge(unsure, unsure)) == 1
    assert float(critic_hinge(-sure, sure)) == 2.5
    assert float(generator_hinge(torch.tensor([3.0, -1.0]))) == -1


def _score(*pairs: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    score = ValidationScore()
    for predicted, truth in pairs:
        score.add(predicted, truth)
    return score.result()


def test_the_score_ranks_truth_over_pale_over_grey() -> None:
    truth = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 20
    perfect, pale, grey = _score((truth, truth)), _score((truth / 2, truth)), _score((truth * 0, truth))
    assert perfect == {"valid_chroma_error": 0, "valid_chroma_ratio": 1, "score": 0}
    assert 0 < pale["score"] < grey["score"]
    assert grey["valid_chroma_ratio"] == 0
    # Grey's error is the mean chroma, and its chroma lacks as much: one and a half times that.
    assert grey["score"] == pytest.approx(1.5 * float(truth.norm(dim=1).mean()))


def test_the_score_weighs_pictures_by_their_pixels_and_not_by_batch() -> None:
    truth = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(1)) * 20
    predicted = truth.flip(0)
    whole = _score((predicted, truth))
    split = _score((predicted[:4], truth[:4]), (predicted[4:], truth[4:]))
    assert split == pytest.approx(whole)
    assert _score((truth, truth * 0))["valid_chroma_ratio"] > 1e6  # of a grey truth: large, and not a division by zero


def test_lite0_distance_is_zero_for_equals_and_leads_towards_the_truth() -> None:
    distance = Lite0Distance()
    torch.manual_seed(0)
    truth = torch.cat([torch.rand(1, 1, 32, 32) * 100, torch.randn(1, 2, 32, 32) * 20], dim=1)
    assert float(distance(truth, truth)) == 0
    grey = torch.cat([truth[:, :1], torch.zeros(1, 2, 32, 32)], dim=1).requires_grad_()
    loss = distance(grey, truth)
    loss.backward()
    assert grey.grad is not None
    assert grey.grad[:, 1:].isfinite().all()
    assert grey.grad[:, 1:].abs().sum() > 0
    assert not any(weight.requires_grad for weight in distance.parameters())
    with torch.no_grad():
        half = torch.cat([truth[:, :1], truth[:, 1:] / 2], dim=1)
        assert 0 < float(distance(half, truth)) < float(loss)


def test_one_cycle_rises_to_one_and_falls_without_a_jump() -> None:
    rates = [one_cycle(step / 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == pytest.approx(1)
    assert rates.index(max(rates)) == 200
    assert rates[-1] == pytest.approx(1e-3)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.01
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([{"params": [weight], "peak_lr": 0.5}], lr=1)
    set_rates(optimiser, 0.1)
    assert optimiser.param_groups[0]["lr"] == 0.05


def test_the_average_warms_up_and_copies_counters() -> None:
    source = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    average = AveragedNetwork(source, decay=0.9)
    assert not average.network.training
    with torch.no_grad():
        source[0].weight.fill_(1)
        average.network[0].weight.zero_()
        source[1].num_batches_tracked.fill_(7)
    average.update(source, 0)
    assert float(average.network[0].weight) == pytest.approx(0.9)  # decay (1 + 0) / (10 + 0)
    average.network[0].weight.zero_()
    average.update(source, 10_000)
    assert float(average.network[0].weight) == pytest.approx(0.1)
    assert int(average.network[1].num_batches_tracked) == 7
    assert math.isfinite(float(average.network[1].running_var))
