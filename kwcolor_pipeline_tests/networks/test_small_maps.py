"""Convolutions of small maps as matrix products: the same numbers, names and layouts."""

import pytest
import torch
from torch import nn

from kwcolor_pipeline.networks.generator import Generator
from kwcolor_pipeline.networks.small_maps import SmallMapConv2d, with_small_maps


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("size", "stride"), [((2, 2), 1), ((1, 1), 1), ((4, 4), 2), ((3, 1), 2), ((1, 4), 1), ((5, 7), 1)]
)
def test_outputs_and_gradients_are_those_of_the_convolution(size: tuple[int, int], stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(256, 8, 3, stride=stride, padding=1, bias=bias).double().to(memory_format=torch.channels_last)
    network = with_small_maps(nn.Sequential(plain))
    assert type(network[0]) is SmallMapConv2d
    x = torch.randn(3, 256, *size, dtype=torch.float64).to(memory_format=torch.channels_last)
    results = []
    for layer in (plain, network):
        given = x.clone(memory_format=torch.channels_last).requires_grad_()
        y = layer(given)
        grown = torch.autograd.grad(y.square().sum(), [given, *layer.parameters()])
        results.append((y, *grown))
    for ours, theirs in zip(*reversed(results), strict=True):
        torch.testing.assert_close(ours, theirs)
    weight = results[1][2]
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_an_encoder_keeps_its_weights_under_their_names() -> None:
    torch.manual_seed(0)
    generator = Generator("resnet34.tv_in1k", "none", (16, 12, 8, 8))
    kinds = {name for name, module in generator.encoder.named_modules() if isinstance(module, SmallMapConv2d)}
    assert "layer4.2.conv2" in kinds
    assert "layer1.0.conv1" not in kinds
    assert "encoder.layer4.2.conv2.weight" in generator.state_dict()
    assert not any(parameter.is_meta for parameter in generator.parameters())


def test_other_convolutions_are_left_alone() -> None:
    others = [
        nn.Conv2d(256, 8, 1),
        nn.Conv2d(256, 8, 3),
        nn.Conv2d(256, 8, 3, padding=2, dilation=2),
        nn.Conv2d(256, 256, 3, padding=1, groups=256),
        nn.Conv2d(64, 8, 3, padding=1),
        nn.Conv2d(256, 8, 3, padding=1, padding_mode="reflect"),
    ]
    assert [type(layer) for layer in with_small_maps(nn.Sequential(*others))] == [nn.Conv2d] * len(others)
