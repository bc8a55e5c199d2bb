"""The loop on a made-up stage; the real ones are in ``test_stages``."""

import math
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training import loop
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.loop import Stage, train
from kwcolor_pipeline.training.readings import LateValues, TrainingDiverged

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
    return Batch(x, 3 * x, x)


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
    told: list[dict[str, float]] = []
    again, history_again, best_again = trained(tmp_path / "cut", batches=watched, on_epoch=told.append)
    assert told == history_again
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
        return Batch(batch.lightness, batch.lab * (math.nan if step == 9 else 1), batch.rgb)

    with pytest.raises(TrainingDiverged, match="`train_loss` is nan at step 9; the last good checkpoint is kept"):
        trained(checkpoint, batches=poisoned)
    kept = torch.load(checkpoint, weights_only=True)
    assert kept["step"] == 9
    assert all(tensor.isfinite().all() for tensor in kept["networks"]["line"].values())
    again, _, _ = trained(checkpoint)
    whole, _, _ = trained(tmp_path / "whole")
    assert same(whole.network.state_dict(), again.network.state_dict())


def test_the_step_is_right_when_losses_are_only_read_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    def poisoned(step: int) -> Batch:
        batch = batch_of(step)
        return Batch(batch.lightness, batch.lab * (math.inf if step == 8 else 1), batch.rgb)

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
    assert torch.load(tmp_path / "checkpoint", weights_only=True)["step"] == 8


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


class Moody(Line):
    """Draws from all random numbers, and learns differently after its mood has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.mood = 0

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        self.mood += random.randrange(2) + int(np.random.rand() < 0.5)
        self.optimiser.param_groups[0]["lr"] = 0.02 / (1 + self.mood)
        return super().step(batch, step, progress)

    def state(self) -> dict[str, Any]:
        return {"mood": self.mood}

    def load_state(self, state: dict[str, Any]) -> None:
        self.mood = state["mood"]


@pytest.mark.parametrize("step", [3, 11])
def test_a_stages_own_state_and_all_random_numbers_are_kept(tmp_path: Path, step: int) -> None:
    def fresh() -> Moody:
        random.seed(5)
        np.random.seed(5)
        return Moody()

    whole, _, _ = trained(tmp_path / "whole", stage=fresh())
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", stage=fresh(), batches=interrupted_at(step))
    again, _, _ = trained(tmp_path / "cut", stage=fresh())
    assert again.mood == whole.mood
    assert same(whole.network.state_dict(), again.network.state_dict())


def test_a_checkpoint_says_what_it_is_of(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(
            Line(),
            interrupted_at(2),
            steps=STEPS,
            steps_per_epoch=STEPS_PER_EPOCH,
            checkpoint=tmp_path / "checkpoint",
            asked="this",
            about={"preset": {"size": 64, "widths": (1, 2)}, "pairs": "abcd"},
            label="test",
            on_epoch=lambda record: None,
        )
    kept = torch.load(tmp_path / "checkpoint", weights_only=True)
    assert kept["asked"] == "this"
    assert kept["about"] == {"preset": {"size": 64, "widths": (1, 2)}, "pairs": "abcd"}


class Signalled(Line):
    """Is sent a signal in the middle of a step, or of the second validation."""

    def __init__(self, number: int, at: int | None, times: int = 1) -> None:
        super().__init__()
        self.number, self.at, self.times = number, at, times

    def _send(self) -> None:
        for _ in range(self.times):
            os.kill(os.getpid(), self.number)
            signal.getsignal(self.number)  # lets Python call the handler

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        losses = super().step(batch, step, progress)
        if step == self.at:
            self._send()
        return losses

    def validate(self) -> dict[str, float]:
        if self.at is None and len(self.at_epoch) == 1:
            self._send()
        return super().validate()


class Stopped(BaseException):
    """As Dagster raises it from its handler of SIGTERM."""


def raise_stopped(number: int, frame: Any) -> None:
    raise Stopped


@pytest.fixture
def handlers() -> Iterator[Callable[[int, Any], Any]]:
    """Sets handlers of signals, and puts the former ones back."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield signal.signal
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "handler", "raised"),
    [
        (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt),
        (signal.SIGINT, raise_stopped, Stopped),
        (signal.SIGTERM, raise_stopped, Stopped),
        (signal.SIGTERM, signal.SIG_DFL, SystemExit),
    ],
)
@pytest.mark.parametrize(("at", "saved", "validated"), [(7, 8, 1), (5, 6, 1), (None, 12, 2), (19, 20, 4)])
def test_a_signal_waits_for_the_step_and_is_handed_on_after_a_checkpoint(
    tmp_path: Path,
    handlers: Callable[[int, Any], Any],
    caplog: pytest.LogCaptureFixture,
    number: int,
    handler: Any,
    raised: type[BaseException],
    at: int | None,
    saved: int,
    validated: int,
) -> None:
    handlers(number, handler)
    with pytest.raises(raised) as caught:
        trained(tmp_path / "cut", stage=Signalled(number, at))
    sentence = f"Training was interrupted at step {saved} of 20; the next run goes on at step {saved}."
    assert caught.value.__notes__ == [sentence]
    assert sentence in caplog.text
    assert signal.getsignal(number) == handler
    kept = torch.load(tmp_path / "cut", weights_only=True)
    assert (kept["step"], len(kept["history"])) == (saved, validated)
    if raised is SystemExit:
        assert caught.value.code == 128 + number  # type: ignore[attr-defined]
    whole, history, _ = trained(tmp_path / "whole")
    again, history_again, _ = trained(tmp_path / "cut")
    assert [record["score"] for record in history] == [record["score"] for record in history_again]
    assert same(whole.network.state_dict(), again.network.state_dict())


