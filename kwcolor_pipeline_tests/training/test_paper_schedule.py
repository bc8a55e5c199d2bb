import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from kwcolor_pipeline.training.paper_schedule import OneCycle, freeze_all_but_last, layer_rates, paper_adam


@pytest.mark.parametrize("warm_up", [0.25, 0.3, 0.8])
def test_one_cycle_rises_once_and_falls_once(warm_up: float) -> None:
    cycle = OneCycle(warm_up=warm_up)
    rates = [cycle.rate(step / 1000) for step in range(1001)]
    momenta = [cycle.momentum(step / 1000) for step in range(1001)]
    assert (rates[0], max(rates), rates[-1]) == pytest.approx((1 / 25, 1, 1e-5))
    assert (momenta[0], min(momenta), momenta[-1]) == pytest.approx((0.95, 0.85, 0.95))
    top = round(warm_up * 1000)
    assert rates.index(max(rates)) == momenta.index(min(momenta)) == top
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.01


def test_one_cycle_is_half_way_in_the_middle_of_each_half() -> None:
    cycle = OneCycle(warm_up=0.5, start_divisor=10, end_divisor=100, momenta=(0.9, 0.8, 0.7))
    assert cycle.rate(0.25) == pytest.approx(0.55)
    assert cycle.rate(0.75) == pytest.approx(0.505)
    assert cycle.momentum(0.25) == pytest.approx(0.85)
    assert cycle.momentum(0.75) == pytest.approx(0.75)


@pytest.mark.parametrize("warm_up", [0.0, 1.0, -1.0, float("nan")])
def test_a_cycle_needs_a_rise_and_a_fall(warm_up: float) -> None:
    with pytest.raises(ValueError, match="part of the training"):
        OneCycle(warm_up=warm_up)


def test_rates_in_equal_ratios() -> None:
    assert layer_rates(1e-6, 1e-3, 3) == pytest.approx([1e-6, 3.1623e-5, 1e-3], rel=1e-4)
    assert layer_rates(1e-6, 1e-3, 1) == [1e-3]
    assert layer_rates(1.0, 16.0, 5) == pytest.approx([1, 2, 4, 8, 16])


def _network() -> nn.Sequential:
    """Two groups: a convolution with batch norm, and one under weight norm."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), nn.Sequential(weight_norm(nn.Conv2d(2, 1, 1)))
    )


def _groups(network: nn.Sequential) -> list[list[nn.Parameter]]:
    return [list(part.parameters()) for part in network]


def _names(network: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, parameter in network.named_parameters() if id(parameter) in wanted}


def test_freezing_leaves_the_last_group_and_the_norms() -> None:
    network = _network()
    last = {"1.0.bias", "1.0.parametrizations.weight.original0", "1.0.parametrizations.weight.original1"}
    for norms_learn, expected in ((True, {"0.1.weight", "0.1.bias"} | last), (False, last)):
        freeze_all_but_last(network, _groups(network), norms_learn=norms_learn)
        assert {name for name, weight in network.named_parameters() if weight.requires_grad} == expected


def test_norms_and_biases_do_not_decay_unless_asked() -> None:
    network = _network()
    optimiser = paper_adam(network, _groups(network), [0.1, 0.2], weight_decay=0.5)
    found = [
        (_names(network, group["params"]), group["peak_lr"], group["weight_decay"]) for group in optimiser.param_groups
    ]
    weights = {"1.0.parametrizations.weight.original0", "1.0.parametrizations.weight.original1"}
    assert found == [
        ({"0.0.weight"}, 0.1, 0.5),
        ({"0.0.bias", "0.1.weight", "0.1.bias"}, 0.1, 0.0),
        (weights, 0.2, 0.5),
        ({"1.0.bias"}, 0.2, 0.0),
    ]
    decaying = paper_adam(network, _groups(network), [0.1, 0.2], weight_decay=0.5, decay_norm_and_bias=True)
    assert [group["weight_decay"] for group in decaying.param_groups] == [0.5, 0.5]


def test_the_cycle_moves_every_group_below_its_own_peak() -> None:
    network = _network()
    optimiser = paper_adam(network, _groups(network), [0.1, 0.2])
    OneCycle(warm_up=0.25).apply(optimiser, 0.25)
    assert {(group["peak_lr"], group["lr"]) for group in optimiser.param_groups} == {(0.1, 0.1), (0.2, 0.2)}
    assert {group["betas"] for group in optimiser.param_groups} == {(0.85, 0.99)}
    OneCycle(warm_up=0.25).apply(optimiser, 0)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1 / 25)


@pytest.mark.parametrize("fused", [False, True])
def test_two_steps_of_adam_by_hand(fused: bool) -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    optimiser = paper_adam(layer, [layer.parameters()], [0.1], weight_decay=0.5, fused=fused)
    weight, mean, square = 2.0, 0.0, 0.0
    for step, (gradient, momentum) in enumerate(((3.0, 0.95), (-1.0, 0.85)), start=1):
        layer.weight.grad = torch.tensor([[gradient]])
        optimiser.param_groups[0]["betas"] = (momentum, 0.99)
        optimiser.step()
        weight *= 1 - 0.1 * 0.5  # first the decay, by the rate
        mean = momentum * mean + (1 - momentum) * gradient
        square = 0.99 * square + 0.01 * gradient**2
        # The bias is corrected with the momentum of this step, though others went into the mean.
        weight -= 0.1 * (mean / (1 - momentum**step)) / ((square / (1 - 0.99**step)) ** 0.5 + 1e-5)
        assert layer.weight.item() == pytest.approx(weight, rel=1e-5)
