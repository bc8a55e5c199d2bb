"""A training step's forward and backward pass as one CUDA graph, so that the host is not what it waits for.

A small step is hundreds of short kernels, each of which the host has to launch; a graph is launched once
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). The optimiser stays outside: its few fused kernels
cost little, and learning rates and checkpoints stay plain numbers.

Belongs here: recording and replaying. What is computed is the stage's affair.
"""

import dataclasses

import torch

from kwcolor_pipeline.training.data import Batch
from kwcolor_pipeline.training.processes import Processes
from kwcolor_pipeline.training.update import LossesOf, update

#: Steps before a graph is recorded, in which networks are compiled, kernels chosen and workspaces allocated.
_WARM_UP = 5


class CapturedUpdate:
    """Does what :func:`update` does with a whole batch; after a few steps its gradients come from a CUDA graph.

    A batch of other shapes than the recorded one is computed without the graph. The graph holds on to the memory of
    one step.

    Args:
        losses_of: may use CUDA only, without waiting for it and without random numbers of the host.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, losses_of: LossesOf[Batch], processes: Processes):
        self._optimiser, self._losses_of, self._processes = optimiser, losses_of, processes
        self._parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One update; gives the reported losses, detached."""
        if self._graph is None and self._done == _WARM_UP:
            self._record(batch)
        self._done += 1
        if self._graph is None or _shapes(batch) != _shapes(self._seen):
            return update(self._optimiser, [batch], self._losses_of, self._processes)
        for field in dataclasses.fields(batch):
            getattr(self._seen, field.name).copy_(getattr(batch, field.name))
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient  # another step may have set it to None
        self._processes.average_gradients(self._parameters)
        self._optimiser.step()
        return {name: value.clone() for name, value in self._losses.items()}

    def _record(self, batch: Batch) -> None:
        """Record the passes on copies of ``batch``, where later batches are put; nothing is computed here."""
        fields = {field.name: getattr(batch, field.name).clone() for field in dataclasses.fields(batch)}
        self._seen = dataclasses.replace(batch, **fields)
        # Gradients that are None are made by the backward pass, in the graph's own memory.
        self._optimiser.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        # Other threads, as those of NCCL and of the batches, may go on using CUDA.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            loss, losses = self._losses_of(self._seen)
            loss.backward()
        self._losses = {name: value.detach() for name, value in losses.items()}
        self._gradients = [(one, one.grad) for one in self._parameters if one.grad is not None]
        self._graph = graph


def _shapes(batch: Batch) -> list[torch.Size]:
    return [getattr(batch, field.name).shape for field in dataclasses.fields(batch)]
