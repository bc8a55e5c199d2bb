import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from kwcolor_pipeline.networks.dynamic_unet import IMAGENET_MEAN, IMAGENET_STD, DynamicUnet
from kwcolor_pipeline.networks.paper_layers import PixelShuffleUp, SpectralAttention

TINY = "test_efficientnet.r160_in1k"
RESNET34 = "resnet34.tv_in1k"


@pytest.fixture(scope="module")
def paper() -> DynamicUnet:
    with torch.device("meta"):  # names and sizes without the weights
        return DynamicUnet(RESNET34, "none")


@pytest.fixture
def unet() -> DynamicUnet:
    torch.manual_seed(0)
    return DynamicUnet(TINY, "none")


def _ups(network: nn.Module) -> list[PixelShuffleUp]:
    return [module for module in network.modules() if isinstance(module, PixelShuffleUp)]


def test_the_papers_size(paper: DynamicUnet) -> None:
    assert sum(weight.numel() for weight in paper.parameters()) == 41_413_534
    assert sum(weight.numel() for weight in paper.encoder.parameters()) == 21_284_672
    assert [block.width for block in paper.blocks] == [512, 384, 256, 96]
    assert [block.attention is not None for block in paper.blocks] == [False, True, False, False]
    assert [up.blur for up in _ups(paper)] == [True, True, True, True, False]
    assert paper.colour.weight.shape == (3, 99, 1, 1)


def test_the_encoder_has_torchvisions_names(paper: DynamicUnet) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.resnet34().state_dict()
    expected = {name: tensor.shape for name, tensor in theirs.items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in paper.encoder.state_dict().items()} == expected


def test_layer_groups_end_where_the_papers_do(paper: DynamicUnet) -> None:
    names = {id(weight): name for name, weight in paper.named_parameters()}
    groups = [[names[id(weight)] for weight in group] for group in paper.layer_groups()]
    assert sorted(name for group in groups for name in group) == sorted(names.values())
    heads = [{".".join(name.split(".")[:2]) for name in group if name.startswith("encoder.")} for group in groups]
    assert heads == [
        {"encoder.conv1", "encoder.bn1", "encoder.layer1", "encoder.layer2"},
        {"encoder.layer3", "encoder.layer4"},
        set(),
    ]


def test_layer_groups_of_another_encoder_end_at_stride_8(unet: DynamicUnet) -> None:
    shallow, deep, rest = unet.layer_groups()
    inner = {id(weight) for weight in unet.encoder.parameters()}
    assert all(id(weight) in inner for weight in [*shallow, *deep])
    assert len(shallow) + len(deep) == len(inner)
    assert not any(id(weight) in inner for weight in rest)
    seen: dict[str, torch.Size] = {}
    for name, module in unet.encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, given, name=name: seen.update({name: given.shape}))
    with torch.no_grad():
        unet.eval()(torch.zeros(1, 3, 64, 64))
    of_shallow = {id(weight) for weight in shallow}
    sides = {
        name: shape[-1]
        for name, shape in seen.items()
        if id(unet.encoder.get_submodule(name).weight) in of_shallow  # type: ignore[arg-type]
    }
    assert min(sides.values()) == 8
    first_deep = next(name for name in seen if name not in sides)
    assert list(seen).index(first_deep) == len(sides)


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (70, 17), (2, 5)])
@torch.no_grad()
def test_any_size_comes_out_as_it_went_in(unet: DynamicUnet, size: tuple[int, int]) -> None:
    out = unet.eval()(torch.randn(1, 3, *size))
    assert out.shape == (1, 3, *size)
    assert out.isfinite().all()


@torch.no_grad()
def test_colours_lie_within_three_deviations(unet: DynamicUnet) -> None:
    for bias, expected in ((1e3, 3.0), (-1e3, -3.0)):
        nn.init.constant_(unet.colour.bias, bias)
        assert unet.eval()(torch.randn(1, 3, 32, 32)).unique().tolist() == [expected]


