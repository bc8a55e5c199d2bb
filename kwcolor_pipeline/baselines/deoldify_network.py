"""DeOldify's two networks, in plain PyTorch, under the names that its weight files have.

Belongs here: the networks. How their files are read is in `deoldify_weights`, how a photograph goes through
them in `deoldify`.

They are fastai 1's Dynamic U-Net, as `networks.dynamic_unet` is, with other widths, spectral norm and a batch
norm behind every convolution. Nothing is shared with that module because a file of PyTorch 1 names its tensors
by the place of a layer and by the parts of a normalised weight (``weight_orig``, ``weight_u``), and is loaded
here without any renaming. `make oracle-deoldify` compares both networks with DeOldify's own.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import ResNet, resnet34, resnet101

#: The network's colours lie within this many standard deviations of ImageNet's mean.
OUTPUT_RANGE = 3.0
#: Children of torchvision's ResNet up to layer4, and those before which the resolution halves.
_ENCODER_CHILDREN = 8
_SKIPS = (2, 4, 5, 6)
#: The block with self-attention, counted from the deepest.
_ATTENTIVE = 1


class SpectralConv(nn.Module):
    """Convolution of 1 or 2 dimensions under spectral norm, same size out as in, for inference.

    The weight is divided by its largest singular value, which the vectors of the last training step give
    (arXiv 1802.05957). Without a file they are those of one power iteration.
    """

    weight_u: torch.Tensor
    weight_v: torch.Tensor

    def __init__(self, below: int, width: int, size: int, *, bias: bool, dimensions: int = 2):
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(width, below, *[size] * dimensions))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.kaiming_normal_(self.weight_orig)
        with torch.no_grad():
            matrix = self.weight_orig.flatten(1)
            right = F.normalize(torch.mv(matrix.t(), torch.ones_like(matrix[:, 0])), dim=0)
            self.register_buffer("weight_u", F.normalize(torch.mv(matrix, right), dim=0))
            self.register_buffer("weight_v", right)
        self._convolve = F.conv2d if dimensions == 2 else F.conv1d
        self._padding = size // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest = torch.dot(self.weight_u, torch.mv(self.weight_orig.flatten(1), self.weight_v))
        return self._convolve(x, self.weight_orig / largest, self.bias, padding=self._padding)


class WeightNormConv(nn.Module):
    """1x1 convolution under weight norm (arXiv 1602.07868): a length for each output channel, and a direction."""

    def __init__(self, below: int, width: int):
        super().__init__()
        self.weight_v = nn.Parameter(nn.init.kaiming_normal_(torch.empty(width, below, 1, 1)))
        self.weight_g = nn.Parameter(self.weight_v.detach().flatten(1).norm(dim=1).view(width, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = self.weight_v.flatten(1).norm(dim=1).view_as(self.weight_g)
        return F.conv2d(x, self.weight_v * (self.weight_g / length), self.bias)


class SelfAttention(nn.Module):
    """Single-head attention over all positions (arXiv 1805.08318), without a scale.

    As in fastai the softmax runs over the axis that is then summed: its key asks, and its query is asked.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.query = SpectralConv(channels, channels // 8, 1, bias=False, dimensions=1)
        self.key = SpectralConv(channels, channels // 8, 1, bias=False, dimensions=1)
        self.value = SpectralConv(channels, channels, 1, bias=False, dimensions=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positions = x.flatten(2)
        query, key, value = (layer(positions).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(key, query, value, scale=1.0)
        return x + self.gamma * attended.transpose(1, 2).reshape(x.shape)


def _conv_layer(below: int, width: int, *, norm: bool = True, attention: bool = False) -> nn.Sequential:
    """3x3 convolution, ReLU and, where asked, batch norm and attention. A batch norm makes up for the bias."""
    layers: list[nn.Module] = [SpectralConv(below, width, 3, bias=not norm), nn.ReLU()]
    if norm:
        layers.append(nn.BatchNorm2d(width))
    if attention:
        layers.append(SelfAttention(width))
    return nn.Sequential(*layers)


class Upsampling(nn.Module):
    """Doubles the resolution: 1x1 convolution, ReLU, PixelShuffle, 2x2 average.

    The average is always there, also where fastai's `blur` is off: it asks whether there is a layer that could.
    ``spectral``: spectral and batch norm; else weight norm, as before the last layers.
    """

    def __init__(self, below: int, width: int, *, spectral: bool):
        super().__init__()
        layers: list[nn.Module]
        if spectral:
            layers = [SpectralConv(below, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)]
        else:
            layers = [WeightNormConv(below, 4 * width)]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up = F.pixel_shuffle(F.relu(self.conv(x)), 2)
        return F.avg_pool2d(F.pad(up, (1, 0, 1, 0), mode="replicate"), 2, stride=1)


class _Block(nn.Module):
    """Doubles the resolution and joins the encoder's features of that resolution; what follows differs."""

    def __init__(self, below: int, up: int, skip: int):
        super().__init__()
        self.shuf = Upsampling(below, up, spectral=True)
        self.bn = nn.BatchNorm2d(skip)

    def joined(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        up = self.shuf(below)
        if up.shape[-2:] != skip.shape[-2:]:  # an odd side came up one pixel too long
            up = F.interpolate(up, skip.shape[-2:], mode="nearest")
        return F.relu(torch.cat([up, self.bn(skip)], dim=1))


class DeepBlock(_Block):
    """The artistic network's: half of the channels come up, then two convolutions, wider by ``factor``."""

    def __init__(self, below: int, skip: int, *, factor: float, last: bool, attention: bool):
        super().__init__(below, below // 2, skip)
        joined = below // 2 + skip
        self.width = int((joined // 2 if last else joined) * factor)
        self.conv1 = _conv_layer(joined, self.width)
        self.conv2 = _conv_layer(self.width, self.width, attention=attention)

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(self.joined(below, skip)))


class WideBlock(_Block):
    """The stable network's: as many channels come up as go out, one convolution."""

    def __init__(self, below: int, skip: int, *, width: int, attention: bool):
        super().__init__(below, width, skip)
        self.width = width
        self.conv = _conv_layer(width + skip, width, attention=attention)

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.conv(self.joined(below, skip))


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to what came in; the ReLU comes before the sum."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.ModuleList([_conv_layer(width, width, norm=False) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers[1](self.layers[0](x))


class DeOldifyUnet(nn.Module):
    """From a grey picture in RGB to a coloured one, of any size from 32 pixels a side.

    Takes and gives RGB (N, 3, H, W) normalised with ImageNet's statistics; what comes out lies within ±3.

    Args:
        encoder: eight layers as in torchvision's ResNet without its head: convolution, norm, ReLU, pooling
            and four stages, so that the features that are joined come after the ReLU and the first three stages.
        channels: those of the ReLU and of the four stages.
        factor: how much wider the decoder is than fastai's. 1.5 in the artistic network, 2 in the stable one.
        wide: blocks of the stable network instead of the artistic one's.
    """

    def __init__(self, encoder: nn.Sequential, channels: Sequence[int], *, factor: float, wide: bool):
        super().__init__()
        *skips, deepest = channels
        middle = nn.Sequential(_conv_layer(deepest, 2 * deepest), _conv_layer(2 * deepest, deepest))
        blocks: list[DeepBlock | WideBlock] = []
        below = deepest
        for number, skip in enumerate(reversed(skips)):
            last, attention = number == len(skips) - 1, number == _ATTENTIVE
            if wide:
                width = int(256 * factor) // (2 if last else 1)
                blocks.append(WideBlock(below, skip, width=width, attention=attention))
            else:
                blocks.append(DeepBlock(below, skip, factor=factor, last=last, attention=attention))
            below = blocks[-1].width
        joined = below + 3
        # Places without tensors stand for the original's layers (ReLU, the joining of the input, the sigmoid):
        # the number of a layer is part of its tensors' names.
        self.layers = nn.ModuleList(
            [
                encoder,
                nn.BatchNorm2d(deepest),
                nn.ReLU(),
                middle,
                *blocks,
                Upsampling(below, below, spectral=False),
                nn.Identity(),
                _ResidualBlock(joined),
                nn.Sequential(SpectralConv(joined, 3, 1, bias=True)),
            ]
        )

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Normalised RGB (N, 3, H, W) to normalised RGB of the same size, within ±3."""
        encoder, norm, relu, middle, *blocks, up, _, residual, colour = self.layers
        skips, deepest = self._encoded(encoder, rgb)
        x = middle(relu(norm(deepest)))
        for block, skip in zip(blocks, reversed(skips), strict=True):
            x = block(x, skip)
        x = up(x)
        if x.shape[-2:] != rgb.shape[-2:]:
            raise ValueError(f"sides have to be even, and the picture has {tuple(rgb.shape[-2:])} pixels")
        x = colour(residual(torch.cat([x, rgb], dim=1)))
        return torch.sigmoid(x) * (2 * OUTPUT_RANGE) - OUTPUT_RANGE

    @staticmethod
    def _encoded(encoder: nn.Module, rgb: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The features that are joined, shallow to deep, and the deepest."""
        skips = []
        x = rgb
        for number, layer in enumerate(encoder.children()):
            x = layer(x)
            if number in _SKIPS:
                skips.append(x)
        return skips, x


def _without_head(network: ResNet) -> nn.Sequential:
    return nn.Sequential(*list(network.children())[:_ENCODER_CHILDREN])


def artistic() -> DeOldifyUnet:
    """DeOldify's artistic network: ResNet34, 63.65 million parameters, random weights."""
    return DeOldifyUnet(_without_head(resnet34(weights=None)), (64, 64, 128, 256, 512), factor=1.5, wide=False)


def stable() -> DeOldifyUnet:
    """DeOldify's stable network: ResNet101, 218.2 million parameters, random weights."""
    return DeOldifyUnet(_without_head(resnet101(weights=None)), (64, 256, 512, 1024, 2048), factor=2, wide=True)
