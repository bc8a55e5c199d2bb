"""The generator: from lightness to chroma, a U-Net over a timm encoder."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.networks.encoders import build_encoder, expected_statistics, feature_channels
from kwcolor_pipeline.networks.small_maps import with_small_maps

#: The sides of what the network is given have to be multiples of this.
STRIDE = 32
#: Chroma in CIELAB units for one unit of the last layer, so that its weights start at a useful scale.
CHROMA_SCALE = 40.0


class SelfAttention(nn.Module):
    """Single-head attention over all positions, added through a gain that starts at zero (SAGAN, arXiv 1805.08318)."""

    def __init__(self, channels: int):
        super().__init__()
        self.query = nn.Conv2d(channels, max(channels // 8, 8), 1, bias=False)
        self.key = nn.Conv2d(channels, max(channels // 8, 8), 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = [layer(x).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value)]
        attended = F.scaled_dot_product_attention(*tokens)
        return x + self.gain * attended.transpose(1, 2).reshape(x.shape)


class UpBlock(nn.Module):
    """Doubles the resolution, joins the encoder's features of that resolution, two convolutions."""

    def __init__(self, below: int, skip: int, width: int):
        super().__init__()
        self.reduce = nn.Conv2d(below, width, 1, bias=False)
        self.mix = nn.Sequential(
            nn.Conv2d(width + skip, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        # The 1x1 convolution commutes with nearest upsampling and costs a quarter before it.
        up = F.interpolate(self.reduce(below), scale_factor=2, mode="nearest")
        return self.mix(torch.cat([up, skip], dim=1))


class Generator(nn.Module):
    """Predicts chroma at half resolution; the lightness stays the photograph's own.

    Args:
        encoder: timm name of a backbone with features at strides 2, 4, 8, 16 and 32.
        encoder_weights: see :func:`build_encoder`.
        widths: channels of the decoder at strides 16, 8, 4 and 2.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, encoder: str, encoder_weights: str, widths: Sequence[int]):
        super().__init__()
        self.encoder = build_encoder(encoder, encoder_weights)
        skips = feature_channels(self.encoder)
        mean, std = expected_statistics(self.encoder)
        with_small_maps(self.encoder)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        belows = [skips[4], *widths[:3]]
        self.ups = nn.ModuleList(
            UpBlock(below, skip, width) for below, skip, width in zip(belows, reversed(skips[:4]), widths, strict=True)
        )
        self.attention = SelfAttention(widths[0])
        self.chroma = nn.Conv2d(widths[3], 2, 3, padding=1)
        nn.init.zeros_(self.chroma.weight)
        assert self.chroma.bias is not None  # the layer has one by default
        nn.init.zeros_(self.chroma.bias)

    def decoded(self, lightness: torch.Tensor) -> torch.Tensor:
        """What the last layer sees: (N, last width, H/2, W/2)."""
        grey = (lightness / 100).expand(-1, 3, -1, -1)
        features = self.encoder((grey - self.mean) / self.std)
        x = features[4]
        for number, (up, skip) in enumerate(zip(self.ups, reversed(features[:4]), strict=True)):
            x = up(x, skip)
            if number == 0:
                x = self.attention(x)
        return x

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        """CIE L* (N, 1, H, W) in 0..100 to CIELAB a*, b* (N, 2, H/2, W/2); H and W multiples of 32."""
        return self.chroma(self.decoded(lightness)) * CHROMA_SCALE
