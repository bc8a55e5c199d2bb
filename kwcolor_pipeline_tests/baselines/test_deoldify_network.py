"""DeOldify's networks: sizes, names and shapes are the published ones."""

import pytest
import torch
from torch import nn

from kwcolor_pipeline.baselines.deoldify_network import SpectralConv, Upsampling, WeightNormConv, artistic, stable
from kwcolor_pipeline_tests.baselines.small_deoldify import lively, small

#: Some names and shapes of both files.
ARTISTIC = {
    "layers.0.0.weight": (64, 3, 7, 7),
    "layers.0.7.2.conv2.weight": (512, 512, 3, 3),
    "layers.3.0.0.weight_orig": (1024, 512, 3, 3),
    "layers.3.0.2.running_mean": (1024,),
    "layers.4.shuf.conv.0.weight_v": (512,),
    "layers.5.conv2.3.gamma": (1,),
    "layers.5.conv2.3.key.weight_orig": (96, 768, 1),
    "layers.6.conv1.0.weight_u": (672,),
    "layers.7.conv2.0.weight_orig": (300, 300, 3, 3),
    "layers.8.conv.0.weight_g": (1200, 1, 1, 1),
    "layers.10.layers.1.0.bias": (303,),
    "layers.11.0.weight_orig": (3, 303, 1, 1),
}
STABLE = {
    "layers.0.7.2.conv3.weight": (2048, 512, 1, 1),
    "layers.3.1.0.weight_orig": (2048, 4096, 3, 3),
    "layers.4.conv.0.weight_orig": (512, 1536, 3, 3),
    "layers.5.conv.3.value.weight_orig": (512, 512, 1),
    "layers.7.conv.2.weight": (256,),
    "layers.8.conv.0.weight_v": (1024, 256, 1, 1),
    "layers.10.layers.0.0.weight_orig": (259, 259, 3, 3),
}


@pytest.mark.parametrize(
    ("build", "parameters", "tensors", "shapes"),
    [(artistic, 63_646_881, 378, ARTISTIC), (stable, 218_222_197, 754, STABLE)],
)
def test_sizes_and_names_are_the_published_ones(build, parameters, tensors, shapes):
    with torch.device("meta"):
        network = build()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    state = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(state) == tensors
    assert {name: state.get(name) for name in shapes} == shapes


@pytest.mark.parametrize("build", [artistic, stable])
def test_the_real_networks_keep_a_pictures_size(build):
    with torch.device("meta"):
        network = build().eval()
        assert network(torch.empty(1, 3, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("side", [32, 48, 80])
def test_any_square_of_whole_sixteenths_keeps_its_size(wide, side):
    network = lively(small(wide=wide))
    with torch.inference_mode():
        output = network(torch.randn(2, 3, side, side))
    assert output.shape == (2, 3, side, side)
    assert output.abs().max() <= 3
    assert output.std() > 0.01


def test_odd_sides_are_refused():
    with pytest.raises(ValueError, match="even"):
        lively(small())(torch.randn(1, 3, 33, 48))


@pytest.mark.parametrize("dimensions", [1, 2])
def test_spectral_norm_is_pytorchs(dimensions):
    ours = SpectralConv(6, 8, 3, bias=True, dimensions=dimensions)
    conv = (nn.Conv1d if dimensions == 1 else nn.Conv2d)(6, 8, 3, padding=1)
    theirs = nn.utils.spectral_norm(conv).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, *[9] * dimensions)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_is_pytorchs():
    ours = WeightNormConv(6, 8)
    theirs = nn.utils.weight_norm(nn.Conv2d(6, 8, 1))
    with torch.no_grad():
        ours.weight_g.mul_(torch.rand_like(ours.weight_g) + 0.5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("spectral", [True, False])
def test_upsampling_averages_with_the_upper_and_left_neighbours(spectral):
    up = Upsampling(4, 4, spectral=spectral).eval()
    x = torch.randn(1, 4, 3, 5)
    shuffled = nn.functional.pixel_shuffle(torch.relu(up.conv(x)), 2)
    output = up(x)
    assert output.shape == (1, 4, 6, 10)
    torch.testing.assert_close(output[..., 3, 7], shuffled[..., 2:4, 6:8].mean(dim=(-1, -2)))
    torch.testing.assert_close(output[..., 0, 0], shuffled[..., 0, 0])


def test_attention_asks_with_its_key():
    network = lively(small())
    attention = network.layers[5].conv2[3]
    x = torch.randn(1, attention.value.weight_orig.shape[0], 4, 4)
    query, key, value = (layer(x.flatten(2)) for layer in (attention.query, attention.key, attention.value))
    beta = torch.softmax(query.transpose(1, 2) @ key, dim=1)
    expected = x + attention.gamma * (value @ beta).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected)
    assert not torch.equal(attention(x), x)