def test_a_second_signal_does_not_wait_and_half_a_step_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handlers: Callable[[int, Any], Any]
) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)
    handlers(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt) as caught:
        trained(tmp_path / "checkpoint", stage=Signalled(signal.SIGINT, 7, times=2))
    assert caught.value.__notes__ == ["Training was interrupted at step 7 of 20; the next run goes on at step 7."]
    again, _, _ = trained(tmp_path / "checkpoint")
    whole, _, _ = trained(tmp_path / "whole")
    assert same(whole.network.state_dict(), again.network.state_dict())


def test_an_ignored_signal_stays_ignored(tmp_path: Path, handlers: Callable[[int, Any], Any]) -> None:
    handlers(signal.SIGTERM, signal.SIG_IGN)
    _, history, _ = trained(tmp_path / "checkpoint", stage=Signalled(signal.SIGTERM, 7))
    assert len(history) == 4


def test_a_handler_that_only_takes_note_does_not_end_the_training(
    tmp_path: Path, handlers: Callable[[int, Any], Any]
) -> None:
    noted: list[int] = []
    handlers(signal.SIGTERM, lambda number, frame: noted.append(number))
    _, history, _ = trained(tmp_path / "checkpoint", stage=Signalled(signal.SIGTERM, 7))
    assert noted == [signal.SIGTERM]
    assert len(history) == 4


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    histories: list[list[dict[str, float]]] = []
    thread = threading.Thread(target=lambda: histories.append(trained(tmp_path / "checkpoint")[1]))
    thread.start()
    thread.join()
    assert len(histories[0]) == 4


@pytest.mark.parametrize("inside", ["step", "validate"])
def test_an_interruption_within_the_work_keeps_the_last_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """Raised by other means than a signal, so that nothing could make it wait."""
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", -1)

    class Torn(Line):
        def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
            losses = super().step(batch, step, progress)
            if inside == "step" and step == 11:
                raise Stopped
            return losses

        def validate(self) -> dict[str, float]:
            if inside == "validate" and self.at_epoch:
                torch.rand(9)
                raise Stopped
            return super().validate()

    with pytest.raises(Stopped):
        trained(tmp_path / "checkpoint", stage=Torn())
    assert torch.load(tmp_path / "checkpoint", weights_only=True)["step"] == 11
    again, _, _ = trained(tmp_path / "checkpoint")
    whole, _, _ = trained(tmp_path / "whole")
    assert same(whole.network.state_dict(), again.network.state_dict())


