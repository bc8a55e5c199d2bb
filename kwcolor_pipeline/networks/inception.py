"""The Inception network of FID, with a weights file that the user brings.

Belongs here: the network, how a picture is given to it, and its file. The distance of two sets of features is in
``features``. Weights are never silently random: there is no network without a file.

FID (Heusel et al., 2017) is defined by one network, TensorFlow's Inception of 2015. Its port to PyTorch
(github.com/mseitzer/pytorch-fid, which computes the published numbers) is torchvision's Inception v3 with 1008 classes
in which average pooling leaves out the padding and the last block pools by maximum. torchvision's own weights are
another network's: with them numbers are not FID, and they do not fit in here.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from kwcolor_pipeline.networks.encoders import state_from_file
from kwcolor_pipeline.networks.features import Matrix, Picture
from kwcolor_pipeline.settings import SettingsProblem

#: The file that pytorch-fid names; its releases have it.
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
_SIDE = 299
_CLASSES = 1008
_TOGETHER = 8


def _average(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _BlockA(InceptionA):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        *others, _ = super()._forward(x)
        return [*others, self.branch_pool(_average(x))]


class _BlockC(InceptionC):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        *others, _ = super()._forward(x)
        return [*others, self.branch_pool(_average(x))]


class _BlockE(InceptionE):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        *others, _ = super()._forward(x)
        return [*others, self.branch_pool(_average(x))]


class _LastBlock(InceptionE):
    def _forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        *others, _ = super()._forward(x)
        return [*others, self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))]


def fid_network() -> nn.Module:
    """The network without weights; (N, 3, 299, 299) in -1..1 to (N, 1008) classes, in evaluation mode."""
    blocks: list[Callable[..., nn.Module]]
    blocks = [BasicConv2d, _BlockA, InceptionB, _BlockC, InceptionD, _BlockE, InceptionAux]
    # Nothing is initialised: that takes long, and there will be weights.
    network = Inception3(num_classes=_CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c = _LastBlock(2048)
    return network.eval().requires_grad_(False)


class InceptionFeatures:
    """From pictures to the 2048 features over which FID is computed.

    Raises SettingsProblem when ``file`` is missing, is read as weights only by running code in it, or holds
    another network's weights.
    """

    def __init__(self, file: Path, device: torch.device | str = "cpu"):
        network = fid_network()
        try:
            network.load_state_dict(state_from_file(file))
        except (RuntimeError, TypeError, AttributeError) as error:
            raise SettingsProblem(
                f"{file} does not hold the Inception network of FID; give {INCEPTION_FILE} from the releases of "
                "pytorch-fid, or leave FID out."
            ) from error
        network.fc = nn.Identity()
        self._device = torch.device(device)
        self._network = network.to(self._device)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> Matrix:
        """Features (n, 2048) of uint8 RGB pictures of any size.

        Each is squeezed to 299 x 299 by bilinear interpolation without antialiasing, as pytorch-fid does.
        """
        batches = (pictures[start : start + _TOGETHER] for start in range(0, len(pictures), _TOGETHER))
        squares = (torch.cat([self._square(picture) for picture in batch]) for batch in batches)
        return np.concatenate([self._network(batch).double().cpu().numpy() for batch in squares])

    def _square(self, picture: Picture) -> torch.Tensor:
        rgb = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].to(self._device).float() / 255
        return F.interpolate(rgb, (_SIDE, _SIDE), mode="bilinear", align_corners=False) * 2 - 1
