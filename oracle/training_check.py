"""Training beside fastai's, step by step from the same weights and batches: pretraining, critic, GAN, losses."""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

from collections import Counter
from functools import partial

import torch
from fastai.learner import Learner
from fastai.optimizer import Adam
from fastai.vision.gan import (
    AdaptiveGANSwitcher,
    AdaptiveLoss,
    GANDiscriminativeLR,
    GANLearner,
    accuracy_thresh_expand,
    gan_loss_from_func,
)
from torch import nn
from torch.nn import functional as F

from kwcolor_pipeline.networks.dynamic_unet import DynamicUnet
from kwcolor_pipeline.networks.paper_critic import PaperCritic
from kwcolor_pipeline.training.paper_gan import (
    BETAS,
    CRITIC_RATE_FACTOR,
    LOSS_WEIGHTS,
    RATE,
    AdaptiveSwitcher,
    PaperGan,
    critic_loss,
    generator_loss,
    patch_accuracy,
    patch_loss,
)
from kwcolor_pipeline.training.paper_schedule import OneCycle, freeze_all_but_last, layer_rates, paper_adam
from oracle.counterparts import copy_weights, critic_names, generator_names, largest_difference
from oracle.learners import Losses, Pictures, Seeds, critic_learner, generator_learner, seed_of
from oracle.networks_check import wake_attention
from oracle.table import Table

LOSS_BOUND = 1e-3
PEAK = 1e-3


def check_losses(table: Table) -> None:
    """Losses and accuracy on random logits and pictures."""
    table.heading("Losses and accuracy on the same logits")
    torch.manual_seed(2)
    real, fake, labels = torch.randn(6, 25), torch.randn(6, 25), torch.tensor([1.0, 0, 0, 1, 1, 0])
    generated, truth = torch.randn(6, 3, 8, 8), torch.randn(6, 3, 8, 8)
    adaptive = AdaptiveLoss(nn.BCEWithLogitsLoss())
    of_generator, of_critic = gan_loss_from_func(F.mse_loss, adaptive, weights_gen=LOSS_WEIGHTS)
    ours = generator_loss(fake, generated, truth)
    table.at_most("critic's loss on labelled pictures", _off(patch_loss(real, labels), adaptive(real, labels)), 1e-6)
    table.at_most("critic's adversarial loss", _off(critic_loss(real, fake), of_critic(real, fake)), 1e-6)
    table.at_most("generator's loss", _off(ours.total, of_generator(fake, generated, truth)), 1e-4)
    accuracy = accuracy_thresh_expand(real, labels)
    table.at_most("thresholded accuracy", _off(patch_accuracy(real, labels), accuracy), 1e-7)


