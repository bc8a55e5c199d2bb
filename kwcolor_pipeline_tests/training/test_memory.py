import numpy as np
import pytest
import torch
from torch import nn

from kwcolor_pipeline.settings import SettingsProblem, load_settings
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.loop import Stage
from kwcolor_pipeline.training.memory import _extrapolated, fitting_batch, is_out_of_memory, memory_problem
from kwcolor_pipeline.training.presets import load_preset

CPU = torch.device("cpu")
MEBI = 2**20


def raised_by(allocate: object) -> BaseException:
    try:
        allocate()  # type: ignore[operator]
    except (RuntimeError, MemoryError) as error:
        return error
    raise AssertionError("there was enough memory")


def test_real_shortages_are_recognized() -> None:
    assert is_out_of_memory(raised_by(lambda: torch.empty(10**15)))
    assert is_out_of_memory(raised_by(lambda: np.empty(10**15)))


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_counts_as_a_shortage(error: BaseException, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def test_the_sentence_names_the_setting_and_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = load_preset("archive")
    half = str(memory_problem("gan_model", preset, CPU, None))
    assert "training of gan_model ran out of memory on cpu with batches of 32 pictures" in half
    assert half.endswith("half as many may fit: set KWCOLOR_TRAINING__BATCH_SIZE=16.")
    measured = str(memory_problem("gan_model", preset, CPU, 24))
    assert measured.endswith("24 would fit, by what smaller batches took: set KWCOLOR_TRAINING__BATCH_SIZE=24.")
    monkeypatch.setenv("KWCOLOR_TRAINING__BATCH_SIZE", "24")
    assert load_preset("archive", load_settings().training).batch_size == 24


@pytest.mark.parametrize(("batch_size", "fits"), [(32, 1), (32, 0), (2, None), (3, None)])
def test_where_no_batch_is_small_enough_pictures_have_to_be(batch_size: int, fits: int | None) -> None:
    problem = str(memory_problem("critic", load_preset("archive", {"batch_size": batch_size}), CPU, fits))
    assert "BATCH_SIZE" not in problem
    assert problem.endswith("(KWCOLOR_TRAINING__SIZE=128).")
    smaller = load_preset("archive", {"size": 128})
    assert smaller.size == 128


@pytest.mark.parametrize(
    ("room", "fits"),
    [
        (500, 40),  # 100 for the weights and 10 a picture
        (505, 40),
        (100 + 10 * 63, 56),  # whole eights
        (100 + 10 * 7, 7),
        (10_000, 56),  # never as many as failed
        (50, 0),
    ],
)
def test_the_batch_is_on_the_line_through_two_measured_ones(room: float, fits: int) -> None:
    assert _extrapolated(8, 100 + 80, 16, 100 + 160, room, 64) == fits


class Wide(Stage):
    """Each picture takes 64 MiB twice in a step."""

    def __init__(self, device: torch.device) -> None:
        self.network = nn.Linear(1, 1, device=device)
        self.networks = {"wide": self.network}
        self.optimisers = {"wide": torch.optim.SGD(self.network.parameters(), lr=0.1)}

    def step(self, batch: Batch, step: int, progress: float) -> dict[str, torch.Tensor]:
        spread = self.network(batch.lightness).expand(-1, 16 * MEBI)
        loss = (spread * 2).square().mean()
        self.optimisers["wide"].zero_grad()
        loss.backward()
        self.optimisers["wide"].step()
        return {"train_loss": loss.detach()}

    def validate(self) -> dict[str, float]:
        return {"score": 0.0}

    def result(self) -> nn.Module:
        return self.network


def batch_of(count: int, device: torch.device) -> Batch:
    ones = torch.ones(count, 1, device=device)
    return Batch(ones, ones, ones)


def test_the_cpus_memory_is_not_measured() -> None:
    assert fitting_batch(Wide(CPU), batch_of(64, CPU), CPU) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_suggested_batch_fits_and_is_no_small_one() -> None:
    device = torch.device("cuda")
    free = torch.cuda.mem_get_info(device)[0]
    taken = torch.empty(free - 8 * 1024 * MEBI, dtype=torch.uint8, device=device)
    stage = Wide(device)
    batch = batch_of(256, device)
    with pytest.raises(torch.OutOfMemoryError):
        stage.step(batch, 0, 0.0)
    fits = fitting_batch(Wide(device), batch, device)
    assert fits is not None
    assert 16 <= fits < 256
    torch.cuda.empty_cache()
    stage.step(batch_of(fits, device), 0, 0.0)
    del taken
    problem = memory_problem("critic", load_preset("archive"), device, fits)
    assert isinstance(problem, SettingsProblem)
