"""The paper's generator: fastai's Dynamic U-Net, in plain PyTorch.

Belongs here: the network and its layer groups. Its layers are in `paper_layers`, how it is trained in
`training.paper_schedule` and `training.paper_gan`. `make oracle` compares all of it with fastai 2.8.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from kwcolor_pipeline.networks.encoders import build_encoder, expected_statistics, feature_channels
from kwcolor_pipeline.networks.paper_layers import (
    PixelShuffleUp,
    SpectralAttention,
    batch_norm,
    weight_norm_conv,
    zero_bias,
)

#: Mean and standard deviation of ImageNet's red, green and blue in 0..1: how pictures go in and come out.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: The network's colours lie within this many standard deviations of ImageNet's mean.
OUTPUT_RANGE = 3.0

#: Where the first layer group of the encoder ends: at the feature map of stride 8.
_FIRST_GROUP_FEATURE = 2


class UnetBlock(nn.Module):
    """Doubles the resolution, joins the encoder's features of that resolution, two convolutions, attention.

    Args:
        below: channels from below; half of them come up.
        skip: channels of the encoder's features.
        last: the last block halves its width.
    """

    def __init__(self, below: int, skip: int, *, last: bool, blur: bool, attention: bool, initialisation_is_lost: bool):
        super().__init__()
        self.up = PixelShuffleUp(below, below // 2, blur, initialisation_is_lost)
        self.norm = batch_norm(skip)
        joined = below // 2 + skip
        self.width = joined // 2 if last else joined
        self.conv1 = weight_norm_conv(joined, self.width, 3, initialisation_is_lost)
        self.conv2 = weight_norm_conv(self.width, self.width, 3, initialisation_is_lost)
        self.attention = SpectralAttention(self.width, kaiming=True) if attention else None

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        up = _resized(self.up(below), skip)
        x = F.relu(torch.cat([up, self.norm(skip)], dim=1))
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return x if self.attention is None else self.attention(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions under weight norm, added to what came in."""

    def __init__(self, width: int, initialisation_is_lost: bool):
        super().__init__()
        self.conv1 = weight_norm_conv(width, width, 3, initialisation_is_lost)
        conv2 = nn.Conv2d(width, width, 3, padding=1)
        if not initialisation_is_lost:
            nn.init.kaiming_normal_(conv2.weight)
        zero_bias(conv2)
        self.conv2 = weight_norm(conv2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class DynamicUnet(nn.Module):
    """From a grey picture in RGB to a coloured one, at full resolution and of any size.

    The encoder's feature maps are joined where its resolution changes: with `resnet34.tv_in1k` after
    layer3, layer2, layer1 and the stem. What goes in is joined once more before the last layers.

    Takes and gives RGB (N, 3, H, W) normalised with ImageNet's statistics (:data:`IMAGENET_MEAN`,
    :data:`IMAGENET_STD`); what comes out lies within ±3. Sides of at least 2; with sides of 32 or less
    training needs two pictures or more.

    Args:
        encoder: timm name of a backbone with features at strides 2, 4, 8, 16 and 32. One that was trained
            with other statistics is given its own.
        encoder_weights: see :func:`build_encoder`.
        blur: average 2x2 pixels after each PixelShuffle but the last.
        self_attention: attention in the second block, at stride 8.
        initialisation_is_lost: restore the original's fault: ICNR and Kaiming-normal are written where
            weight norm overwrites them, so that neither takes effect. fastai 2.8 has mended ICNR alone.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        encoder: str,
        encoder_weights: str,
        *,
        blur: bool = True,
        self_attention: bool = True,
        initialisation_is_lost: bool = False,
    ):
        super().__init__()
        self.encoder = build_encoder(encoder, encoder_weights)
        self._set_statistics()
        *skips, deepest = feature_channels(self.encoder)
        self.norm = batch_norm(deepest)
        self.middle = nn.Sequential(
            weight_norm_conv(deepest, 2 * deepest, 3, initialisation_is_lost),
            nn.ReLU(),
            weight_norm_conv(2 * deepest, deepest, 3, initialisation_is_lost),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList()
        below = deepest
        for number, skip in enumerate(reversed(skips)):
            block = UnetBlock(
                below,
                skip,
                last=number == len(skips) - 1,
                blur=blur,
                attention=self_attention and number == 1,
                initialisation_is_lost=initialisation_is_lost,
            )
            self.blocks.append(block)
            below = block.width
        self.up = PixelShuffleUp(below, below, blur=False, icnr_is_lost=initialisation_is_lost)
        self.residual = ResidualBlock(below + 3, initialisation_is_lost)
        colour = nn.Conv2d(below + 3, 3, 1)
        if colour.bias is not None:
            nn.init.normal_(colour.bias, 0, 0.01)
        self.colour = weight_norm(colour)

    def _set_statistics(self) -> None:
        """Remember what turns ImageNet's normalisation into the one that the encoder was trained with."""
        statistics = expected_statistics(self.encoder)
        mean, std = (torch.tensor(values) for values in statistics)
        scale, shift = torch.tensor(IMAGENET_STD) / std, (torch.tensor(IMAGENET_MEAN) - mean) / std
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)
        self._encoder_has_own_statistics = statistics != (IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Normalised RGB (N, 3, H, W) to normalised RGB of the same size, within ±3."""
        of_encoder = rgb * self.scale + self.shift if self._encoder_has_own_statistics else rgb
        *skips, deepest = self.encoder(of_encoder)
        x = self.middle(F.relu(self.norm(deepest)))
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(x, skip)
        x = _resized(self.up(x), rgb)
        x = self.colour(self.residual(torch.cat([x, rgb], dim=1)))
        return torch.sigmoid(x) * (2 * OUTPUT_RANGE) - OUTPUT_RANGE

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters in three groups, shallow to deep: encoder to stride 8, rest of the encoder, decoder.

        With ResNet34 the first group is conv1 to layer2 and the second layer3 and layer4.
        """
        boundary = list(self.encoder.feature_info.module_name())[_FIRST_GROUP_FEATURE]  # type: ignore[union-attr,operator]
        named = list(self.encoder.named_parameters())
        end = 1 + max(number for number, (name, _) in enumerate(named) if name.startswith(f"{boundary}."))
        encoder = [parameter for _, parameter in named]
        of_encoder = {id(parameter) for parameter in encoder}
        decoder = [parameter for parameter in self.parameters() if id(parameter) not in of_encoder]
        return [encoder[:end], encoder[end:], decoder]


def _resized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``x`` at the height and width of ``like``: an odd side came up one pixel too long."""
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, like.shape[-2:], mode="nearest")
