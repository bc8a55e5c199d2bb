"""Generator and critic beside fastai's: sizes, shapes, outputs, gradients, and what training begins with."""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import torch
from fastai.layers import NormType
from fastai.vision.gan import gan_critic
from fastai.vision.learner import create_unet_model
from torch import nn
from torchvision.models import resnet18, resnet34

from kwcolor_pipeline.networks.dynamic_unet import DynamicUnet
from kwcolor_pipeline.networks.paper_critic import PaperCritic
from oracle.counterparts import copy_weights, critic_names, generator_names, largest_difference, parameter_pairs
from oracle.table import Table

ARCHITECTURES = {"resnet18": resnet18, "resnet34": resnet34}
OUTPUT_BOUND, GRADIENT_BOUND = 1e-4, 1e-3
#: A gradient shorter than this part of the longest one is rounding; it is compared with this part.
_FLOOR = 1e-6


def fastai_generator(architecture: str, size: int) -> nn.Module:
    """fastai's generator as the paper builds it, random weights."""
    return create_unet_model(
        ARCHITECTURES[architecture],
        3,
        (size, size),
        pretrained=False,
        blur=True,
        self_attention=True,
        norm_type=NormType.Weight,
        y_range=(-3, 3),
        last_cross=True,
    )


def generators(architecture: str = "resnet34", size: int = 128) -> tuple[nn.Module, DynamicUnet]:
    """fastai's generator and ours with the same weights, all of which matter."""
    theirs, ours = fastai_generator(architecture, size), DynamicUnet(f"{architecture}.tv_in1k", "none")
    wake_attention(theirs)
    copy_weights(theirs, ours, generator_names(theirs))
    return theirs, ours


def critics(width: int = 128, blocks: int = 3) -> tuple[nn.Module, PaperCritic]:
    """fastai's critic and ours with the same weights, all of which matter."""
    theirs, ours = gan_critic(nf=width, n_blocks=blocks), PaperCritic(width, blocks)
    wake_attention(theirs)
    copy_weights(theirs, ours, critic_names(theirs, blocks))
    return theirs, ours


@torch.no_grad()
def wake_attention(network: nn.Module) -> None:
    """Attention is added through a gain of zero; another one lets a difference be seen."""
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(0.5)


def _settle(network: nn.Module, rgb: torch.Tensor) -> None:
    """Give batch norm the statistics that random weights cause: evaluation mode would saturate with others."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(rgb)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def _millions(network: nn.Module) -> float:
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def _shapes(modules: list[nn.Module], network: nn.Module, rgb: torch.Tensor) -> list[tuple[int, ...]]:
    """What each module gives when ``network`` sees ``rgb``."""
    seen: dict[nn.Module, tuple[int, ...]] = {}

    def remember(module: nn.Module, _: object, given: torch.Tensor) -> None:
        seen[module] = tuple(given.shape)

    hooks = [module.register_forward_hook(remember) for module in modules]
    with torch.no_grad():
        network(rgb)
    for hook in hooks:
        hook.remove()
    return [seen[module] for module in modules]


def _generator_modules(theirs: nn.Module, ours: DynamicUnet) -> tuple[list[nn.Module], list[nn.Module]]:
    """The counterparts that give a tensor each: encoder's children, middle, blocks, upsampling, last layers."""
    layers = theirs.layers
    encoder = [layers[0][number] for number in (0, 4, 5, 6, 7)]
    of_ours = [ours.encoder[name] for name in ("conv1", "layer1", "layer2", "layer3", "layer4")]
    blocks = list(ours.blocks)
    return (
        [*encoder, layers[1], layers[3], *layers[4:8], layers[5].conv2[2], layers[8], layers[11], layers[12], theirs],
        [*of_ours, ours.norm, ours.middle, *blocks, blocks[1].attention, ours.up, ours.residual, ours.colour, ours],
    )


