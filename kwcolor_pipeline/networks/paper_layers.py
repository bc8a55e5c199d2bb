"""Layers that the paper's generator and critic are made of: normalised convolutions, attention, upsampling.

Belongs here: what `dynamic_unet` and `paper_critic` share. The networks themselves are there. What is
written here follows fastai 2.8 in effect and is compared with it by `make oracle`.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm


class SpectralNorm(nn.Module):
    """Parametrization: a weight over its largest singular value, by one power iteration a training step.

    Algorithm 1 of arXiv 1802.05957 to the letter: first the right vector, then the left one. The
    parametrization that comes with PyTorch takes them in the other order and iterates before the first
    step, so its weights are never those of the original.

    The iteration stays in float32 under autocast, where half precision would lose the singular value.
    """

    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("left", F.normalize(weight.new_empty(rows).normal_(), dim=0))
        self.register_buffer("right", F.normalize(weight.new_empty(columns).normal_(), dim=0))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                self._iterate(matrix)
            # A later pass moves the vectors on before the gradient of this one is asked for.
            left, right = self.left.clone(), self.right.clone()
            return weight / torch.dot(left, torch.mv(matrix, right))

    @torch.no_grad()
    def _iterate(self, matrix: torch.Tensor) -> None:
        self.right.copy_(F.normalize(torch.mv(matrix.t(), self.left), dim=0))
        self.left.copy_(F.normalize(torch.mv(matrix, self.right), dim=0))


def spectral_norm(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with a spectrally normalised weight."""
    # Checking the shape would be a first power iteration.
    parametrize.register_parametrization(conv, "weight", SpectralNorm(conv.weight.detach()), unsafe=True)
    return conv


def zero_bias(conv: nn.Conv2d) -> None:
    """Set the bias, if there is one, to zero."""
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def weight_norm_conv(below: int, width: int, size: int, weight_is_lost: bool) -> nn.Conv2d:
    """A ReLU's convolution under weight norm (arXiv 1602.07868), Kaiming-normal, bias 0, same size out as in.

    ``weight_is_lost``: as in the original, which writes its Kaiming-normal weight where the next pass
    overwrites it, so that the Kaiming-uniform one from before is what training begins with.
    """
    conv = nn.Conv2d(below, width, size, padding=size // 2)
    if weight_is_lost:
        nn.init.kaiming_uniform_(conv.weight)
    else:
        nn.init.kaiming_normal_(conv.weight)
    zero_bias(conv)
    return weight_norm(conv)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm whose bias begins at 0.001, as fastai's does."""
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.bias, 1e-3)
    return norm


class SpectralAttention(nn.Module):
    """Single-head attention over all positions with spectrally normalised 1x1 convolutions (arXiv 1805.08318).

    The names are the original's, whose softmax runs over the axis that is then summed: what it calls key
    asks, and what it calls query is asked. No scale; the gain starts at zero.
    """

    def __init__(self, channels: int, kaiming: bool):
        super().__init__()
        self.query = self._conv(channels, channels // 8, kaiming)
        self.key = self._conv(channels, channels // 8, kaiming)
        self.value = self._conv(channels, channels, kaiming)
        self.gain = nn.Parameter(torch.zeros(1))

    @staticmethod
    def _conv(below: int, width: int, kaiming: bool) -> nn.Conv2d:
        conv = nn.Conv2d(below, width, 1, bias=False)
        if kaiming:
            nn.init.kaiming_normal_(conv.weight)
        return spectral_norm(conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (layer(x).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(key, query, value, scale=1.0)
        return x + self.gain * attended.transpose(1, 2).reshape(x.shape)


@torch.no_grad()
def icnr_(weight: torch.Tensor) -> torch.Tensor:
    """Fill a convolution's weight so that PixelShuffle(2) after it is nearest upsampling (arXiv 1707.02937)."""
    quarter = nn.init.kaiming_normal_(torch.empty_like(weight[::4]))
    return weight.copy_(quarter.repeat_interleave(4, dim=0))


class PixelShuffleUp(nn.Module):
    """Doubles the resolution: 1x1 convolution, ReLU, PixelShuffle and, where asked, a 2x2 average.

    Args:
        below, width: channels in and out.
        blur: average each pixel with its upper and left neighbours (arXiv 1806.02658); the border repeats.
        icnr_is_lost: the original's fault under weight norm: ICNR is written where the next pass
            overwrites it, and training begins with a checkerboard.
    """

    def __init__(self, below: int, width: int, blur: bool, icnr_is_lost: bool):
        super().__init__()
        self.conv = weight_norm_conv(below, 4 * width, 1, icnr_is_lost)
        if not icnr_is_lost:
            # Assigned and not written into: assigning sets the length and the direction it is made of.
            self.conv.weight = icnr_(self.conv.weight.detach().clone())
        self.blur = blur

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up = F.pixel_shuffle(F.relu(self.conv(x)), 2)
        return F.avg_pool2d(F.pad(up, (1, 0, 1, 0), mode="replicate"), 2, stride=1) if self.blur else up
