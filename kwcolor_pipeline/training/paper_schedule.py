"""How the paper's weights move: one cycle of rate and momentum, rates by layer group, decoupled Adam.

Belongs here: schedule, parameter groups, freezing, optimiser. The numbers are fastai 2.8's, which
`make oracle` reads off fastai itself; where fastai 1, which the paper used, has others, they are named.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

#: Adam's numbers in fastai: momentum, decay of the squared gradient, and what keeps the quotient finite.
BETAS = (0.9, 0.99)
EPSILON = 1e-5
WEIGHT_DECAY = 1e-3

_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
)


def _cosine(start: float, end: float, position: float) -> float:
    """From ``start`` to ``end`` along half a cosine; ``position`` in 0..1."""
    return start + (end - start) * (1 - math.cos(math.pi * position)) / 2


@dataclass(frozen=True)
class OneCycle:
    """The rate rises and falls once, the momentum falls and rises (arXiv 1803.09820), both along cosines.

    ``warm_up`` is the part of the training in which the rate rises: 0.25 in fastai 2.8, 0.3 in fastai 1,
    0.8 where the paper trains the decoder alone. ``end_divisor`` is 1e5 in fastai 2.8 and 25e4 in fastai 1.
    """

    warm_up: float = 0.25
    start_divisor: float = 25.0
    end_divisor: float = 1e5
    momenta: tuple[float, float, float] = (0.95, 0.85, 0.95)

    def __post_init__(self) -> None:
        if not 0 < self.warm_up < 1:
            raise ValueError(f"The rate has to rise in a part of the training between 0 and 1, not {self.warm_up}.")

    def _between(self, start: float, middle: float, end: float, progress: float) -> float:
        if progress < self.warm_up:
            return _cosine(start, middle, progress / self.warm_up)
        return _cosine(middle, end, (progress - self.warm_up) / (1 - self.warm_up))

    def rate(self, progress: float) -> float:
        """Learning rate over its peak; step k of n has progress k/n, so the very end is never reached."""
        return self._between(1 / self.start_divisor, 1, 1 / self.end_divisor, progress)

    def momentum(self, progress: float) -> float:
        """Adam's first beta."""
        return self._between(*self.momenta, progress)

    def apply(self, optimiser: torch.optim.Optimizer, progress: float) -> None:
        """Set rate and momentum of every parameter group; a group's `peak_lr` is its own."""
        for group in optimiser.param_groups:
            group["lr"] = group["peak_lr"] * self.rate(progress)
            group["betas"] = (self.momentum(progress), group["betas"][1])


def layer_rates(shallowest: float, deepest: float, groups: int) -> list[float]:
    """Peak rates of the layer groups in equal ratios, fastai's `slice(shallowest, deepest)`."""
    if groups == 1:
        return [deepest]
    return [shallowest * (deepest / shallowest) ** (number / (groups - 1)) for number in range(groups)]


def _norm_parameters(network: nn.Module) -> set[int]:
    """Identities of the parameters of normalisation layers (weight norm's and spectral norm's are not among them)."""
    norms = (module for module in network.modules() if isinstance(module, _NORMS))
    return {id(parameter) for norm in norms for parameter in norm.parameters()}


def _biases(network: nn.Module) -> set[int]:
    found = (getattr(module, "bias", None) for module in network.modules())
    return {id(bias) for bias in found if isinstance(bias, nn.Parameter)}


def freeze_all_but_last(
    network: nn.Module, layer_groups: Sequence[Iterable[nn.Parameter]], *, norms_learn: bool = True
) -> None:
    """Let only the last layer group learn and, as fastai does, every normalisation layer's weight and bias."""
    learning = _norm_parameters(network) if norms_learn else set()
    *frozen, last = layer_groups
    for group in frozen:
        for parameter in group:
            parameter.requires_grad_(id(parameter) in learning)
    for parameter in last:
        parameter.requires_grad_(True)


def paper_adam(
    network: nn.Module,
    layer_groups: Sequence[Iterable[nn.Parameter]],
    rates: Sequence[float],
    *,
    weight_decay: float = WEIGHT_DECAY,
    decay_norm_and_bias: bool = False,
    betas: tuple[float, float] = BETAS,
    fused: bool = False,
) -> torch.optim.AdamW:
    """Adam with decoupled weight decay over ``network``'s layer groups, each at its own peak rate.

    fastai forgets the moments when layers are frozen or unfrozen: make a new one then.

    Args:
        network: the owner of the parameters; says which belong to normalisation layers and which are biases.
        layer_groups: see :meth:`DynamicUnet.layer_groups`; for a critic one group of all its parameters.
        rates: one peak rate a layer group; :class:`OneCycle` moves below it.
        decay_norm_and_bias: fastai 1 lets them decay, fastai 2.8 does not.
    """
    exempt = set() if decay_norm_and_bias else _norm_parameters(network) | _biases(network)
    groups: list[dict[str, object]] = []
    for group, rate in zip(layer_groups, rates, strict=True):
        members = list(group)
        decayed = [parameter for parameter in members if id(parameter) not in exempt]
        spared = [parameter for parameter in members if id(parameter) in exempt]
        for parameters, decay in ((decayed, weight_decay), (spared, 0.0)):
            if parameters:
                groups.append({"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=betas, eps=EPSILON, fused=fused)