def _critic_modules(theirs: nn.Module, ours: PaperCritic) -> tuple[list[nn.Module], list[nn.Module]]:
    return (
        [theirs[0], theirs[2], theirs[4], theirs[4][2], theirs[6], theirs[8], theirs],
        [ours.stem, ours.dense, ours.attention, ours.attention, *ours.halvings[1:], ours],
    )


def gradient_difference(pairs: list[tuple[str, nn.Parameter, nn.Parameter]]) -> tuple[float, str]:
    """The largest length of a difference over the length of fastai's gradient, over parameters, and whose it is."""
    longest = max(float(theirs.grad.norm()) for _, _, theirs in pairs)
    relative = [
        (
            float((ours.grad.reshape(-1) - theirs.grad.reshape(-1)).norm())
            / max(float(theirs.grad.norm()), _FLOOR * longest),
            name,
        )
        for name, ours, theirs in pairs
    ]
    return max(relative)


def _both_backward(theirs: nn.Module, ours: nn.Module, rgb: torch.Tensor) -> tuple[float, float]:
    """One pass and its gradients in the modes that the networks are in, the same dropout in both.

    Gives the difference of the outputs and, relative to its length, of the gradient at the picture.
    """
    outputs, pictures = [], []
    for network in (theirs, ours):
        network.zero_grad(set_to_none=True)
        torch.manual_seed(7)
        picture = rgb.clone().requires_grad_()
        given = network(picture)
        weights = torch.linspace(-1, 1, given.numel()).reshape(given.shape)
        (torch.Tensor(given.as_subclass(torch.Tensor)) * weights + 0.5 * given**2).mean().backward()
        outputs.append(given.detach().as_subclass(torch.Tensor))
        pictures.append(picture.grad.as_subclass(torch.Tensor))
    at_picture = float((pictures[0] - pictures[1]).norm() / pictures[0].norm())
    return largest_difference(outputs[1], outputs[0]), at_picture


def _compare(
    table: Table, theirs: nn.Module, ours: nn.Module, names: dict[str, str], rgb: torch.Tensor, where: str
) -> None:
    """Outputs and gradients in evaluation and in training mode."""
    for training in (False, True):
        theirs.train(training), ours.train(training)
        what = f"{where}, {'training' if training else 'evaluation'} mode"
        output, at_picture = _both_backward(theirs, ours, rgb)
        gradient, whose = gradient_difference(parameter_pairs(theirs, ours, names))
        table.at_most(f"{what}: output, largest difference", output, OUTPUT_BOUND)
        table.at_most(f"{what}: gradients, worst is {whose[:38]}", gradient, GRADIENT_BOUND)
        table.at_most(f"{what}: gradient at the picture", at_picture, GRADIENT_BOUND)


def check_generator(table: Table) -> None:
    """Sizes, shapes at every block, outputs and gradients of the generator."""
    table.heading("Generator: DynamicUnet on ResNet34, fastai's weights copied in")
    torch.manual_seed(0)
    theirs, ours = generators()
    table.equal("parameters, millions", round(_millions(ours), 6), round(_millions(theirs), 6))
    names = generator_names(theirs)
    of_theirs, of_ours = _generator_modules(theirs, ours)
    _settle(theirs, torch.randn(4, 3, 128, 128))
    copy_weights(theirs, ours, names)
    for height, width in ((128, 128), (64, 96), (75, 101)):
        rgb = torch.randn(2, 3, height, width)
        size = f"{height}x{width}"
        theirs.eval(), ours.eval()
        shapes = [_shapes(modules, net, rgb) for modules, net in ((of_ours, ours), (of_theirs, theirs))]
        table.equal(f"{size}: shapes at {len(of_ours)} places", *shapes)
        _compare(table, theirs, ours, names, rgb, size)
    _check_buffers(table, theirs, ours, names)
    theirs.double(), ours.double()
    _compare(table, theirs, ours, names, torch.randn(2, 3, 64, 64, dtype=torch.float64), "64x64 in double precision")


