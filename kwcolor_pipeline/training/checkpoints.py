"""Checkpoints: what decides how a training goes on, in one file that appears whole or not at all.

Belongs here: the file, who may use it, and the random states in it. What a training puts into it, and
when, is the loop's affair.
"""

import logging
import pickle
import random
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kwcolor_pipeline.home import atomic_path
from kwcolor_pipeline.settings import SettingsProblem

log = logging.getLogger(__name__)

#: Raise when the content of a checkpoint changes; those of another format are not used.
_FORMAT = 2
#: What reading a damaged file raises, by where the damage is.
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError, EOFError, OSError),
    *(RuntimeError, LookupError, TypeError, ValueError, AttributeError, OverflowError),
)


def write_checkpoint(path: Path, asked: str, content: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path`` by ``content`` and the random states of now.

    ``asked`` is the fingerprint of the request. ``content`` holds tensors, numbers, texts, and lists, tuples and
    dicts of them: what ``torch.load(weights_only=True)`` takes.
    Raises SettingsProblem when the file cannot be written; the earlier one then stays.
    """
    state = {"format": _FORMAT, "asked": asked, "random": random_states(), **content}
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        # PyTorch's writer raises RuntimeError on a full disk, and for tensors that are no tensors any more.
        reason = str(error).partition("\n")[0].rstrip(".")
        raise SettingsProblem(
            f"The checkpoint {path} cannot be written ({reason}); make room or set KWCOLOR_HOME to another folder."
        ) from error


def read_checkpoint(path: Path, asked: str) -> dict[str, Any] | None:
    """The content of the checkpoint of exactly this request; None when there is none, or one of another request.

    Nothing in the file is executed. The random states are not set yet: see :func:`set_random_states`.
    Raises SettingsProblem when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()  # PyTorch writes checksums and does not look at them
        state = None if broken else torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGES as error:
        raise damaged(path) from error
    if not isinstance(state, dict):
        raise damaged(path)
    if state.get("format") != _FORMAT or state.get("asked") != asked:
        whose = "request" if state.get("format") == _FORMAT else "version of kwcolor_pipeline"
        log.warning("The checkpoint %s is of another %s; this training begins anew without it.", path, whose)
        return None
    return state


def damaged(path: Path) -> SettingsProblem:
    """What to raise when the checkpoint cannot be used, with the remedy."""
    return SettingsProblem(f"The checkpoint {path} is damaged; delete it to begin this training anew.")


def seed_random_numbers(seed: int) -> None:
    """Begin every sequence of random numbers of this process anew: PyTorch's on all devices, NumPy's, Python's."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_states() -> dict[str, Any]:
    """Where all these sequences stand, in types that a checkpoint may hold."""
    of_numpy = np.random.get_state(legacy=False)
    assert isinstance(of_numpy, dict)  # what `legacy=False` gives
    return {
        "torch": torch.get_rng_state(),
        # Where this process has not used a GPU, none of its numbers were drawn, and asking would wake all GPUs.
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        "python": random.getstate(),
        "numpy": {
            "key": torch.from_numpy(of_numpy["state"]["key"].astype(np.int64)),
            "position": int(of_numpy["state"]["pos"]),
            "has_gauss": int(of_numpy["has_gauss"]),
            "gauss": float(of_numpy["gauss"]),
        },
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put all sequences back to ``states``; those of devices that this machine has not are left out."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    if states["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
    random.setstate(states["python"])
    of_numpy = states["numpy"]
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": of_numpy["key"].numpy().astype(np.uint32), "pos": of_numpy["position"]},
            "has_gauss": of_numpy["has_gauss"],
            "gauss": of_numpy["gauss"],
        }
    )
