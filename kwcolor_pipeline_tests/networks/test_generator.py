import pytest
import torch

from kwcolor_pipeline.networks.critic import Critic
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.networks.encoders import BUNDLED_ENCODER
from kwcolor_pipeline.networks.generator import Generator, SelfAttention
from kwcolor_pipeline.settings import SettingsProblem


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(BUNDLED_ENCODER, "none", (16, 12, 8, 8))


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
@torch.no_grad()
def test_it_begins_grey_at_half_resolution(generator: Generator, size: tuple[int, int]) -> None:
    chroma = generator.eval()(torch.rand(2, 1, *size) * 100)
    assert chroma.shape == (2, 2, size[0] // 2, size[1] // 2)
    assert not chroma.any()


def test_gradients_reach_every_layer_after_the_first_step(generator: Generator) -> None:
    generator.train()
    optimiser = torch.optim.SGD(generator.parameters(), lr=0.1)
    for _ in range(3):  # the last layer and the attention's gain begin at zero and let gradients through one by one
        optimiser.zero_grad()
        chroma = generator(torch.rand(2, 1, 32, 64) * 100)
        (chroma - 10).abs().mean().backward()
        optimiser.step()
    without = [name for name, weight in generator.named_parameters() if weight.grad is None or not weight.grad.any()]
    unused = [name for name in without if name.startswith("encoder.")]
    assert not set(without) - set(unused)
    assert generator.encoder.conv_stem.weight.grad.any()  # type: ignore[union-attr]
    assert len(unused) < 5


def test_the_normalisation_is_the_encoders_and_is_not_stored(generator: Generator) -> None:
    assert generator.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert not {"mean", "std"} & generator.state_dict().keys()


def test_attention_without_gain_is_the_identity() -> None:
    attention = SelfAttention(16)
    x = torch.randn(2, 16, 5, 7)
    assert torch.equal(attention(x), x)
    torch.nn.init.ones_(attention.gain)
    assert not torch.allclose(attention(x), x)


def test_attention_looks_everywhere_and_has_no_place() -> None:
    """Moving the positions moves the answer along: a wrong reshape would mix positions and channels."""
    attention = SelfAttention(16)
    torch.nn.init.ones_(attention.gain)
    x = torch.randn(1, 16, 4, 6)
    order = torch.randperm(24)
    moved = x.flatten(2)[:, :, order].reshape(x.shape)
    expected = attention(x).flatten(2)[:, :, order].reshape(x.shape)
    assert torch.allclose(attention(moved), expected, atol=1e-5)


@pytest.mark.parametrize(("widths", "patches"), [((8, 16, 16), (8, 12)), ((8,), (32, 48)), ((8, 8, 8, 8), (4, 6))])
def test_the_critic_scores_patches(widths: tuple[int, ...], patches: tuple[int, int]) -> None:
    critic = Critic(widths)
    assert critic(torch.rand(2, 3, 32, 48) * 50).shape == (2, 1, *patches)


def test_the_critic_is_spectrally_normal() -> None:
    torch.manual_seed(0)
    critic = Critic((8, 16)).train()
    with torch.no_grad():
        for weight in (module for module in critic.modules() if isinstance(module, torch.nn.Conv2d)):
            weight.parametrizations.weight.original.mul_(50)  # type: ignore[union-attr]
    for _ in range(30):
        critic(torch.zeros(1, 3, 16, 16))
    for module in critic.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(SettingsProblem, match="is not a device"):
        pick_device("gpu")
    with pytest.raises(SettingsProblem, match="has no device `cuda:99`"):
        pick_device("cuda:99")
    with pytest.raises(SettingsProblem, match="has no device `meta`"):
        pick_device("meta")
