import contextlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training import checkpoints
from kwcolor_pipeline.training.checkpoints import (
    random_states,
    read_checkpoint,
    seed_random_numbers,
    set_random_states,
    write_checkpoint,
)


def drawn() -> list[float]:
    return [float(torch.rand(())), random.random(), random.gauss(0, 1), np.random.rand(), np.random.normal()]


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    seed_random_numbers(7)
    drawn()
    write_checkpoint(tmp_path / "checkpoint", "this", {"step": 3})
    following = [drawn(), drawn()]
    seed_random_numbers(8)
    drawn()
    content = read_checkpoint(tmp_path / "checkpoint", "this")
    assert content is not None
    assert content["step"] == 3
    set_random_states(content["random"])
    assert [drawn(), drawn()] == following


def test_seeds_repeat_all_random_numbers() -> None:
    seed_random_numbers(3)
    first = drawn()
    seed_random_numbers(3)
    assert drawn() == first


def test_states_of_devices_that_are_not_here_are_left_out() -> None:
    states = random_states()
    states["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * 99 if not torch.cuda.is_available() else states["cuda"]
    set_random_states(states)


@pytest.mark.parametrize(("asked", "version", "whose"), [("other", 2, "request"), ("this", 1, "version of")])
def test_a_checkpoint_of_something_else_is_told_and_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: str,
    version: int,
    whose: str,
) -> None:
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_FORMAT", version)
        write_checkpoint(path, asked, {})
    assert read_checkpoint(path, "this") is None
    assert f"checkpoint is of another {whose}" in caplog.text
    assert path.exists()


def test_no_checkpoint_is_no_problem(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "checkpoint", "this") is None


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))  # type: ignore[return-value]


@pytest.mark.parametrize("content", [_RunsCode(), [1, 2], torch.zeros(2)])
def test_what_is_no_checkpoint_is_refused_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "checkpoint")
    with pytest.raises(SettingsProblem, match="checkpoint is damaged; delete it"):
        read_checkpoint(tmp_path / "checkpoint", "this")
    assert not (tmp_path / "executed").exists()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    place=st.floats(0, 1, exclude_max=True), length=st.integers(1, 200), value=st.integers(0, 255), cut=st.booleans()
)
def test_a_damaged_file_never_passes_for_another_training(
    tmp_path: Path, place: float, length: int, value: int, cut: bool
) -> None:
    path = tmp_path / "checkpoint"
    weights = torch.arange(500.0)
    write_checkpoint(path, "this", {"weights": weights})
    data = bytearray(path.read_bytes())
    start = int(place * len(data))
    data[start : start + length] = b"" if cut else bytes([value]) * length
    path.write_bytes(data)
    # Between a zip file's parts there is padding that nobody reads.
    with contextlib.suppress(SettingsProblem):
        content = read_checkpoint(path, "this")
        assert content is None or torch.equal(content["weights"], weights)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, "this", {"step": 1})

    def full(state: object, to: Path) -> None:
        to.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SettingsProblem, match=r"cannot be written .*; make room or set KWCOLOR_HOME"):
        write_checkpoint(path, "this", {"step": 2})
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]
    content = read_checkpoint(path, "this")
    assert content is not None
    assert content["step"] == 1
