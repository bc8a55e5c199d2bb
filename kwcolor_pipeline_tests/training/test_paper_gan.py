import copy
import math

import pytest
import torch
from torch import nn

from kwcolor_pipeline.training.paper_gan import (
    BETAS,
    AdaptiveSwitcher,
    PaperGan,
    critic_loss,
    generator_loss,
    patch_accuracy,
    patch_loss,
)
from kwcolor_pipeline.training.paper_schedule import paper_adam

LN2 = math.log(2)


def test_losses_by_hand() -> None:
    unsure = torch.zeros(2, 3)
    assert float(patch_loss(unsure, torch.tensor([1.0, 0.0]))) == pytest.approx(LN2)
    assert float(critic_loss(unsure, unsure)) == pytest.approx(LN2)
    sure = torch.full((1, 2), math.log(3))  # sigmoid 3/4
    assert float(critic_loss(sure, -sure)) == pytest.approx(-math.log(0.75))
    assert float(critic_loss(-sure, sure)) == pytest.approx(-math.log(0.25))
    assert float(critic_loss(sure, sure)) == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2)
    loss = generator_loss(-sure, torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2), weights=(2.0, 100.0))
    assert float(loss.adversarial) == pytest.approx(-math.log(0.25))
    assert float(loss.pixel) == pytest.approx(0.25)
    assert float(loss.total) == pytest.approx(-2 * math.log(0.25) + 25)


def test_labels_count_by_picture_and_patches_by_mean() -> None:
    logits = torch.tensor([[2.0, -1.0], [-3.0, 0.5]])
    labels = torch.tensor([1, 0])
    expected = sum(math.log1p(math.exp(x)) for x in (-2.0, 1.0, -3.0, 0.5)) / 4
    assert float(patch_loss(logits, labels)) == pytest.approx(expected)
    assert float(patch_accuracy(logits, labels)) == 0.5
    assert float(patch_accuracy(logits, labels, threshold=0.7)) == 0.75
    assert float(patch_accuracy(torch.zeros(2, 2), labels)) == 0.5  # exactly at the threshold counts as generated


def test_the_critic_learns_until_its_loss_is_low_and_then_each_in_turn() -> None:
    switcher = AdaptiveSwitcher()
    phases = []
    for loss in (0.69, 0.65, 0.649, 80.0, 0.7, 0.6, 0.1, 0.2):
        phases.append(switcher.phase)
        switcher.after_step(loss)
    assert phases == ["critic", "critic", "critic", "generator", "critic", "critic", "generator", "critic"]


def test_thresholds_of_both_or_of_none() -> None:
    both = AdaptiveSwitcher(critic_threshold=0.5, generator_threshold=2.0, phase="generator")
    both.after_step(2.0)
    assert both.phase == "generator"
    both.after_step(1.9)
    assert both.phase == "critic"
    both.after_step(math.nan)
    assert both.phase == "critic"
    none = AdaptiveSwitcher(critic_threshold=None)
    none.after_step(9.0)
    assert none.phase == "generator"


def _generator() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))


def _critic() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 2), nn.Dropout2d(0.5), nn.Conv2d(4, 1, 2), nn.Flatten())


class _Both:
    """A small generator and critic, the way PaperGan is given them."""

    def __init__(self, threshold: float | None, *, as_original: bool = False, decay: float = 0.0) -> None:
        torch.manual_seed(0)
        self.generator, self.critic = _generator(), _critic()
        learning = list(self.generator[1:].parameters())  # type: ignore[index]
        self.optimisers = [
            paper_adam(self.generator, [learning], [1.0], betas=BETAS, weight_decay=decay),
            paper_adam(self.critic, [self.critic.parameters()], [1.0], betas=BETAS, weight_decay=decay),
        ]
        switcher = AdaptiveSwitcher(critic_threshold=threshold)
        self.gan = PaperGan(
            self.generator, self.critic, *self.optimisers, rate=0.01, switcher=switcher, as_original=as_original
        )

    def step(self) -> tuple[str, bool, bool, bool]:
        """Who learned, and whether the encoder, the rest of the generator and the critic changed."""
        parts = {
            "encoder": self.generator[0],  # type: ignore[index]
            "decoder": self.generator[1:],  # type: ignore[index]
            "critic": self.critic,
        }
        before = {name: [weight.clone() for weight in part.parameters()] for name, part in parts.items()}
        done = self.gan.step(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4))
        changed = [
            any(not torch.equal(a, b) for a, b in zip(before[name], part.parameters(), strict=True))
            for name, part in parts.items()
        ]
        return done.phase, *changed  # type: ignore[return-value]

    @property
    def seen(self) -> int:
        """Batches that the generator's batch norm took its statistics from."""
        return int(self.generator[1].num_batches_tracked)  # type: ignore[index,arg-type]


