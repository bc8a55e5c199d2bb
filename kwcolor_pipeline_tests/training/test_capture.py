import pytest
import torch
from torch import nn

from kwcolor_pipeline.training.capture import CapturedUpdate
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.update import update

STEPS = 12


def batch_of(seed: int, count: int = 4, device: str = "cpu") -> Batch:
    drawn = torch.Generator().manual_seed(seed)
    lightness = torch.rand(count, 1, 16, 16, generator=drawn)
    lab = torch.rand(count, 3, 16, 16, generator=drawn)
    return Batch(lightness.to(device), lab.to(device), lab.to(device))


class Learner:
    """A small network with batch statistics, and both ways to update it."""

    def __init__(self, device: str, captured: bool):
        torch.manual_seed(0)
        layers = (nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
        self.network = nn.Sequential(*layers).to(device).train()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-2, fused=True)
        alone = Processes.single(torch.device(device))
        self._captured = CapturedUpdate(self.optimiser, self.losses, alone) if captured else None
        self._alone = alone

    def losses(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = (self.network(batch.lightness) - batch.lab[:, 1:]).abs().mean()
        return loss, {"loss": loss}

    def step(self, batch: Batch, number: int) -> torch.Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = 1e-2 / (1 + number)  # a rate that is recorded once and for all would show
        if self._captured is not None:
            return self._captured(batch)["loss"]
        return update(self.optimiser, [batch], self.losses, self._alone)["loss"]


def test_the_first_steps_are_plain_updates() -> None:
    plain, captured = Learner("cpu", captured=False), Learner("cpu", captured=True)
    for number in range(3):
        assert torch.equal(plain.step(batch_of(number), number), captured.step(batch_of(number), number))
    for ours, theirs in zip(plain.network.parameters(), captured.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_step_learns_what_a_plain_one_does() -> None:
    plain, captured = Learner("cuda", captured=False), Learner("cuda", captured=True)
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for number in range(STEPS):
        batch = batch_of(number, device="cuda")
        kept.append((plain.step(batch, number), captured.step(batch, number)))
    smaller = batch_of(STEPS, count=2, device="cuda")
    kept.append((plain.step(smaller, STEPS), captured.step(smaller, STEPS)))
    batch = batch_of(STEPS + 1, device="cuda")
    kept.append((plain.step(batch, STEPS + 1), captured.step(batch, STEPS + 1)))
    # Read late, as the training loop does: no step may overwrite the loss of another.
    for theirs, ours in kept:
        assert float(ours) == pytest.approx(float(theirs), rel=1e-4)
    states = (learner.network.state_dict().values() for learner in (plain, captured))
    for theirs, ours in zip(*states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
