"""VGG16's features, and where its ImageNet weights come from.

Belongs here: the convolutions of VGG16 (arXiv 1409.1556, configuration D) up to the last layer that a
perceptual loss looks at. How features become a loss is in ``training.losses``.

Weights are never silently random: there is no network without a file.
"""

from pathlib import Path

import requests
import torch
from torch import nn

from kwcolor_pipeline.networks.encoders import state_from_file
from kwcolor_pipeline.settings import SettingsProblem

#: torchvision's VGG16_Weights.IMAGENET1K_V1 (https://docs.pytorch.org/vision/stable/models/vgg.html): 528 MB.
VGG16_ADDRESS = "https://download.pytorch.org/models/vgg16-397923af.pth"
_VGG16_NAME = VGG16_ADDRESS.rpartition("/")[2]
#: How the sha256 of the file begins: torch's hub writes it into the name.
_SHA256_BEGINS = "397923af"
#: What those weights were trained on, per channel of sRGB in 0..1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Channels of the convolutions; a pooling stands between the groups.
_GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
#: Layers that end groups two to four, before their poolings: relu2_2, relu3_3 and relu4_3.
_TAPS = (8, 15, 22)
_PROBE_SECONDS = 10


class Vgg16Features(nn.Module):
    """From sRGB (N, 3, H, W) in 0..1 to the features of relu2_2, relu3_3 and relu4_3, at strides 2, 4 and 8.

    The layers have torchvision's numbers, so ``features.*`` of its state dict, or of timm's, fits as it is.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for group in _GROUPS:
            for channels in group:
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[: _TAPS[-1] + 1])
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, rgb: torch.Tensor) -> list[torch.Tensor]:
        x, taps = (rgb - self.mean) / self.std, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in _TAPS:
                taps.append(x)
        return taps


def cached_vgg16_file() -> Path:
    """Where torchvision keeps the weights once they were downloaded, below TORCH_HOME."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _VGG16_NAME


def download_vgg16() -> Path:
    """The weights' file, downloaded to torchvision's place unless it is there.

    Raises SettingsProblem when it cannot be downloaded.
    """
    file = cached_vgg16_file()
    if file.is_file():
        return file
    try:
        # torch's own download waits for an unreachable host as long as the system does.
        requests.head(VGG16_ADDRESS, timeout=_PROBE_SECONDS).raise_for_status()
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(VGG16_ADDRESS, str(file), hash_prefix=_SHA256_BEGINS, progress=False)
    except (requests.RequestException, OSError, RuntimeError) as error:
        raise SettingsProblem(
            f"The weights of VGG16 cannot be downloaded ({type(error).__name__}); give {_VGG16_NAME} as a file in "
            "perceptual_weights, or use perceptual_weights=bundled."
        ) from error
    return file


def load_vgg16(file: Path) -> Vgg16Features:
    """VGG16's features with the weights in ``file``, frozen and in evaluation mode.

    ``file`` is torchvision's or timm's state dict of vgg16 (.pth or .safetensors); the classifier in it is
    not used. Raises SettingsProblem when the file is missing or holds something else.
    """
    network = Vgg16Features()
    state = state_from_file(file)
    try:
        wanted = {name: state[name] for name in network.state_dict()}
        network.load_state_dict(wanted)
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise SettingsProblem(
            f"{file} does not hold the weights of VGG16; give torchvision's {_VGG16_NAME}, or use "
            "perceptual_weights=bundled."
        ) from error
    return network.eval().requires_grad_(False)
