"""The paper's generator as the rest of the house knows generators: from lightness to chroma.

Belongs here: the way from CIE L* to the network's normalised RGB and back to a*, b*. The network is in
`dynamic_unet`.
"""

import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.colour.lab import lab_to_rgb_clipped, rgb_to_lab
from kwcolor_pipeline.networks.dynamic_unet import IMAGENET_MEAN, IMAGENET_STD, DynamicUnet


class PaperColorizer(nn.Module):
    """A :class:`DynamicUnet` between lightness and chroma.

    The paper took all of the network's picture; here, as everywhere in this project, only its chroma is
    taken, and the lightness stays the photograph's own.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, unet: DynamicUnet):
        super().__init__()
        self.unet = unet
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def normalised(self, rgb: torch.Tensor) -> torch.Tensor:
        """sRGB (N, 3, H, W) in 0..1 as the network takes and gives it."""
        return (rgb - self.mean) / self.std

    def grey(self, lightness: torch.Tensor) -> torch.Tensor:
        """CIE L* (N, 1, H, W) as the network's grey input."""
        colourless = torch.cat([lightness, torch.zeros_like(lightness).expand(-1, 2, -1, -1)], dim=1)
        return self.normalised(lab_to_rgb_clipped(colourless))

    def rgb(self, lightness: torch.Tensor) -> torch.Tensor:
        """CIE L* (N, 1, H, W) to the network's own picture, sRGB (N, 3, H, W) in 0..1."""
        return (self.unet(self.grey(lightness)).float() * self.std + self.mean).clamp(0, 1)

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        """CIE L* (N, 1, H, W) in 0..100 to CIELAB a*, b* (N, 2, H/2, W/2)."""
        return F.avg_pool2d(rgb_to_lab(self.rgb(lightness))[:, 1:], 2)
