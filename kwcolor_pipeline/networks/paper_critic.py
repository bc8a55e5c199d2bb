"""The paper's critic: fastai's `gan_critic`, in plain PyTorch.

Belongs here: the network. Its layers are in `paper_layers`, its losses in `training.paper_gan`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.networks.paper_layers import SpectralAttention, spectral_norm

_SLOPE = 0.2


def _conv(below: int, width: int, size: int, stride: int) -> nn.Conv2d:
    """A leaky ReLU's convolution under spectral norm, Kaiming-uniform, small random bias."""
    conv = nn.Conv2d(below, width, size, stride, padding=1)
    nn.init.kaiming_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.normal_(conv.bias, 0, 0.01)
    return spectral_norm(conv)


class DenseBlock(nn.Module):
    """Two 3x3 convolutions; what came in is joined to what they give, so the width doubles."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = _conv(width, width, 3, 1)
        self.conv2 = _conv(width, width, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), _SLOPE)), _SLOPE)
        return torch.cat([new, x], dim=1)


class PaperCritic(nn.Module):
    """Scores patches of an RGB picture: a logit above 0 means photographed, below 0 means generated.

    Args:
        width: channels after the first convolution; 128 in the paper.
        blocks: convolutions that halve the resolution after the dense block; the first has attention.
        dropout: probability that a channel is dropped before each of them; half of it before the dense block.
    """

    def __init__(self, width: int = 128, blocks: int = 3, dropout: float = 0.15):
        super().__init__()
        self.stem = _conv(3, width, 4, 2)
        self.stem_dropout = nn.Dropout2d(dropout / 2)
        self.dense = DenseBlock(width)
        self.dropout = nn.Dropout2d(dropout)
        below = 2 * width
        self.halvings = nn.ModuleList(_conv(below << number, below << (number + 1), 4, 2) for number in range(blocks))
        self.attention = SpectralAttention(2 * below, kaiming=False)
        self.score = spectral_norm(nn.Conv2d(below << blocks, 1, 4, bias=False))

    @classmethod
    def of_widths(cls, widths: Sequence[int]) -> "PaperCritic":
        """The critic whose layers have ``widths`` channels, each twice the one before.

        Raises ValueError for others.
        """
        if any(wide != 2 * narrow for narrow, wide in pairwise(widths)):
            raise ValueError(
                f"The paper's critic doubles its width from layer to layer, which {list(widths)} does not."
            )
        return cls(widths[0], blocks=len(widths) - 1)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """ImageNet-normalised RGB (N, 3, H, W) to patch logits (N, patches): 25 patches at 128x128, one at 64x64."""
        x = self.dense(self.stem_dropout(F.leaky_relu(self.stem(rgb), _SLOPE)))
        for number, halving in enumerate(self.halvings):
            x = F.leaky_relu(halving(self.dropout(x)), _SLOPE)
            if number == 0:
                x = self.attention(x)
        return self.score(x).flatten(1)
