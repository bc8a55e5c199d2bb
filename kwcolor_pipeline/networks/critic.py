"""The critic: a spectral-norm patch discriminator on CIELAB pictures (PatchGAN, arXiv 1611.07004; 1802.05957)."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """Scores patches of a picture: above 0 means photographed, below 0 means generated.

    Args:
        widths: channels after each 4x4 convolution; all but the last halve the resolution.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number, width in enumerate(widths):
            stride = 1 if number == len(widths) - 1 else 2
            size, padding = (3, 1) if stride == 1 else (4, 1)
            layers += [spectral_norm(nn.Conv2d(channels, width, size, stride, padding)), nn.LeakyReLU(0.2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, lab: torch.Tensor) -> torch.Tensor:
        """CIELAB (N, 3, H, W) with L* in 0..100 to patch scores (N, 1, h, w)."""
        scaled = torch.cat([lab[:, :1] / 50 - 1, lab[:, 1:] / 60], dim=1)
        return self.score(self.features(scaled))
