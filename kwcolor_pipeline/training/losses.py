"""Losses and the validation scores.

Belongs here: what a training step makes small, and what chooses the epoch that is kept. The features that both
may look at are in ``networks``.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.colour.lab import lab_to_rgb_clipped, lab_to_rgb_in_gamut
from kwcolor_pipeline.colour.measures import colourfulness_of_batch
from kwcolor_pipeline.home import sha256_of
from kwcolor_pipeline.networks.encoders import BUNDLED_ENCODER, build_encoder
from kwcolor_pipeline.networks.features import FEATURE_SIDE, Matrix, frechet_distance, lite0_features_of_batch
from kwcolor_pipeline.networks.vgg import cached_vgg16_file, download_vgg16, load_vgg16
from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training.data import Batch

#: CIELAB units that count as one in the losses, so that weights are near 1.
CHROMA_UNIT = 20.0
#: Validation photographs below which a Fréchet distance says more about their choice than about the colours.
FEWEST_FOR_FRECHET = 50
#: Length below which a feature vector is not stretched to one: VGG's are zero in flat places, and so would
#: their gradient's denominator be.
_SHORTEST_FEATURE = 1e-2
#: Side at which Lite0 sees crops that are no larger.
_SMALL_SIDE = 128
#: Halvings of the logarithm's interval in which a colour gain is sought: it is found to less than a percent.
_GAIN_HALVINGS = 8
#: Photographs that Lite0 sees at once in a validation pass.
_SEEN_AT_ONCE = 32


def chroma_l1(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of a*, b* (N, 2, h, w), in units of 20."""
    return F.l1_loss(predicted, truth) / CHROMA_UNIT


def critic_hinge(on_photographs: torch.Tensor, on_generated: torch.Tensor) -> torch.Tensor:
    """The critic's hinge loss over patch scores (Geometric GAN, arXiv 1705.02894)."""
    return (F.relu(1 - on_photographs).mean() + F.relu(1 + on_generated).mean()) / 2


def generator_hinge(on_generated: torch.Tensor) -> torch.Tensor:
    """The generator's side of the hinge loss."""
    return -on_generated.mean()


class FeatureDistance(nn.Module, ABC):
    """Distance of a frozen network's features of two pictures, each position's vector made of length one.

    The form of LPIPS (arXiv 1801.03924) without its learned weights; never called LPIPS.
    """

    @abstractmethod
    def features(self, rgb: torch.Tensor) -> Sequence[torch.Tensor]:
        """The network's features of sRGB (N, 3, h, w) in 0..1."""

    def _unit_features(self, lab: torch.Tensor) -> list[torch.Tensor]:
        features = self.features(lab_to_rgb_clipped(lab))
        return [F.normalize(one.float(), dim=1, eps=_SHORTEST_FEATURE) for one in features]

    def forward(self, predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """CIELAB pictures (N, 3, h, w) to a scalar; under autocast only the network computes in half precision."""
        with torch.no_grad():
            wanted = self._unit_features(truth)
        pairs = zip(self._unit_features(predicted), wanted, strict=True)
        return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in pairs]).mean()


class Lite0Distance(FeatureDistance):
    """Over the features of EfficientNet-Lite0 at strides 2 to 16, whose weights the package brings."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = build_encoder(BUNDLED_ENCODER, "bundled").eval().requires_grad_(False)

    def features(self, rgb: torch.Tensor) -> Sequence[torch.Tensor]:
        return self.encoder(rgb * 2 - 1)[:4]


class Vgg16Distance(FeatureDistance):
    """Over the features of VGG16 at relu2_2, relu3_3 and relu4_3, with the weights in ``file``.

    Raises SettingsProblem when the file is missing or holds something else.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.network = load_vgg16(file)

    def features(self, rgb: torch.Tensor) -> Sequence[torch.Tensor]:
        return self.network(rgb)


def _vgg16_file(weights: str) -> Path | None:
    """The file of VGG16's weights that ``perceptual_weights`` means on this machine; None for Lite0's."""
    if weights in ("auto", "hub"):
        file = cached_vgg16_file()
        return file if weights == "hub" or file.is_file() else None
    return None if weights == "bundled" else Path(weights)


def perceptual_features(weights: str) -> dict[str, str]:
    """Which features a preset's ``perceptual_weights`` means, for a request and the record; asks no network.

    `bundled`: Lite0's. `hub`: VGG16's from torchvision. A file: VGG16's from there. `auto`: VGG16's where
    torchvision's file has been downloaded, see :func:`obtain_perceptual_weights`, else Lite0's.
    """
    file = _vgg16_file(weights)
    if file is None:
        return {"features": BUNDLED_ENCODER, "weights": "bundled"}
    if file == cached_vgg16_file():
        return {"features": "vgg16", "weights": file.name}  # the name holds the beginning of the hash
    return {"features": "vgg16", "weights_sha256": sha256_of(file) if file.is_file() else "missing"}