def _off(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return abs(float(ours) - float(theirs))


def check_pretraining(table: Table, steps: int = 4) -> None:
    """The generator's two fits, real networks: losses at every step and the weights after.

    In double precision: in single precision the losses drift apart by 0.005 within 16 steps, because at
    these rates every step enlarges the rounding of the one before.
    """
    table.heading(
        f"Pretraining: {steps} steps of the decoder alone, then {steps} of all layers, ResNet34, 32 px, torch.float64"
    )
    torch.manual_seed(0)
    pictures = Pictures.drawn(batches=steps // 2, batch_size=4, size=32, dtype=torch.float64)
    losses = Losses()
    learner = generator_learner(pictures, "resnet34", [Seeds(), losses])
    ours = DynamicUnet("resnet34.tv_in1k", "none").double()
    names = generator_names(learner.model)
    copy_weights(learner.model, ours, names)
    groups = ours.layer_groups()
    with learner.no_bar(), learner.no_logging():
        for frozen in (True, False):
            fit = "decoder alone" if frozen else "all layers"
            if frozen:
                learner.freeze()
                freeze_all_but_last(ours, groups)
                learner.fit_one_cycle(2, PEAK, pct_start=0.8)
            else:
                learner.unfreeze()
                ours.requires_grad_(True)
                learner.fit_one_cycle(2, slice(PEAK / 1000, PEAK))
            rates = [PEAK] * 3 if frozen else layer_rates(PEAK / 1000, PEAK, 3)
            cycle = OneCycle(warm_up=0.8) if frozen else OneCycle()
            our_losses = _pretrained(ours, pictures, paper_adam(ours, groups, rates), cycle, steps)
            _compare_losses(table, fit, our_losses, [loss for _, loss in losses.kept])
    _compare_weights(table, "after both", ours, learner.model, names)


def _pretrained(
    ours: DynamicUnet, pictures: Pictures, optimiser: torch.optim.AdamW, cycle: OneCycle, steps: int
) -> list[float]:
    losses = []
    ours.train()
    for step in range(steps):
        cycle.apply(optimiser, step / steps)
        grey, colour = pictures.train[step % len(pictures.train)]
        loss = F.mse_loss(ours(grey), colour)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    return losses


def _compare_losses(table: Table, what: str, ours: list[float], theirs: list[float]) -> None:
    worst = max(abs(our - their) / max(1.0, abs(their)) for our, their in zip(ours, theirs, strict=True))
    table.at_most(f"{what}: loss of {len(ours)} steps ({theirs[0]:.3f} to {theirs[-1]:.3f})", worst, LOSS_BOUND)


def _compare_weights(table: Table, what: str, ours: nn.Module, theirs: nn.Module, names: dict[str, str]) -> None:
    of_ours = ours.state_dict()
    floating = {name: tensor for name, tensor in theirs.state_dict().items() if tensor.is_floating_point()}
    worst = max(largest_difference(of_ours[names[name]], tensor) for name, tensor in floating.items())
    table.note(f"{what}: largest difference of {len(floating)} weights and statistics {worst:.3g}")


def check_gan(table: Table) -> None:
    """GANLearner with AdaptiveGANSwitcher: small networks at a high rate, then the paper's own.

    In double precision: with moments of (0, 0.5) Adam moves every weight by about its rate, whichever way
    its gradient's sign happens to be rounded, and in single precision the real networks' losses drift
    apart by a tenth within 20 steps.
    """
    _check_gan(table, "resnet18", width=16, blocks=2, size=32, batch_size=4, rate=1e-3)
    _check_gan(table, "resnet34", width=128, blocks=3, size=64, batch_size=2, rate=RATE)


def _check_gan(
    table: Table,
    architecture: str,
    *,
    width: int,
    blocks: int,
    size: int,
    batch_size: int,
    rate: float,
    steps: int = 20,
) -> None:
    dtype = torch.float64
    table.heading(
        f"GAN: {steps} steps in 2 epochs with validation, {architecture}, critic of {width}, {size} px, {dtype}"
    )
    torch.manual_seed(4)
    pictures = Pictures.drawn(batches=steps // 2, batch_size=batch_size, size=size, dtype=dtype)
    generator, critic = generator_learner(pictures, architecture), critic_learner(pictures, width, blocks)
    for learner in (generator, critic):
        wake_attention(learner.model)
    generator.freeze()  # as the lesson leaves it: the encoder's convolutions are not in the GAN's optimiser
    ours = _our_networks(architecture, generator, critic, width, blocks, dtype)
    losses = Losses()
    gan = GANLearner.from_learners(
        generator,
        critic,
        switcher=AdaptiveGANSwitcher(critic_thresh=0.65),
        weights_gen=LOSS_WEIGHTS,
        opt_func=partial(Adam, mom=BETAS[0], sqr_mom=BETAS[1]),
        cbs=[GANDiscriminativeLR(mult_lr=CRITIC_RATE_FACTOR), Seeds(), losses],
        wd=generator.wd,
    )
    with gan.no_bar(), gan.no_logging():
        gan.fit(2, rate)
    gan.opt = None  # its moments are as large as the networks
    theirs = losses.kept
    kept = _our_gan_losses(*ours, pictures, rate, steps, as_original=True)
    table.equal("who learns at every step", *([phase for phase, _ in run] for run in (kept, theirs)))
    turns = Counter(phase for phase, _ in theirs)
    table.note(f"the critic learned {turns['critic']} times, the generator {turns['generator']} times")
    for phase in ("critic", "generator"):
        run = [[loss for who, loss in of if who == phase] for of in (kept, theirs)]
        _compare_losses(table, f"{phase}'s", run[0], run[1])
    _compare_weights(table, "generator after", ours[0], gan.model.generator, generator_names(gan.model.generator))
    _compare_weights(table, "critic after", ours[1], gan.model.critic, critic_names(gan.model.critic, blocks))


def _our_networks(
    architecture: str, generator: Learner, critic: Learner, width: int, blocks: int, dtype: torch.dtype
) -> tuple[DynamicUnet, PaperCritic]:
    our_generator = DynamicUnet(f"{architecture}.tv_in1k", "none").to(dtype)
    our_critic = PaperCritic(width, blocks).to(dtype)
    copy_weights(generator.model, our_generator, generator_names(generator.model))
    copy_weights(critic.model, our_critic, critic_names(critic.model, blocks))
    return our_generator, our_critic


def _our_gan_losses(
    generator: DynamicUnet,
    critic: PaperCritic,
    pictures: Pictures,
    rate: float,
    steps: int,
    *,
    as_original: bool,
) -> list[tuple[str, float]]:
    freeze_all_but_last(generator, generator.layer_groups())
    learning = [parameter for parameter in generator.parameters() if parameter.requires_grad]
    gan = PaperGan(
        generator,
        critic,
        paper_adam(generator, [learning], [rate], betas=BETAS, fused=True),
        paper_adam(critic, [critic.parameters()], [rate], betas=BETAS, fused=True),
        rate=rate,
        switcher=AdaptiveSwitcher(),
        as_original=as_original,
    )
    kept: list[tuple[str, float]] = []
    for step in range(steps):
        place = step % len(pictures.train)
        if place == 0:
            gan.begin_epoch()
        torch.manual_seed(seed_of(step))
        done = gan.step(*pictures.train[place])
        kept.append((done.phase, float(done.losses[f"{done.phase}_loss"])))
        if place == len(pictures.train) - 1:
            gan.begin_validation()
            with torch.no_grad():
                for grey, _ in pictures.valid:
                    critic(generator(grey))
    return kept
