"""Which tensor of ours is which tensor of fastai's, and copying the one into the other.

Belongs here: names. What is compared is in `networks_check`, `schedule_check` and `training_check`.
"""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import re

import torch
from torch import nn

#: Beginnings of names, fastai's to ours. The encoder's children have numbers there and names here.
_GENERATOR = {
    r"layers\.0\.0\.": "encoder.conv1.",
    r"layers\.0\.1\.": "encoder.bn1.",
    **{rf"layers\.0\.{number + 3}\.": f"encoder.layer{number}." for number in (1, 2, 3, 4)},
    r"layers\.1\.": "norm.",
    r"layers\.3\.0\.0\.": "middle.0.",
    r"layers\.3\.1\.0\.": "middle.2.",
    **{rf"layers\.{number + 4}\.shuf\.0\.0\.": f"blocks.{number}.up.conv." for number in range(4)},
    **{rf"layers\.{number + 4}\.bn\.": f"blocks.{number}.norm." for number in range(4)},
    **{rf"layers\.{number + 4}\.conv1\.0\.": f"blocks.{number}.conv1." for number in range(4)},
    **{rf"layers\.{number + 4}\.conv2\.0\.": f"blocks.{number}.conv2." for number in range(4)},
    **{
        rf"layers\.{number + 4}\.conv2\.2\.(query|key|value)\.0\.": rf"blocks.{number}.attention.\1."
        for number in range(4)
    },
    **{rf"layers\.{number + 4}\.conv2\.2\.gamma": f"blocks.{number}.attention.gain" for number in range(4)},
    r"layers\.8\.0\.0\.": "up.conv.",
    r"layers\.11\.convpath\.0\.0\.": "residual.conv1.",
    r"layers\.11\.convpath\.1\.0\.": "residual.conv2.",
    r"layers\.12\.0\.": "colour.",
}


def _critic_names(blocks: int) -> dict[str, str]:
    halvings = [4 + 2 * number for number in range(blocks)]
    return {
        r"0\.0\.": "stem.",
        r"2\.layers\.0\.0\.": "dense.conv1.",
        r"2\.layers\.1\.0\.": "dense.conv2.",
        **{rf"{place}\.0\.": f"halvings.{number}." for number, place in enumerate(halvings)},
        r"4\.2\.(query|key|value)\.0\.": r"attention.\1.",
        r"4\.2\.gamma": "attention.gain",
        rf"{halvings[-1] + 1}\.0\.": "score.",
    }


def _our_name(name: str, beginnings: dict[str, str], known: set[str]) -> str:
    """Our name for fastai's tensor ``name``; ``known`` are all of fastai's names."""
    for pattern, ours in beginnings.items():
        if re.match(pattern, name):
            begun = re.sub(f"^{pattern}", ours, name)
            break
    else:
        raise KeyError(f"fastai's {name} has no counterpart")
    under_weight_norm = re.sub(r"weight_v$", "weight_g", name) in known
    endings = {
        r"\.weight_g$": ".parametrizations.weight.original0",
        r"\.weight_orig$": ".parametrizations.weight.original",
        r"\.weight_u$": ".parametrizations.weight.0.left",
        r"\.weight_v$": ".parametrizations.weight." + ("original1" if under_weight_norm else "0.right"),
    }
    for pattern, ours in endings.items():
        begun = re.sub(pattern, ours, begun)
    return begun


def generator_names(theirs: nn.Module) -> dict[str, str]:
    """fastai's names of the generator's tensors to ours."""
    known = set(theirs.state_dict())
    return {name: _our_name(name, _GENERATOR, known) for name in known}


def critic_names(theirs: nn.Module, blocks: int = 3) -> dict[str, str]:
    """fastai's names of the critic's tensors to ours."""
    known = set(theirs.state_dict())
    return {name: _our_name(name, _critic_names(blocks), known) for name in known}


def copy_weights(theirs: nn.Module, ours: nn.Module, names: dict[str, str]) -> None:
    """Give ``ours`` every tensor of ``theirs``.

    Raises KeyError or RuntimeError when one is left over on either side or has another number of elements.
    """
    state = ours.state_dict()
    given = {names[name]: tensor for name, tensor in theirs.state_dict().items()}
    # Attention is a convolution over a row of positions there and over a picture here.
    ours.load_state_dict({name: tensor.reshape(state[name].shape) for name, tensor in given.items()})


def parameter_pairs(
    theirs: nn.Module, ours: nn.Module, names: dict[str, str]
) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    """(our name, ours, fastai's) of every parameter."""
    of_ours = dict(ours.named_parameters())
    return [(names[name], of_ours[names[name]], parameter) for name, parameter in theirs.named_parameters()]


@torch.no_grad()
def largest_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest absolute difference of two tensors of as many elements."""
    return float((ours.reshape(-1).double() - torch.Tensor(theirs).reshape(-1).double()).abs().max())