def obtain_perceptual_weights(weights: str) -> str:
    """Download VGG16's weights where ``weights`` asks for them; gives a sentence for the log: what is used and why.

    To be called before the request is made, because `auto` becomes what is on this machine by then.
    Raises SettingsProblem when `hub` cannot be downloaded.
    """
    if weights in ("auto", "hub"):
        try:
            download_vgg16()
        except SettingsProblem as problem:
            if weights == "hub":
                raise
            return f"The perceptual loss uses the bundled Lite0 features. {problem}"
    used = perceptual_features(weights)
    return f"The perceptual loss uses the features of {used['features']} ({used.get('weights', weights)})."


def perceptual_distance(weights: str) -> FeatureDistance:
    """The distance that :func:`perceptual_features` names. Raises SettingsProblem when its weights are not there."""
    file = _vgg16_file(weights)
    return Lite0Distance() if file is None else Vgg16Distance(file)


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


class DistributionScore:
    """Scores a generator by how its pictures are distributed, where a person would look for grey and for blotches.

    The score is ``F / F_grey + |C - C_truth| / C_truth``: the Fréchet-Lite0 distance of the colorized from the
    original photographs, as a share of the grey photographs' distance, and how far the mean colourfulness
    (Hasler and Süsstrunk) is from the originals', as a share of theirs. The originals score 0 and grey copies 2.
    A compromise in grey-brown is punished by both parts, blotches of too much colour by the first.

    The distance's bias over few photographs is the same in every epoch, because the photographs are, but below
    :data:`FEWEST_FOR_FRECHET` it is mostly noise: use :class:`ValidationScore` alone there.

    Lite0 sees the photographs at 224 pixels, and crops of up to 128 at 128: enlarging them further takes three
    times as long, shows nothing new and ranks generators alike. Those distances are no less comparable with each
    other, but not with an evaluation's.

    Args:
        batches: the validation split.
        most: photographs that are looked at, evenly chosen from the split.
    """

    def __init__(self, batches: Sequence[Batch], most: int):
        count = sum(len(batch.lab) for batch in batches)
        lightness = torch.cat([batch.lightness for batch in batches])
        device = lightness.device
        self._chosen = torch.from_numpy(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)).to(device)
        self._lightness = lightness[self._chosen]
        self._side = _SMALL_SIDE if min(lightness.shape[2:]) <= _SMALL_SIDE else FEATURE_SIDE
        truth = torch.cat([batch.lab[:, 1:] for batch in batches])[self._chosen]
        self._truth, self._colourfulness = self._seen(truth)
        grey, _ = self._seen(torch.zeros_like(truth))
        self._grey_distance = frechet_distance(self._truth, grey)

    def _pictures(self, chroma: torch.Tensor) -> Iterator[torch.Tensor]:
        """The chosen photographs with this chroma (N, 2, h, w), as sRGB in 0..1 at full resolution."""
        for lightness, ab in zip(self._lightness.split(_SEEN_AT_ONCE), chroma.split(_SEEN_AT_ONCE), strict=True):
            enlarged = F.interpolate(ab, lightness.shape[2:], mode="bilinear", align_corners=False)
            yield lab_to_rgb_in_gamut(torch.cat([lightness, enlarged], dim=1))

    def _seen(self, chroma: torch.Tensor) -> tuple[Matrix, float]:
        """Lite0's features of the chosen photographs with this chroma, and their mean colourfulness."""
        features, colours = [], []
        for pictures in self._pictures(chroma):
            features.append(lite0_features_of_batch(pictures, self._side))
            colours.append(colourfulness_of_batch(pictures))
        return np.concatenate(features), float(torch.cat(colours).mean())

    def colour_gain(self, predicted: torch.Tensor, most: float) -> float:
        """What to multiply a*, b* (N, 2, h, w) of the whole split with, so that it is as colourful as the originals.

        Within ``1 / most`` and ``most``, by bisection: colourfulness grows with the gain, but not in proportion,
        because colours are kept in gamut.
        """
        low, high = 1 / most, most
        for _ in range(_GAIN_HALVINGS):
            gain = math.sqrt(low * high)
            colours = [colourfulness_of_batch(pictures) for pictures in self._pictures(gain * predicted[self._chosen])]
            if float(torch.cat(colours).mean()) < self._colourfulness:
                low = gain
            else:
                high = gain
        return math.sqrt(low * high)

    def of(self, predicted: torch.Tensor) -> dict[str, float]:
        """The score of a*, b* (N, 2, h, w) for the whole split, in its order; lower is better."""
        features, colourfulness = self._seen(predicted[self._chosen])
        distance = frechet_distance(self._truth, features)
        off = colourfulness - self._colourfulness
        return {
            "valid_frechet_lite0": distance,
            "valid_colourfulness_distance": abs(off),
            "score": distance / max(self._grey_distance, 1e-6) + abs(off) / max(self._colourfulness, 1e-6),
        }
