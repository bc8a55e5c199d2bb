import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kwcolor_pipeline.networks.paper_critic import PaperCritic
from kwcolor_pipeline.networks.paper_layers import SpectralNorm, spectral_norm


@pytest.fixture
def critic() -> PaperCritic:
    torch.manual_seed(0)
    return PaperCritic(width=8)


def test_the_papers_size() -> None:
    with torch.device("meta"):  # sizes without the weights
        critic = PaperCritic()
    assert sum(weight.numel() for weight in critic.parameters()) == 44_705_665


@pytest.mark.parametrize(("size", "patches"), [((128, 128), 25), ((64, 64), 1), ((96, 128), 15), ((97, 75), 3)])
@torch.no_grad()
def test_patches(critic: PaperCritic, size: tuple[int, int], patches: int) -> None:
    assert critic(torch.randn(2, 3, *size)).shape == (2, patches)


@torch.no_grad()
def test_dropout_belongs_to_training(critic: PaperCritic) -> None:
    rgb = torch.randn(1, 3, 64, 64)
    torch.manual_seed(0)
    assert len({float(critic.train()(rgb)) for _ in range(3)}) == 3
    assert len({float(critic.eval()(rgb)) for _ in range(3)}) == 1
    assert [module.p for module in critic.modules() if isinstance(module, nn.Dropout2d)] == [0.075, 0.15]


def _vectors(critic: nn.Module) -> list[torch.Tensor]:
    return [tensor for norm in critic.modules() if isinstance(norm, SpectralNorm) for tensor in norm.buffers()]


@torch.no_grad()
def test_weights_become_spectrally_normal_in_training_only(critic: PaperCritic) -> None:
    convs = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert len(_vectors(critic)) == 2 * len(convs)
    for conv in convs:
        conv.parametrizations.weight.original.mul_(50)  # type: ignore[union-attr,operator]
    before = [vector.clone() for vector in _vectors(critic)]
    critic.eval()(torch.zeros(1, 3, 64, 64))
    assert all(torch.equal(old, new) for old, new in zip(before, _vectors(critic), strict=True))
    critic.train()
    for _ in range(50):
        critic(torch.zeros(1, 3, 64, 64))
    for conv in convs:
        assert float(torch.linalg.matrix_norm(conv.eval().weight.flatten(1), 2)) == pytest.approx(1, abs=0.03)


@torch.no_grad()
def test_one_iteration_takes_the_right_vector_first() -> None:
    conv = spectral_norm(nn.Conv2d(2, 3, 1, bias=False)).eval()
    norm = conv.parametrizations.weight[0]  # type: ignore[union-attr,index]
    matrix = torch.tensor([[3.0, 0.0], [4.0, 0.0], [0.0, 1.0]])
    conv.parametrizations.weight.original.copy_(matrix.view(3, 2, 1, 1))  # type: ignore[union-attr,operator]
    norm.left.copy_(torch.tensor([0.0, 0.6, 0.8]))
    conv.train()
    right = torch.tensor([2.4, 0.8]) / (2.4**2 + 0.8**2) ** 0.5
    left = matrix @ right / (matrix @ right).norm()
    assert torch.allclose(conv.weight.flatten(1), matrix / (left @ matrix @ right), atol=1e-6)
    assert torch.allclose(norm.right, right)
    assert torch.allclose(norm.left, left)


def test_two_passes_before_one_gradient(critic: PaperCritic) -> None:
    critic.train()
    nn.init.ones_(critic.attention.gain)
    first, second = critic(torch.randn(2, 3, 64, 64)), critic(torch.randn(2, 3, 64, 64))
    (first.mean() - 2 * second.mean()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in critic.parameters())


@torch.no_grad()
def test_weights_come_back_as_they_went(critic: PaperCritic, tmp_path: Path) -> None:
    critic.train()(torch.randn(2, 3, 64, 64))
    save_file(critic.state_dict(), tmp_path / "w.safetensors")
    loaded = PaperCritic(width=8)
    loaded.load_state_dict(load_file(tmp_path / "w.safetensors"))
    rgb = torch.randn(1, 3, 80, 64)
    for other in (loaded, copy.deepcopy(critic)):
        assert torch.equal(other.eval()(rgb), critic.eval()(rgb))


def test_half_precision_keeps_the_singular_value(critic: PaperCritic) -> None:
    rgb = torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = critic(rgb)
        assert critic.stem.weight.dtype == torch.float32
    assert logits.dtype == torch.bfloat16
    logits.float().mean().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in critic.parameters())
