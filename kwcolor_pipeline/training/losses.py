"""Losses and the validation score."""

import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.colour.lab import lab_to_rgb_in_gamut
from kwcolor_pipeline.networks.encoders import BUNDLED_ENCODER, build_encoder

#: CIELAB units that count as one in the losses, so that weights are near 1.
CHROMA_UNIT = 20.0


def chroma_l1(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of a*, b* (N, 2, h, w), in units of 20."""
    return F.l1_loss(predicted, truth) / CHROMA_UNIT


def critic_hinge(on_photographs: torch.Tensor, on_generated: torch.Tensor) -> torch.Tensor:
    """The critic's hinge loss over patch scores (Geometric GAN, arXiv 1705.02894)."""
    return (F.relu(1 - on_photographs).mean() + F.relu(1 + on_generated).mean()) / 2


def generator_hinge(on_generated: torch.Tensor) -> torch.Tensor:
    """The generator's side of the hinge loss."""
    return -on_generated.mean()


class Lite0Distance(nn.Module):
    """Distance of unit-normalised EfficientNet-Lite0 features at strides 2 to 16.

    The form of LPIPS (arXiv 1801.03924) without its learned weights; never called LPIPS.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = build_encoder(BUNDLED_ENCODER, "bundled").eval().requires_grad_(False)

    def _features(self, lab: torch.Tensor) -> list[torch.Tensor]:
        features = self.encoder(lab_to_rgb_in_gamut(lab) * 2 - 1)[:4]
        return [F.normalize(feature, dim=1) for feature in features]

    def forward(self, predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """CIELAB pictures (N, 3, h, w) to a scalar."""
        pairs = zip(self._features(predicted), self._features(truth), strict=True)
        return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in pairs]).mean()


class ValidationScore:
    """Collects a validation pass; lower is better.

    The score is the mean CIELAB chroma error plus half the difference of the mean chroma, both in
    CIELAB units: the second part keeps a grey-brown compromise from looking like the best epoch.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)

    def add(self, predicted: torch.Tensor, truth: torch.Tensor) -> None:
        """Add a*, b* (N, 2, h, w)."""
        error = (predicted - truth).norm(dim=1)
        sums = [error.sum(), predicted.norm(dim=1).sum(), truth.norm(dim=1).sum()]
        self._sums += torch.tensor([*(float(value) for value in sums), error.numel()], dtype=torch.float64)

    def result(self) -> dict[str, float]:
        error, chroma, true_chroma = (self._sums[:3] / self._sums[3]).tolist()
        return {
            "valid_chroma_error": error,
            "valid_chroma_ratio": chroma / max(true_chroma, 1e-6),
            "score": error + abs(chroma - true_chroma) / 2,
        }
