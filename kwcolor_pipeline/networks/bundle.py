"""The model bundle: a folder with `generator.safetensors` (or `critic.…`), `model.json`, `README.md`, a preview.

Weights are safetensors, so loading a bundle never runs code that is in it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from kwcolor_pipeline.home import sha256_of, write_json
from kwcolor_pipeline.networks.critic import Critic
from kwcolor_pipeline.networks.dynamic_unet import DynamicUnet
from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.networks.paper_colorizer import PaperColorizer
from kwcolor_pipeline.networks.paper_critic import PaperCritic
from kwcolor_pipeline.settings import SettingsProblem

DESCRIPTION = "model.json"

_REMEDY = "delete the folder and train again, or export the model again"
_Network = TypeVar("_Network", bound=nn.Module)


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


def write_bundle(
    folder: Path, kind: str, network: nn.Module, description: dict[str, Any], *, half: bool = False
) -> Bundle:
    """Write the weights and the description of a `generator` or `critic` into ``folder``.

    ``half`` keeps the weights in half precision; the network is rounded to it first, in place, so that the hash is that
    of what is read back.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        network.load_state_dict(state)
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
        raise SettingsProblem(f"{folder / DESCRIPTION} is damaged; {_REMEDY}.") from error
    if not found:
        raise SettingsProblem(
            f"{folder} is not a complete model bundle: {bundle.weights_file.name} is missing; {_REMEDY}."
        )
    return bundle


def _loaded(bundle: Bundle, kind: str, build: Callable[[dict[str, Any]], _Network], device: torch.device) -> _Network:
    """The bundle's network of this kind in evaluation mode; ``build`` makes it from the architecture."""
    if bundle.description["kind"] != kind:
        raise SettingsProblem(f"{bundle.folder} holds a {bundle.description['kind']}, not a {kind}.")
    try:
        network = build(bundle.description["architecture"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SettingsProblem(f"{bundle.folder / DESCRIPTION} describes no {kind}; {_REMEDY}.") from error
    try:
        network.load_state_dict(load_file(bundle.weights_file))
    except (SafetensorError, RuntimeError) as error:
        raise SettingsProblem(
            f"{bundle.weights_file} is damaged or belongs to another network (sha256 of the file "
            f"{sha256_of(bundle.weights_file)[:12]}…); {_REMEDY}."
        ) from error
    return network.to(device).eval()


def _generator(architecture: dict[str, Any]) -> Generator | PaperColorizer:
    if architecture.get("recipe") == "paper":
        return PaperColorizer(DynamicUnet(architecture["encoder"], "none"))
    return Generator(architecture["encoder"], "none", architecture["widths"])


def _critic(architecture: dict[str, Any]) -> Critic | PaperCritic:
    widths = architecture["widths"]
    return PaperCritic.of_widths(widths) if architecture.get("recipe") == "paper" else Critic(widths)


def load_generator(bundle: Bundle, device: torch.device) -> Generator | PaperColorizer:
    """The bundle's generator in evaluation mode: of either recipe it gives chroma for lightness.

    Raises SettingsProblem when the bundle holds something else or is damaged.
    """
    return _loaded(bundle, "generator", _generator, device)


def load_critic(bundle: Bundle, device: torch.device) -> Critic | PaperCritic:
    """The bundle's critic in evaluation mode.

    Raises SettingsProblem when the bundle holds something else or is damaged.
    """
    return _loaded(bundle, "critic", _critic, device)


def nonfinite_tensors(bundle: Bundle) -> list[str]:
    """Names of the bundle's tensors that hold an infinity or a value that is not a number."""
    return [name for name, tensor in load_file(bundle.weights_file).items() if not tensor.isfinite().all()]
