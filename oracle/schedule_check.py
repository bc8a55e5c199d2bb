"""Rates, momenta, layer groups, freezing and weight decay beside fastai's, at every step of the paper's fits."""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

from collections.abc import Callable

import torch
from fastai.callback.core import Callback, CancelBatchException
from fastai.learner import Learner

from kwcolor_pipeline.networks.dynamic_unet import DynamicUnet
from kwcolor_pipeline.networks.paper_critic import PaperCritic
from kwcolor_pipeline.training.paper_schedule import OneCycle, freeze_all_but_last, layer_rates, paper_adam
from oracle.counterparts import critic_names, generator_names
from oracle.learners import Pictures, critic_learner, generator_learner
from oracle.table import Table

#: fastai places a step in its cycle in float32.
RELATIVE_BOUND = 1e-5
PEAK, SHALLOWEST = 1e-3, 1e-6

Steps = list[tuple[list[float], float]]
"""For every step the rates of the layer groups and the momentum"""


class _Hypers(Callback):
    """Keeps rates and momentum of every training step, after the scheduler set them, and computes nothing."""

    order = 61  # the scheduler has 60

    def __init__(self) -> None:
        self.kept: Steps = []

    def before_batch(self) -> None:
        if self.training:
            hypers = self.opt.hypers
            self.kept.append(([float(hyper["lr"]) for hyper in hypers], float(hypers[0]["mom"])))
        raise CancelBatchException()


def _fastai_steps(learner: Learner, fit: Callable[[Learner], None]) -> Steps:
    hypers = _Hypers()
    with learner.no_bar(), learner.no_logging(), learner.added_cbs([hypers]):
        fit(learner)
    return hypers.kept


def _our_steps(cycle: OneCycle, optimiser: torch.optim.AdamW, steps: int, peaks: list[float]) -> Steps:
    kept: Steps = []
    for step in range(steps):
        cycle.apply(optimiser, step / steps)
        rates = {group["peak_lr"]: group["lr"] for group in optimiser.param_groups}
        kept.append(([rates[peak] for peak in peaks], optimiser.param_groups[0]["betas"][0]))
    return kept


def _compare(table: Table, fit: str, ours: Steps, theirs: Steps) -> None:
    table.equal(f"{fit}: steps and layer groups", *((len(steps), len(steps[0][0])) for steps in (ours, theirs)))
    rates = max(
        abs(our / their - 1)
        for (of_ours, _), (of_theirs, _) in zip(ours, theirs, strict=True)
        for our, their in zip(of_ours, of_theirs, strict=True)
    )
    momenta = max(abs(our / their - 1) for (_, our), (_, their) in zip(ours, theirs, strict=True))
    table.at_most(f"{fit}: learning rate, largest relative difference of a step", rates, RELATIVE_BOUND)
    table.at_most(f"{fit}: momentum, largest relative difference of a step", momenta, RELATIVE_BOUND)


def _moving(ours: torch.nn.Module, optimiser: torch.optim.AdamW) -> dict[str, tuple[float, bool, bool]]:
    """For each parameter of ours: its peak rate, whether it learns, whether it decays."""
    names = {id(parameter): name for name, parameter in ours.named_parameters()}
    return {
        names[id(parameter)]: (group["peak_lr"], parameter.requires_grad, group["weight_decay"] > 0)
        for group in optimiser.param_groups
        for parameter in group["params"]
    }


def _fastai_moving(learner: Learner, names: dict[str, str], peaks: list[float]) -> dict[str, tuple[float, bool, bool]]:
    of_theirs = {parameter: names[name] for name, parameter in learner.model.named_parameters()}
    return {
        of_theirs[parameter]: (peak, parameter.requires_grad, learner.opt.state[parameter].get("do_wd", True))
        for peak, group in zip(peaks, learner.opt.param_lists, strict=True)
        for parameter in group
    }


def check_schedules(table: Table) -> None:
    """The paper's three scheduled fits: generator frozen, generator unfrozen, critic."""
    table.heading("Schedules, layer groups, freezing, weight decay")
    learner = generator_learner(Pictures.drawn(batches=50, batch_size=1, size=32), "resnet34")
    ours = DynamicUnet("resnet34.tv_in1k", "none")
    groups, names = ours.layer_groups(), generator_names(learner.model)

    learner.freeze()
    theirs = _fastai_steps(learner, lambda one: one.fit_one_cycle(2, PEAK, pct_start=0.8))
    freeze_all_but_last(ours, groups)
    optimiser = paper_adam(ours, groups, [PEAK] * 3)
    _compare(table, "decoder alone, 2 epochs", _our_steps(OneCycle(warm_up=0.8), optimiser, 100, [PEAK] * 3), theirs)
    table.equal(
        "decoder alone: what learns and what decays, of 176 parameters",
        _moving(ours, optimiser),
        _fastai_moving(learner, names, [PEAK] * 3),
    )

    learner.dls = Pictures.drawn(batches=34, batch_size=1, size=32).loaders()
    learner.unfreeze()
    theirs = _fastai_steps(learner, lambda one: one.fit_one_cycle(3, slice(SHALLOWEST, PEAK)))
    peaks = layer_rates(SHALLOWEST, PEAK, 3)
    ours.requires_grad_(True)
    optimiser = paper_adam(ours, groups, peaks)
    _compare(table, "all layers, 3 epochs", _our_steps(OneCycle(), optimiser, 102, peaks), theirs)
    table.equal(
        "all layers: rates, what learns and what decays",
        _moving(ours, optimiser),
        _fastai_moving(learner, names, peaks),
    )
    # The version 1 of fastai lets norms and biases decay; version 2 can be asked for that.
    learner.wd_bn_bias = True
    learner.create_opt()
    table.equal(
        "all layers, norms and biases decaying",
        _moving(ours, paper_adam(ours, groups, peaks, decay_norm_and_bias=True)),
        _fastai_moving(learner, names, peaks),
    )

    critic = critic_learner(Pictures.drawn(batches=17, batch_size=1, size=64))
    theirs = _fastai_steps(critic, lambda one: one.fit_one_cycle(6, PEAK))
    our_critic = PaperCritic()
    optimiser = paper_adam(our_critic, [our_critic.parameters()], [PEAK])
    _compare(table, "critic, 6 epochs", _our_steps(OneCycle(), optimiser, 102, [PEAK]), theirs)
    table.equal(
        "critic: what decays",
        _moving(our_critic, optimiser),
        _fastai_moving(critic, critic_names(critic.model), [PEAK]),
    )
