"""The model bundle: a folder with `generator.safetensors` (or `critic.…`), `model.json`, `README.md`, a preview.

Weights are safetensors, so loading a bundle never runs code that is in it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kwcolor_pipeline.home import sha256_of, write_json
from kwcolor_pipeline.networks.critic import Critic
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.settings import SettingsProblem

DESCRIPTION = "model.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. ``description`` is its `model.json`."""

    folder: Path
    description: dict[str, Any]

    @property
    def weights_file(self) -> Path:
        return self.folder / f"{self.description['kind']}.safetensors"

    @property
    def weights_sha256(self) -> str:
        return str(self.description["weights_sha256"])


def write_bundle(folder: Path, kind: str, network: nn.Module, description: dict[str, Any]) -> Bundle:
    """Write the weights and the description of a `generator` or `critic` into ``folder``."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, folder / f"{kind}.safetensors")
    full = {**description, "kind": kind, "weights_sha256": weights_hash(network)}
    write_json(folder / DESCRIPTION, full)
    return Bundle(folder, full)


def weights_hash(network: nn.Module) -> str:
    """Hex sha256 over names and values of a network's state, equal on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_bundle(folder: Path) -> Bundle:
    """The bundle in ``folder``.

    Raises SettingsProblem with one sentence when the folder is no bundle.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        bundle = Bundle(folder, description)
        bundle.weights_sha256  # noqa: B018 - a bundle without them is refused here
        found = bundle.weights_file.is_file()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SettingsProblem(f"{folder} is not a model bundle: it has no {DESCRIPTION}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise SettingsProblem(f"{folder / DESCRIPTION} is damaged; train or export the model again.") from error
    if not found:
        raise SettingsProblem(f"{folder} is not a complete model bundle: {bundle.weights_file.name} is missing.")
    return bundle


def _load(bundle: Bundle, network: nn.Module, device: torch.device) -> None:
    try:
        network.load_state_dict(load_file(bundle.weights_file))
    except (SafetensorError, RuntimeError) as error:
        raise SettingsProblem(
            f"{bundle.weights_file} is damaged or belongs to another network (sha256 of the file "
            f"{sha256_of(bundle.weights_file)[:12]}…); train or export the model again."
        ) from error
    network.to(device)


def load_generator(bundle: Bundle, device: torch.device) -> Generator:
    """The bundle's generator in evaluation mode.

    Raises SettingsProblem when the bundle holds something else or is damaged.
    """
    if bundle.description["kind"] != "generator":
        raise SettingsProblem(f"{bundle.folder} holds a {bundle.description['kind']}, not a generator.")
    architecture = bundle.description["architecture"]
    generator = Generator(architecture["encoder"], "none", architecture["widths"])
    _load(bundle, generator, device)
    return generator.eval()


def load_critic(bundle: Bundle, device: torch.device) -> Critic:
    """The bundle's critic in evaluation mode.

    Raises SettingsProblem when the bundle holds something else or is damaged.
    """
    if bundle.description["kind"] != "critic":
        raise SettingsProblem(f"{bundle.folder} holds a {bundle.description['kind']}, not a critic.")
    critic = Critic(bundle.description["architecture"]["widths"])
    _load(bundle, critic, device)
    return critic.eval()


def nonfinite_tensors(bundle: Bundle) -> list[str]:
    """Names of the bundle's tensors that hold an infinity or a value that is not a number."""
    return [name for name, tensor in load_file(bundle.weights_file).items() if not tensor.isfinite().all()]
