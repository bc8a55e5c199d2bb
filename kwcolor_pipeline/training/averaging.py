"""Exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class AveragedNetwork:
    """Keeps ``network``: a running average of another network, always in evaluation mode."""

    def __init__(self, source: nn.Module, decay: float):
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Move towards ``source``; the decay warms up, so that the first steps are forgotten soon."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for kept, new in zip(self.network.state_dict().values(), source.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)
