"""Running out of memory: how it is recognized, and which batch would fit."""

import dataclasses

import torch

from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.loop import Stage
from kwcolor_pipeline.training.presets import Preset

#: How PyTorch's allocators, CUDA and cuBLAS say it where they do not raise torch.OutOfMemoryError.
_SAYINGS = ("you tried to allocate", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
#: Share of the free memory that a step is planned to take; the rest is lost to fragmentation.
_USABLE = 0.9
#: The smallest batch that the preset allows: batch statistics need two pictures.
_SMALLEST = 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's or the host's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


def memory_problem(label: str, preset: Preset, device: torch.device, fits: int | None) -> SettingsProblem:
    """The sentence for a training that ran out of memory. ``fits``: the batch that was measured to fit, if any."""
    begun = f"The training of {label} ran out of memory on {device} with batches of {preset.batch_size} pictures"
    batch = preset.batch_size // 2 if fits is None else fits
    if batch < _SMALLEST:
        return SettingsProblem(
            f"{begun} of {preset.size} pixels, and no smaller batch would do; "
            f"train on smaller ones (KWCOLOR_TRAINING__SIZE={max(32, preset.size // 2 // 32 * 32)})."
        )
    why = "half as many may fit" if fits is None else f"{batch} would fit, by what smaller batches took"
    return SettingsProblem(f"{begun}; {why}: set KWCOLOR_TRAINING__BATCH_SIZE={batch}.")


def fitting_batch(stage: Stage, batch: Batch, device: torch.device) -> int | None:
    """How many pictures a step of ``stage`` could have had, by the memory that two smaller ones take.

    Trains ``stage``, which is of no more use then. None where it cannot be measured: on other devices
    than CUDA, for the smallest batches, and where even a small step fails.
    """
    tried = len(batch.lightness)
    small, large = tried // 8, tried // 4
    if device.type != "cuda" or small < _SMALLEST:
        return None
    try:
        _peak(stage, batch, small, device)  # makes the optimisers' own memory
        at_small, at_large = (_peak(stage, batch, count, device) for count in (small, large))
    except RuntimeError:
        return None
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(device)[0]
    room = _USABLE * (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return _extrapolated(small, at_small, large, at_large, room, tried)


def _extrapolated(small: int, at_small: float, large: int, at_large: float, room: float, tried: int) -> int:
    """The batch whose step takes ``room`` bytes, on the line through two that were measured; below ``tried``."""
    a_picture = max(at_large - at_small, 1) / (large - small)
    fits = min(int(small + (room - at_small) / a_picture), int(tried * _USABLE))
    return fits // 8 * 8 if fits >= 8 else max(fits, 0)


def _peak(stage: Stage, batch: Batch, count: int, device: torch.device) -> int:
    """Bytes that a step with the batch's first ``count`` pictures takes on top of what is there."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    parts = {field.name: getattr(batch, field.name)[:count] for field in dataclasses.fields(batch)}
    stage.step(dataclasses.replace(batch, **parts), 0, 0.0)
    return torch.cuda.max_memory_allocated(device) - before