def check_critic(table: Table) -> None:
    """Sizes, shapes at every block, outputs and gradients of the critic."""
    table.heading("Critic: gan_critic, fastai's weights copied in")
    torch.manual_seed(0)
    theirs, ours = critics()
    table.equal("parameters, millions", round(_millions(ours), 6), round(_millions(theirs), 6))
    names = critic_names(theirs)
    of_theirs, of_ours = _critic_modules(theirs, ours)
    for height, width, patches in ((128, 128, 25), (97, 75, None)):
        rgb = torch.randn(2, 3, height, width)
        size = f"{height}x{width}"
        theirs.eval(), ours.eval()
        shapes = [_shapes(modules, net, rgb) for modules, net in ((of_ours, ours), (of_theirs, theirs))]
        table.equal(f"{size}: shapes at {len(of_ours)} places", *shapes)
        if patches:
            table.equal(f"{size}: patch logits", shapes[0][-1][1], patches)
        _compare(table, theirs, ours, names, rgb, size)
    _check_buffers(table, theirs, ours, names)


def _check_buffers(table: Table, theirs: nn.Module, ours: nn.Module, names: dict[str, str]) -> None:
    of_ours = ours.state_dict()
    buffers = [name for name, _ in theirs.named_buffers()]
    worst = max(largest_difference(of_ours[names[name]], theirs.state_dict()[name]) for name in buffers)
    table.at_most(f"after training mode: {len(buffers)} batch statistics and spectral vectors", worst, OUTPUT_BOUND)


@torch.no_grad()
def check_beginnings(table: Table) -> None:
    """What training begins with: ICNR in effect in both, and the same spread of the weights."""
    table.heading("Fresh weights")
    torch.manual_seed(1)
    theirs, ours = fastai_generator("resnet34", 64), DynamicUnet("resnet34.tv_in1k", "none")
    lost = DynamicUnet("resnet34.tv_in1k", "none", initialisation_is_lost=True)
    x = torch.randn(2, 512, 4, 4)
    shuffles = {
        "ours": ours.blocks[0].up.conv,
        "fastai's": theirs.layers[4].shuf[0][0],
        "with the fault restored": lost.blocks[0].up.conv,
    }
    for whose, conv in shuffles.items():
        up = torch.nn.functional.pixel_shuffle(torch.relu(conv(x)), 2)
        checkerboard = float((up[..., ::2, ::2] - up[..., 1::2, 1::2]).abs().max())
        if whose == "with the fault restored":
            table.note(f"checkerboard after PixelShuffle {whose}: {checkerboard:.3g}")
        else:
            table.at_most(f"checkerboard after PixelShuffle, {whose}", checkerboard, 1e-5)
    names = {theirs_name: name for theirs_name, name in generator_names(theirs).items() if name.endswith("original1")}
    _check_spread(table, "generator, fault restored", theirs, lost, names)
    right = _spreads(theirs, ours, names)
    table.note(
        "by default ours differs in the residual block's second convolution, which fastai leaves as PyTorch "
        f"makes it: {right['residual.conv2']:.2f} times as wide"
    )
    critic, our_critic = gan_critic(), PaperCritic()
    originals = {name: ours for name, ours in critic_names(critic).items() if ours.endswith("original")}
    _check_spread(table, "critic", critic, our_critic, originals)


def _spreads(theirs: nn.Module, ours: nn.Module, names: dict[str, str]) -> dict[str, float]:
    """Standard deviation of each large weight of ours over that of fastai's."""
    of_theirs, of_ours = theirs.state_dict(), ours.state_dict()
    return {
        our_name.partition(".parametrizations")[0]: float(of_ours[our_name].std() / of_theirs[name].std())
        for name, our_name in names.items()
        if of_ours[our_name].numel() > 3000
    }


def _check_spread(table: Table, what: str, theirs: nn.Module, ours: nn.Module, names: dict[str, str]) -> None:
    spreads = _spreads(theirs, ours, names)
    off = {name: abs(spread - 1) for name, spread in spreads.items()}
    worst = max(off, key=lambda name: off[name])
    table.at_most(f"{what}: spread of {len(off)} weights, worst is {worst[:30]}", off[worst], 0.1)
