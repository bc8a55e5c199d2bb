"""LPIPS with random weights: against its formula, against the package `lpips` where it is installed, its refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import alexnet

from kwcolor_pipeline.networks import lpips as module
from kwcolor_pipeline.networks.lpips import Lpips, LpipsNetwork, load_lpips
from kwcolor_pipeline.settings import SettingsProblem


@pytest.fixture(scope="module")
def network() -> LpipsNetwork:
    drawn = torch.Generator().manual_seed(0)
    network = LpipsNetwork().eval().requires_grad_(False)
    for tensor in network.features.state_dict().values():
        tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5 if tensor.dim() > 1 else 0.1, generator=drawn)
    for head in network.heads:
        head.uniform_(0, 1, generator=drawn)
    return network


def _picture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _by_formula(network: LpipsNetwork, first: np.ndarray, second: np.ndarray) -> float:
    """Equation 1 of the paper, position by position."""
    layers = torch.nn.ModuleList(network.features)
    states = []
    for picture in (first, second):
        scaled = picture.astype(np.float64) / 127.5 - 1
        scaled = (scaled - (-0.030, -0.088, -0.188)) / (0.458, 0.448, 0.450)
        states.append(torch.from_numpy(scaled.transpose(2, 0, 1))[None].float())
    total, tap = 0.0, 0
    for number, layer in enumerate(layers):
        states = [layer(state.clone()) for state in states]
        if number not in (1, 4, 7, 9, 11):
            continue
        weights = network.heads[tap].flatten().double().numpy()
        maps = [state[0].double().numpy() for state in states]
        _, rows, columns = maps[0].shape
        for row in range(rows):
            for column in range(columns):
                units = [one[:, row, column] / max(np.linalg.norm(one[:, row, column]), 1e-10) for one in maps]
                total += (weights * (units[0] - units[1]) ** 2).sum() / (rows * columns)
        tap += 1
    return total


def test_the_distance_is_that_of_the_formula(network: LpipsNetwork) -> None:
    first, second = _picture(1, 64, 70), _picture(2, 64, 70)
    distance = Lpips(network)
    assert distance(first, second) == pytest.approx(_by_formula(network, first, second), rel=1e-4)
    assert distance(first, second) == pytest.approx(distance(second, first), rel=1e-5)
    assert distance(first, first) == 0


def test_the_distance_is_that_of_the_package(network: LpipsNetwork) -> None:
    package = pytest.importorskip("lpips", reason="the package lpips is not installed")
    theirs = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    trunk = [layer for piece in range(1, 6) for layer in getattr(theirs.net, f"slice{piece}")]
    for ours, layer in zip(network.features, trunk, strict=True):
        layer.load_state_dict(ours.state_dict())
    for head, layer in zip(network.heads, theirs.lins, strict=True):
        layer.model[1].weight.data.copy_(head)
    first, second = _picture(3, 80, 66), _picture(4, 80, 66)
    tensors = [torch.from_numpy(one.transpose(2, 0, 1).copy())[None].float() / 255 for one in (first, second)]
    with torch.no_grad():
        expected = theirs(*tensors, normalize=True).item()
    assert Lpips(network)(first, second) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (20, 300), (63, 64)])
def test_small_pictures_are_enlarged(network: LpipsNetwork, shape: tuple[int, int]) -> None:
    distance = Lpips(network)
    assert distance(_picture(5, *shape), _picture(5, *shape)) == 0
    assert distance(_picture(5, *shape), _picture(6, *shape)) > 0


def test_only_the_published_files_are_taken(
    network: LpipsNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk, heads = tmp_path / "alexnet.pth", tmp_path / "alex.pth"
    state = alexnet(weights=None).state_dict()
    state |= {f"features.{name}": tensor for name, tensor in network.features.state_dict().items()}
    torch.save(state, trunk)
    torch.save({f"lin{number}.model.1.weight": head.data for number, head in enumerate(network.heads)}, heads)
    with pytest.raises(SettingsProblem, match="should begin with 7be5be79"):
        load_lpips(trunk, heads)
    monkeypatch.setattr(module, "_ALEXNET_BEGINS", "")
    with pytest.raises(SettingsProblem, match="should begin with df73285e35b2"):
        load_lpips(trunk, heads)
    with pytest.raises(SettingsProblem, match="does not exist"):
        load_lpips(trunk, tmp_path / "missing.pth")
    monkeypatch.setattr(module, "_HEADS_SHA256", "")
    first, second = _picture(7, 70, 64), _picture(8, 70, 64)
    assert Lpips(load_lpips(trunk, heads))(first, second) == pytest.approx(Lpips(network)(first, second))
