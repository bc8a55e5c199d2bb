"""One update of an optimiser: from a whole batch or in parts, by one process or by several.

Belongs here: what every step of every stage does between its losses and its optimiser. What the losses are is
the stage's affair.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from kwcolor_pipeline.training.processes import Processes

Part = TypeVar("Part")
#: Gives for a part of a batch the loss to learn from, and all losses to report, by name.
LossesOf = Callable[[Part], tuple[torch.Tensor, dict[str, torch.Tensor]]]


def update(
    optimiser: torch.optim.Optimizer, parts: Sequence[Part], losses_of: LossesOf[Part], processes: Processes
) -> dict[str, torch.Tensor]:
    """Learn once from all ``parts``; only one part's activations are in memory at a time.

    The gradient is the mean of the parts' gradients, and of the processes': where parts are equally large and
    losses are means over pictures, that of the whole batch (up to rounding, and as far as no batch statistics or
    other states of the networks depend on the parts). Gradients stay for the loop to measure.
    Gives this process's reported losses, detached, means over the parts. Nothing here waits for the device.
    """
    optimiser.zero_grad(set_to_none=True)
    reported: list[dict[str, torch.Tensor]] = []
    for part in parts:
        loss, losses = losses_of(part)
        (loss if len(parts) == 1 else loss / len(parts)).backward()
        reported.append({name: value.detach() for name, value in losses.items()})
    processes.average_gradients(parameter for group in optimiser.param_groups for parameter in group["params"])
    optimiser.step()
    if len(reported) == 1:
        return reported[0]
    return {name: torch.stack([losses[name] for losses in reported]).mean(dim=0) for name in reported[0]}
