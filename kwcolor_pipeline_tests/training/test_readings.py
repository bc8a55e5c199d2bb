import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kwcolor_pipeline.training.readings import (
    LateValues,
    LossWatch,
    TrainingDiverged,
    check_weights,
    gradient_norms,
    learning_rates,
)

STEPS_PER_EPOCH = 10  # so 30 steps have to agree before a loss counts as exploded


def watched(values: Sequence[float], pieces: int = 1, watch: LossWatch | None = None) -> LossWatch:
    watch = watch or LossWatch(STEPS_PER_EPOCH)
    for piece in np.array_split(np.arange(len(values)), pieces):
        watch.look_at({"loss": [(int(step), values[step]) for step in piece]})
    return watch


def noise(kind: str, count: int, seed: int) -> list[float]:
    random = np.random.default_rng(seed)
    values = {
        "around zero, like a critic's verdict": random.normal(0, 3, count),
        "falling by a thousand": np.geomspace(1, 1e-3, count) * random.lognormal(0, 0.5, count),
        "back from nothing to normal": np.where(np.arange(count) < count * 0.7, 0.0, random.lognormal(0, 1, count)),
        "with single wild steps": np.where(random.random(count) < 0.1, 1e6, 1.0),
        "slowly growing": np.linspace(0.1, 20, count) * random.lognormal(0, 0.3, count),
        "heavy tails": random.standard_t(1.5, count),
    }
    return values[kind].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["around zero, like a critic's verdict", "falling by a thousand", "heavy tails"])
@given(count=st.integers(1, 400), seed=st.integers(0, 999), pieces=st.integers(1, 9))
def test_noise_is_no_explosion(kind: str, count: int, seed: int, pieces: int) -> None:
    assert not watched(noise(kind, count, seed), pieces).suspicious


@pytest.mark.parametrize("kind", ["back from nothing to normal", "slowly growing", "with single wild steps"])
@given(seed=st.integers(0, 999))
def test_neither_is_a_loss_that_comes_back_or_jumps_once(kind: str, seed: int) -> None:
    watched(noise(kind, 300, seed))


@given(calm=st.integers(30, 100), sign=st.sampled_from([-1, 1]), pieces=st.integers(1, 50), scale=st.floats(0.01, 50))
def test_an_explosion_is_found_with_its_step_however_it_is_read(
    calm: int, sign: int, pieces: int, scale: float
) -> None:
    values = [scale * (1 + step % 3) for step in range(calm)]
    values += [sign * 1000 * max(1, scale * 3)] * 30
    with pytest.raises(TrainingDiverged, match=rf"The loss `loss` exploded at step {calm}: over 30 steps.*last good"):
        watched(values, pieces)


def test_a_beginning_explosion_is_suspicious_and_a_spike_is_not() -> None:
    watch = watched([0.5] * 40)
    watched([0.5, 900.0, 0.5, 0.5], watch=watch)
    assert not watch.suspicious
    watched([900.0] * 4, watch=watch)
    assert watch.suspicious
    watched([0.5] * 5, watch=watch)
    assert not watch.suspicious


def test_a_watch_goes_on_from_its_state() -> None:
    first, second = watched([0.5] * 40), LossWatch(STEPS_PER_EPOCH)
    second.load_state(first.state())
    with pytest.raises(TrainingDiverged, match=r"it was about 0\.5"):
        watched([900.0] * 30, watch=second)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_step_without_a_number_is_named(value: float) -> None:
    read = {"critic_loss": [(4, 1.0), (5, value)], "pixel_loss": [(3, value), (4, value)]}
    with pytest.raises(TrainingDiverged, match=rf"`pixel_loss` is {value} at step 3"):
        LossWatch(STEPS_PER_EPOCH).look_at(read)


def test_values_are_read_once_and_averaged_over_the_epoch() -> None:
    values = LateValues()
    values.add(0, {"loss": torch.tensor(1.0), "sometimes": torch.tensor([5.0], dtype=torch.bfloat16)})
    values.add(1, {"loss": torch.tensor(2.0)})
    assert values.read() == {"loss": [(0, 1.0), (1, 2.0)], "sometimes": [(0, 5.0)]}
    assert values.read() == {}
    values.add(2, {"loss": torch.tensor(6.0)})
    assert values.read() == {"loss": [(2, 6.0)]}
    assert values.means() == {"loss": 3.0, "sometimes": 5.0}
    assert values.latest == {"loss": 6.0, "sometimes": 5.0}
    again = LateValues()
    again.load_state(values.state())
    assert again.means() == values.means()
    values.begin_epoch()
    assert values.means() == {}


def test_gradient_norms_and_rates_by_optimiser_and_group() -> None:
    first, second, third = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    one = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.2}])
    other = torch.optim.SGD([third], lr=torch.tensor(0.3))
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert {name: float(norm) for name, norm in gradient_norms({"one": one, "other": other}).items()} == {
        "gradient_norm/one": 5.0
    }
    assert learning_rates({"one": one, "other": other}) == pytest.approx(
        {"learning_rate/one/0": 0.1, "learning_rate/one/1": 0.2, "learning_rate/other": 0.3}
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_and_statistics_are_checked(value: float) -> None:
    network = nn.BatchNorm1d(3)
    check_weights({"generator": network, "nothing": nn.ReLU()}, 3)
    network.running_var[1] = value  # type: ignore[index]
    with pytest.raises(TrainingDiverged, match="weights of the generator are no longer finite at step 3"):
        check_weights({"generator": network}, 3)
