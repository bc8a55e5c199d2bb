"""Exponential moving average of a network's weights."""

import copy

import torch
from torch import nn


class AveragedNetwork:
    """Keeps ``network``: a running average of another network, always in evaluation mode.

    Batch norm's running statistics are averaged like weights, so that they belong to about the same steps as
    the averaged weights do; its counters are copied.
    """

    def __init__(self, source: nn.Module, decay: float):
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self._decay = decay
        self._source: nn.Module | None = None

    def _list_tensors(self, source: nn.Module) -> None:
        """Pair up the tensors of both networks once: listing hundreds of names takes longer than averaging them."""
        pairs = list(zip(self.network.state_dict().values(), source.state_dict().values(), strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._source = source

    @torch.no_grad()
    def update(self, source: nn.Module, step: int) -> None:
        """Move towards ``source``; the decay warms up, so that the first steps are forgotten soon.

        Both networks have to stay on their device from the first update on.
        """
        if source is not self._source:
            self._list_tensors(source)
        decay = min(self._decay, (1 + step) / (10 + step))
        # One kernel for all tensors: hundreds of small ones are slower than a small network's whole step.
        torch._foreach_lerp_([kept for kept, _ in self._averaged], [new for _, new in self._averaged], 1 - decay)
        if self._copied:
            torch._foreach_copy_([kept for kept, _ in self._copied], [new for _, new in self._copied])
