"""LPIPS: the perceptual distance of Zhang et al. (2018), with weights that the user brings.

Belongs here: the network and its two files. Weights are never silently random: there is no network without them.

The distance is that of version 0.1 over AlexNet: features of five layers, each position scaled to unit length, their
squared differences weighed per channel by the learned heads, averaged over the positions and summed over the layers.
"""

import importlib.util
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import alexnet

from kwcolor_pipeline.home import sha256_of
from kwcolor_pipeline.networks.encoders import state_from_file
from kwcolor_pipeline.networks.features import Picture
from kwcolor_pipeline.settings import SettingsProblem

#: torchvision's AlexNet_Weights.IMAGENET1K_V1, and how its sha256 begins: torch's hub writes it into the name.
ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
_ALEXNET_BEGINS = "7be5be79"
#: The heads of version 0.1 over AlexNet, as PyPI's package `lpips` 0.1.4 carries them.
_HEADS_IN_PACKAGE = "weights/v0.1/alex.pth"
_HEADS_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
#: ReLUs of AlexNet's `features` whose outputs are compared, and their channels.
_TAPS = (1, 4, 7, 9, 11)
_CHANNELS = (64, 192, 384, 256, 256)
#: How the authors scale sRGB in -1..1: ImageNet's means and deviations, rounded.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_SMALLEST_SIDE = 64
_TINY = 1e-10


def heads_in_package() -> Path | None:
    """The heads' file in the installed package `lpips`; None where it is not installed."""
    package = importlib.util.find_spec("lpips")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / _HEADS_IN_PACKAGE


class LpipsNetwork(nn.Module):
    """From two batches of sRGB (N, 3, H, W) in 0..1 to their distances (N,); sides of 64 at least."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = alexnet(weights=None).features[: _TAPS[-1] + 1]
        self.heads = nn.ParameterList(torch.zeros(1, channels, 1, 1) for channels in _CHANNELS)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)

    def _unit_features(self, rgb: torch.Tensor) -> list[torch.Tensor]:
        x, taps = (rgb * 2 - 1 - self.shift) / self.scale, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in _TAPS:
                taps.append(x / (x.norm(dim=1, keepdim=True) + _TINY))
        return taps

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        layers = zip(self.heads, self._unit_features(first), self._unit_features(second), strict=True)
        distances = [(head * (one - other) ** 2).sum(dim=1).mean(dim=(1, 2)) for head, one, other in layers]
        return torch.stack(distances).sum(dim=0)


def load_lpips(trunk: Path, heads: Path) -> LpipsNetwork:
    """The network with AlexNet's weights from ``trunk`` and the published ``heads``, frozen.

    Raises SettingsProblem when a file is missing or is another one than the published.
    """
    network = LpipsNetwork()
    _check(trunk, _ALEXNET_BEGINS, f"torchvision's {ALEXNET_FILE}")
    _check(heads, _HEADS_SHA256, f"{_HEADS_IN_PACKAGE} of PyPI's package lpips 0.1.4")
    state, weights = state_from_file(trunk), state_from_file(heads)
    state = {name: tensor for name, tensor in state.items() if name.startswith("features.")}
    state |= {f"heads.{number}": weights[f"lin{number}.model.1.weight"] for number in range(len(_TAPS))}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _check(file: Path, begins: str, what: str) -> None:
    if not file.is_file():
        raise SettingsProblem(f"The weights file {file} does not exist; LPIPS needs {what}.")
    found = sha256_of(file)
    if not found.startswith(begins):
        raise SettingsProblem(f"{file} is not {what}: its sha256 is {found[:12]}… and should begin with {begins[:12]}.")


class Lpips:
    """The distance of two pictures of the same size; a shorter side than 64 pixels is enlarged to that first."""

    def __init__(self, network: LpipsNetwork, device: torch.device | str = "cpu"):
        self._device = torch.device(device)
        self._network = network.to(self._device)

    @torch.no_grad()
    def __call__(self, truth: Picture, result: Picture) -> float:
        """LPIPS of uint8 RGB pictures (H, W, 3): 0 for identical ones, about 1 for unlike ones."""
        return float(self._network(self._scaled(truth), self._scaled(result)).item())

    def _scaled(self, picture: Picture) -> torch.Tensor:
        rgb = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].to(self._device).float() / 255
        factor = _SMALLEST_SIDE / min(rgb.shape[2:])
        if factor <= 1:
            return rgb
        size = [max(_SMALLEST_SIDE, round(side * factor)) for side in rgb.shape[2:]]
        return F.interpolate(rgb, size, mode="bilinear", align_corners=False)
