"""The loop on a made-up stage; the real ones are in ``test_stages``."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training import loop
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.loop import Stage, TrainingDiverged, train

STEPS, STEPS_PER_EPOCH = 20, 6


class Line(Stage):
    """Learns a line with dropout, so that the random state matters too."""

    def __init__(self, scores: list[float] | None = None) -> None:
        torch.manual_seed(3)
        self.network = nn.Sequential(nn.Linear(1, 32), nn.Dropout(0.1), nn.Linear(32, 1))
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=0.02)
        self.networks = {"line": self.network}
        self.optimisers = {"line": self.optimiser}
        self.scores = scores
        self.at_epoch: list[dict[str, torch.Tensor]] = []

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        self.network.train()
        loss = (self.network(batch.lightness) - batch.lab).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"train_loss": loss.detach()}

    def validate(self) -> dict[str, float]:
        self.at_epoch.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        self.network.eval()
        x = torch.linspace(-1, 1, 16)[:, None]
        with torch.no_grad():
            own = float((self.network(x) - 3 * x).square().mean())
        return {"score": own if self.scores is None else self.scores[len(self.at_epoch) - 1]}

    def result(self) -> nn.Module:
        return self.network


def batch_of(step: int) -> Batch:
    x = torch.rand(8, 1, generator=torch.Generator().manual_seed(step)) * 2 - 1
    return Batch(x, 3 * x)


def trained(
    checkpoint: Path,
    stage: Stage | None = None,
    batches: Callable[[int], Batch] = batch_of,
    asked: str = "this",
    steps: int = STEPS,
    on_epoch: Callable[[dict[str, float]], None] = lambda record: None,
) -> tuple[Any, list[dict[str, float]], int]:
    stage = stage or Line()
    history, best = train(
        stage,
        batches,
        steps=steps,
        steps_per_epoch=STEPS_PER_EPOCH,
        checkpoint=checkpoint,
        asked=asked,
        label="test",
        on_epoch=on_epoch,
    )
    return stage, history, best


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def interrupted_at(step: int) -> Callable[[int], Batch]:
    def batches(asked: int) -> Batch:
        if asked == step:
            raise KeyboardInterrupt
        return batch_of(asked)

    return batches


def test_the_loss_falls_and_epochs_are_told_in_order(tmp_path: Path) -> None:
    told: list[dict[str, float]] = []
    _, history, best = trained(tmp_path / "checkpoint", steps=120, on_epoch=told.append)
    assert told == history
    assert [record["epoch"] for record in history] == list(range(1, 21))
    assert [record["step"] for record in history] == list(range(6, 121, 6))
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 4
    assert history[best - 1]["score"] == min(record["score"] for record in history)
    assert all(record["images_per_second"] > 0 for record in history)


def test_a_last_short_epoch_is_validated_too(tmp_path: Path) -> None:
    _, history, _ = trained(tmp_path / "checkpoint")
    assert [record["step"] for record in history] == [6, 12, 18, 20]


@pytest.mark.parametrize("step", [1, 5, 6, 7, 12, 19])
def test_what_was_interrupted_goes_on_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
    whole, history, best = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", batches=interrupted_at(step))
    seen: list[int] = []

    def watched(asked: int) -> Batch:
        seen.append(asked)
        return batch_of(asked)

    torch.rand(5)  # the state of the random numbers comes from the checkpoint and not from here
    again, history_again, best_again = trained(tmp_path / "cut", batches=watched)
    assert seen == list(range(step, STEPS))
    assert same(whole.network.state_dict(), again.network.state_dict())
    assert best_again == best
    timing = {"seconds", "images_per_second"}
    for first, second in zip(history, history_again, strict=True):
        assert {k: v for k, v in first.items() if k not in timing} == {
            k: v for k, v in second.items() if k not in timing
        }


def test_a_checkpoint_of_another_request_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
    whole, _, _ = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", batches=interrupted_at(9), asked="another")
    seen: list[int] = []
    again, _, _ = trained(tmp_path / "cut", batches=lambda step: seen.append(step) or batch_of(step))
    assert seen[0] == 0
    assert same(whole.network.state_dict(), again.network.state_dict())


def test_a_damaged_checkpoint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", batches=interrupted_at(9))
    whole = (tmp_path / "cut").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        (tmp_path / "cut").write_bytes(damaged)
        with pytest.raises(SettingsProblem, match="cut is damaged; delete it"):
            trained(tmp_path / "cut")


def test_a_loss_that_is_no_number_is_named_with_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
    checkpoint = tmp_path / "checkpoint"

    def poisoned(step: int) -> Batch:
        batch = batch_of(step)
        return Batch(batch.lightness, batch.lab * (math.nan if step == 9 else 1))

    with pytest.raises(TrainingDiverged, match="`train_loss` is nan at step 9; the last good checkpoint is kept"):
        trained(checkpoint, batches=poisoned)
    kept = torch.load(checkpoint, weights_only=True)
    assert kept["progress"]["step"] == 9
    assert all(tensor.isfinite().all() for tensor in kept["networks"]["line"].values())
    again, _, _ = trained(checkpoint)
    whole, _, _ = trained(tmp_path / "whole")
    assert same(whole.network.state_dict(), again.network.state_dict())


def test_the_step_is_right_when_losses_are_only_read_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    def poisoned(step: int) -> Batch:
        batch = batch_of(step)
        return Batch(batch.lightness, batch.lab * (math.inf if step == 8 else 1))

    with pytest.raises(TrainingDiverged, match="is inf at step 8"):
        trained(tmp_path / "checkpoint", batches=poisoned)


def test_broken_weights_never_reach_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finite loss whose gradient is not: the weights are broken and every loss so far looks well."""
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)

    class Breaking(Line):
        def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
            losses = super().step(batch, step, progress)
            if step == 8:
                with torch.no_grad():
                    self.network[0].weight[0] = math.nan
            return losses

    with pytest.raises(TrainingDiverged, match="weights of the line are no longer finite at step 9"):
        trained(tmp_path / "checkpoint", stage=Breaking())
    assert torch.load(tmp_path / "checkpoint", weights_only=True)["progress"]["step"] == 8


def test_the_best_epoch_is_what_comes_back(tmp_path: Path) -> None:
    stage, history, best = trained(tmp_path / "checkpoint", stage=Line(scores=[3, 1, 2, 1]))
    assert best == 2  # the first of equals
    assert len(history) == 4
    assert same(stage.at_epoch[1], stage.network.state_dict())
    assert not same(stage.at_epoch[3], stage.network.state_dict())


def test_the_best_epoch_survives_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "checkpoint", stage=Line(scores=[1, 2, 3]), batches=interrupted_at(14))
    first = Line()
    trained(tmp_path / "whole", stage=first)
    resumed, _, best = trained(tmp_path / "checkpoint", stage=Line(scores=[5, 5]))
    assert best == 1
    assert same(first.at_epoch[0], resumed.network.state_dict())