def test_an_interruption_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        trained(tmp_path / "checkpoint", batches=interrupted_at(0))
    assert caught.value.__notes__ == ["Training was interrupted at step 0 of 20; the next run begins it anew."]
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_is_handed_on_even_when_it_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(KeyboardInterrupt) as caught:
        trained(tmp_path / "checkpoint", batches=interrupted_at(3))
    assert "could not be saved there: The checkpoint" in caught.value.__notes__[0]
    assert "make room" in caught.value.__notes__[0]


class Exploding(Line):
    """Its loss is a thousand times as large from step 60 on."""

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        losses = super().step(batch, step, progress)
        return {"train_loss": losses["train_loss"] * 0 + (-5000.0 if step >= 60 else 0.5)}


@pytest.mark.parametrize("seconds", [-1, 1000])
def test_an_exploding_loss_stops_and_the_checkpoint_is_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", seconds)
    monkeypatch.setattr(loop, "_READ_SECONDS", seconds)
    with pytest.raises(TrainingDiverged, match="`train_loss` exploded at step 60"):
        trained(tmp_path / "checkpoint", stage=Exploding(), steps=200)
    if seconds < 0:
        # Three wild values among the last five look like an explosion, two do not.
        assert torch.load(tmp_path / "checkpoint", weights_only=True)["step"] == 62


def test_losses_are_read_once_an_epoch_and_every_few_seconds_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reading waits for the device."""
    reads: list[int] = []
    original = LateValues.read

    def counted(self: LateValues) -> Any:
        reads.append(1)
        return original(self)

    monkeypatch.setattr(LateValues, "read", counted)
    monkeypatch.setattr(loop, "_READ_SECONDS", 1000)
    trained(tmp_path / "checkpoint", steps=60)
    assert len(reads) == 2 * 10  # losses and gradient norms, in 10 epochs
    reads.clear()
    monkeypatch.setattr(loop, "_READ_SECONDS", -1)
    trained(tmp_path / "checkpoint", steps=60)
    assert len(reads) == 2 * (10 + 60)


def test_what_is_recorded_does_not_depend_on_when_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, late, _ = trained(tmp_path / "late")
    monkeypatch.setattr(loop, "_READ_SECONDS", -1)
    _, early, _ = trained(tmp_path / "early")
    for first, second in zip(late, early, strict=True):
        assert first["train_loss"] == second["train_loss"]
        assert first["gradient_norm/line"] == second["gradient_norm/line"] > 0
        assert first["learning_rate/line"] == second["learning_rate/line"] == 0.02


def test_steps_need_not_give_the_same_losses(tmp_path: Path) -> None:
    class Switching(Line):
        def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
            losses = super().step(batch, step, progress)
            return losses | ({"critic_loss": torch.tensor(float(step))} if step % 2 else {})

    _, history, _ = trained(tmp_path / "checkpoint", stage=Switching())
    assert [record["critic_loss"] for record in history] == [3.0, 9.0, 15.0, 19.0]


def test_every_epoch_is_drawn_before_it_is_told_and_none_twice(tmp_path: Path) -> None:
    events: list[str] = []

    def draw(network: nn.Module, epoch: int) -> None:
        events.append(f"drawn {epoch}")

    def go(batches: Callable[[int], Batch]) -> None:
        train(
            Line(),
            batches,
            steps=STEPS,
            steps_per_epoch=STEPS_PER_EPOCH,
            checkpoint=tmp_path / "checkpoint",
            asked="this",
            label="test",
            on_epoch=lambda record: events.append(f"told {record['epoch']:.0f}"),
            draw=draw,
        )

    with pytest.raises(KeyboardInterrupt):
        go(interrupted_at(14))
    assert events == ["drawn 1", "told 1", "drawn 2", "told 2"]
    events.clear()
    go(batch_of)
    assert events == ["told 1", "told 2", "drawn 3", "told 3", "drawn 4", "told 4"]


def test_large_checkpoints_are_written_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One second of work a step, three seconds a checkpoint: a twentieth of the time may go into them."""
    now, written = [0.0], []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    def slow(*_: object) -> None:
        written.append(now[0])
        now[0] += 3

    def batches(step: int) -> Batch:
        now[0] += 1
        return batch_of(step)

    monkeypatch.setattr(loop, "time", Clock)
    monkeypatch.setattr(loop, "write_checkpoint", slow)
    trained(tmp_path / "checkpoint", batches=batches, steps=200)
    assert written == [21, 85, 149]