def test_every_weight_learns(unet: DynamicUnet) -> None:
    attention = unet.blocks[1].attention
    assert attention is not None
    nn.init.ones_(attention.gain)
    unet(torch.randn(2, 3, 40, 56)).square().mean().backward()
    idle = [name for name, weight in unet.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_training_begins_without_a_checkerboard(unet: DynamicUnet) -> None:
    for up in _ups(unet):
        x = torch.randn(2, up.conv.in_channels, 3, 5)
        up.blur = False
        shuffled = up(x)
        assert torch.equal(shuffled, F.interpolate(shuffled[..., ::2, ::2], scale_factor=2, mode="nearest"))
        assert shuffled.std() > 0.1


def test_a_flag_restores_the_lost_initialisation() -> None:
    for up in _ups(DynamicUnet(TINY, "none", initialisation_is_lost=True)):
        up.blur = False
        shuffled = up(torch.randn(2, up.conv.in_channels, 3, 5))
        assert (shuffled[..., ::2, ::2] - shuffled[..., 1::2, 1::2]).abs().max() > 0.1


def _is_weight_normed(module: nn.Module) -> bool:
    return parametrize.is_parametrized(module, "weight") and hasattr(module.parametrizations.weight, "original1")  # type: ignore[union-attr]


def test_initialisation_is_in_effect_under_weight_norm(unet: DynamicUnet) -> None:
    fresh = {name: module.weight.clone() for name, module in unet.named_modules() if _is_weight_normed(module)}
    unet.train()(torch.randn(2, 3, 64, 64))
    for name, weight in fresh.items():
        module = unet.get_submodule(name)
        assert torch.equal(module.weight, weight)  # type: ignore[arg-type]
        fan_in = weight[0].numel()
        if weight.numel() > 5000:
            assert float(weight.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.2), name


@torch.no_grad()
def test_blur_averages_with_the_upper_and_left_neighbours() -> None:
    up = PixelShuffleUp(1, 1, blur=True, icnr_is_lost=False)
    up.conv.weight = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    assert torch.allclose(up(torch.ones(1, 1, 1, 1)), torch.tensor([[1.0, 1.5], [2.0, 2.5]]))
    up.conv.weight = torch.full((4, 1, 1, 1), 5.0)
    assert torch.allclose(up(torch.ones(1, 1, 3, 4)), torch.full((1, 1, 6, 8), 5.0))


def test_blur_and_attention_can_be_left_out() -> None:
    plain = DynamicUnet(TINY, "none", blur=False, self_attention=False)
    assert not any(up.blur for up in _ups(plain))
    assert not any(isinstance(module, SpectralAttention) for module in plain.modules())


@torch.no_grad()
def test_attention_sums_over_the_axis_of_its_softmax() -> None:
    torch.manual_seed(1)
    attention = SpectralAttention(16, kaiming=True).eval()
    x = torch.randn(2, 16, 3, 5)
    assert torch.equal(attention(x), x)
    nn.init.constant_(attention.gain, 0.7)
    query, key, value = (layer(x).flatten(2) for layer in (attention.query, attention.key, attention.value))
    weights = torch.softmax(query.transpose(1, 2) @ key, dim=1)
    expected = x + 0.7 * (value @ weights).reshape(x.shape)
    assert torch.allclose(attention(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("encoder", "mean", "std"), [(TINY, IMAGENET_MEAN, IMAGENET_STD), ("tf_efficientnet_lite0.in1k", [0.5], [0.5])]
)
@torch.no_grad()
def test_the_encoder_gets_the_statistics_that_it_was_trained_with(
    encoder: str, mean: Sequence[float], std: Sequence[float]
) -> None:
    unet = DynamicUnet(encoder, "none").eval()
    seen: list[torch.Tensor] = []
    unet.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pixels = torch.rand(1, 3, 32, 32)
    unet(_normalised(pixels, IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(seen[0], _normalised(pixels, mean, std), atol=1e-5)
    assert not {"scale", "shift"} & unet.state_dict().keys()


def _normalised(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    return (pixels - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


@torch.no_grad()
def test_weights_come_back_as_they_went(unet: DynamicUnet, tmp_path: Path) -> None:
    unet.train()(torch.randn(2, 3, 64, 64))
    save_file({name: tensor.contiguous() for name, tensor in unet.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = DynamicUnet(TINY, "none")
    loaded.load_state_dict(load_file(tmp_path / "w.safetensors"))
    rgb = torch.randn(1, 3, 32, 32)
    for other in (loaded, copy.deepcopy(unet)):
        assert torch.equal(other.eval()(rgb), unet.eval()(rgb))


def test_half_precision(unet: DynamicUnet) -> None:
    rgb = torch.randn(2, 3, 64, 64)
    single = unet.eval()(rgb)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = unet(rgb)
    assert half.dtype == torch.bfloat16
    assert (half.float() - single).abs().mean() < 0.1
    half.float().mean().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in unet.parameters())
    with torch.no_grad():
        assert unet.bfloat16()(rgb.bfloat16()).isfinite().all()