def test_only_the_one_whose_turn_it_is_learns() -> None:
    both = _Both(None, decay=0.1)
    assert [both.step() for _ in range(4)] == [
        ("critic", False, False, True),
        ("generator", False, True, False),
        ("critic", False, False, True),
        ("generator", False, True, False),
    ]
    assert all(weight.grad is None for weight in [*both.generator.parameters(), *both.critic.parameters()])


def test_the_critic_stays_until_it_is_better_than_the_threshold() -> None:
    both = _Both(-1.0)  # never
    assert {both.step()[0] for _ in range(5)} == {"critic"}
    assert both.seen == 0


def test_modes_and_rates_of_each_phase() -> None:
    both = _Both(None)
    assert both.step()[0] == "critic"
    assert (both.generator.training, both.critic.training) == (False, True)
    assert both.optimisers[1].param_groups[0]["lr"] == pytest.approx(0.05)
    assert both.step()[0] == "generator"
    assert (both.generator.training, both.critic.training) == (True, False)
    assert both.optimisers[0].param_groups[0]["lr"] == pytest.approx(0.01)
    both.gan.rate = 0.002
    both.step()
    assert both.optimisers[1].param_groups[0]["lr"] == pytest.approx(0.01)


def test_losses_are_reported_by_who_learned() -> None:
    both = _Both(None)
    grey, truth = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert set(both.gan.step(grey, truth).losses) == {"critic_loss"}
    done = both.gan.step(grey, truth)
    parts = {name: float(loss) for name, loss in done.losses.items()}
    assert parts["generator_loss"] == pytest.approx(parts["adversarial_loss"] + 100 * parts["pixel_loss"], rel=1e-5)
    assert not any(loss.requires_grad for loss in done.losses.values())


def test_validation_changes_nothing() -> None:
    both = _Both(None)
    both.step()
    assert both.gan.switcher.phase == "generator"
    both.step()
    seen = both.seen
    both.gan.begin_validation()
    assert (both.generator.training, both.critic.training) == (False, False)
    both.generator(torch.randn(2, 3, 4, 4))
    assert both.seen == seen
    both.gan.begin_epoch()
    assert both.step()[0] == "critic"
    assert not both.generator.training


def test_the_originals_epoch_begins_with_both_in_training_mode() -> None:
    both = _Both(-1.0, as_original=True)
    both.step()
    both.step()
    assert both.generator.training
    assert both.seen == 2
    both = _Both(None, as_original=True)
    both.step()
    both.step()
    both.step()
    assert not both.generator.training
    assert both.seen == 2  # the critic's first step and the generator's own


def test_the_originals_validation_trains_and_gives_the_turn_to_the_generator() -> None:
    both = _Both(-1.0, as_original=True)
    both.step()
    both.gan.begin_validation()
    assert (both.generator.training, both.critic.training) == (True, False)
    both.gan.begin_epoch()
    assert both.step()[0] == "generator"


def test_the_originals_waiting_network_decays() -> None:
    both = _Both(None, as_original=True, decay=0.1)
    assert both.step() == ("critic", False, False, True)  # the generator has not learned yet: nothing to step
    assert both.step() == ("generator", False, True, True)
    assert both.step() == ("critic", False, True, True)


def test_a_resumed_run_takes_the_same_turns() -> None:
    torch.manual_seed(1)
    pictures = [(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)) for _ in range(8)]

    def run(both: _Both, steps: range) -> None:
        for step in steps:
            torch.manual_seed(step)
            both.gan.step(*pictures[step])

    for as_original in (False, True):
        whole, broken, resumed = (_Both(0.69, as_original=as_original, decay=0.1) for _ in range(3))
        run(whole, range(8))
        run(broken, range(3))
        resumed.generator.load_state_dict(broken.generator.state_dict())
        resumed.critic.load_state_dict(broken.critic.state_dict())
        for mine, its in zip(resumed.optimisers, broken.optimisers, strict=True):
            mine.load_state_dict(copy.deepcopy(its.state_dict()))
        resumed.gan.load_state_dict(broken.gan.state_dict())
        run(resumed, range(3, 8))
        assert resumed.gan.state_dict() == whole.gan.state_dict()
        for network, other in ((resumed.generator, whole.generator), (resumed.critic, whole.critic)):
            assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
