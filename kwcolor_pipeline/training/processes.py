"""Who trains: one process alone, or several that learn from the same batches together.

Belongs here: what processes tell each other, and when they wait for each other. Which rows of a batch a process
sees is in ``data``, how they are started is in ``worker`` and in torchrun
(https://docs.pytorch.org/docs/stable/elastic/run.html).

Lightning Fabric brings the processes together (device, process group); it is imported only where there are
several. Its `all_reduce` waits for a barrier each time, which would hold the host up in every step, so what
happens in a step goes to `torch.distributed` itself.
"""

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from kwcolor_pipeline.home import fingerprint, write_bytes
from kwcolor_pipeline.networks.devices import pick_device
from kwcolor_pipeline.settings import Settings, SettingsProblem
from kwcolor_pipeline.training.checkpoints import seed_random_numbers

_Anything = TypeVar("_Anything")

#: The longest that processes wait for one of them: the first decodes the pictures and downloads weights while the
#: others wait. A process that ended is noticed at once, this is for one that hangs.
_PATIENCE = timedelta(hours=1)
#: Numbers that are exchanged in one piece: 64 MiB of float32. Hundreds of small pieces cost hundreds of latencies.
_PIECE = 2**24
#: Batch norm's running statistics, by the names that PyTorch gives them.
_STATISTICS = ("running_mean", "running_var")


class AnotherFailed(Exception):
    """Another process of this training ended or no longer answers; why, it says itself."""


@contextlib.contextmanager
def _with_others() -> Iterator[None]:
    """What `torch.distributed` raises where another process is missing becomes AnotherFailed."""
    try:
        yield
    except RuntimeError as error:  # gloo has no exception of its own, and NCCL's is a RuntimeError too
        reason = str(error).partition("\n")[0]
        raise AnotherFailed(
            f"Another process of this training no longer answers; see its own message ({reason})."
        ) from error


class Processes:
    """The processes of one training, as one of them sees them. Alone, every method does nothing.

    Every process has to call the same methods in the same order: each of them waits for all the others, and raises
    AnotherFailed when one of them is gone.

    Attributes:
        rank: this process's number, from 0; the first writes files and reports.
        ranks: how many processes train together.
        device: where this process's networks are.
    """

    def __init__(self, device: torch.device, rank: int = 0, ranks: int = 1, control: Any = None):
        self.device, self.rank, self.ranks = device, rank, ranks
        # Decisions of the host go over a group of the CPU's, so that they never wait for the device.
        self._control = control

    @classmethod
    def single(cls, device: torch.device) -> "Processes":
        """One process alone."""
        return cls(device)

    @classmethod
    def joined(cls, settings: Settings) -> "Processes":
        """All processes that torchrun started with this one; one alone where it started no others or none at all.

        Raises SettingsProblem when the device cannot be shared out, or when the processes have no folder in common.
        """
        if not distributed.is_available() or not distributed.is_torchelastic_launched():
            return cls.single(pick_device(settings.device))
        ranks, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if ranks == 1:
            return cls.single(pick_device(settings.device))
        kind = _shared_device(settings.device, here)
        if ranks % here:
            raise SettingsProblem("Every machine has to start as many processes; give all the same --nproc-per-node.")
        device = _launched(kind, here, ranks // here)
        control = distributed.group.WORLD if kind == "cpu" else distributed.new_group(backend="gloo", timeout=_PATIENCE)
        processes = cls(device, distributed.get_rank(), ranks, control)
        processes._find_each_other_in(settings.home)
        return processes

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of all processes' gradients; to be called between backward and the optimiser.

        Not `DistributedDataParallel`: its hooks expect one forward before each backward, and every parameter in
        each, but a critic is called twice before it learns and parts of a generator are frozen.
        Nothing here waits for the device.
        """
        if self.ranks > 1:
            self._exchange((parameter.grad for parameter in parameters if parameter.grad is not None), self._average)

    def means(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The means of detached scalars over all processes, left on the device; names have to be the same in all."""
        if self.ranks == 1 or not values:
            return dict(values)
        together = torch.stack([value.reshape(()) for value in values.values()])
        with _with_others():
            self._average(together)
        return dict(zip(values, together.unbind(), strict=True))

    def share_weights(self, networks: Mapping[str, nn.Module]) -> None:
        """Give every process the first one's weights and buffers."""
        if self.ranks > 1:
            tensors = [tensor for network in networks.values() for tensor in network.state_dict().values()]
            self._exchange(tensors, self._from_first)

    def share_statistics(self, networks: Mapping[str, nn.Module]) -> None:
        """Make the networks' buffers the same in all processes, so that it does not matter whose are kept.

        Batch norm's running statistics become their means, since each process saw other pictures. They move by
        fixed shares, so how often this is done changes the mean by rounding only. Other numbers, as a spectral
        norm's vectors, are not means of anything: all get the first process's.
        """
        if self.ranks == 1:
            return
        buffers = [named for network in networks.values() for named in network.named_buffers()]
        floating = [(name, buffer) for name, buffer in buffers if buffer.is_floating_point()]
        self._exchange((buffer for name, buffer in floating if name.endswith(_STATISTICS)), self._average)
        self._exchange((buffer for name, buffer in floating if not name.endswith(_STATISTICS)), self._from_first)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in any process. The hosts wait for each other, their devices do not."""
        if self.ranks == 1:
            return flags
        together = torch.tensor(flags, dtype=torch.uint8)
        with _with_others():
            distributed.all_reduce(together, distributed.ReduceOp.MAX, group=self._control)
        return tuple(map(bool, together.tolist()))

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.any(False)

    def of_first(self, value: _Anything) -> _Anything:
        """The first process's ``value``: anything that can be pickled."""
        if self.ranks == 1:
            return value
        holder = [value]
        with _with_others():
            distributed.broadcast_object_list(holder, src=0, group=self._control)
        return holder[0]

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """What the first process does in this block is done before the others begin with it.

        For what is made once and then found: decoded pictures, downloaded weights.
        """
        if not self.is_first:
            self.barrier()
        yield
        if self.is_first:
            self.barrier()

    def agree_on(self, what: str, value: str) -> None:
        """Make sure that all processes have the same ``value``. Raises SettingsProblem that names what differs."""
        if self.of_first(value) != value:
            raise SettingsProblem(
                f"Process {self.rank} (on {socket.gethostname()}) has another {what} than process 0; start all "
                "processes with the same settings, version and shared KWCOLOR_HOME."
            )

    def draw_apart(self, occasion: str) -> None:
        """Let all processes but the first draw other random numbers from here on (dropout), the same ones for the
        same ``occasion``.
        """
        if not self.is_first:
            seed_random_numbers(int(fingerprint([occasion, self.rank])[:8], 16))

    def check_batch(self, batch_size: int, accumulate: int) -> None:
        """Raises SettingsProblem when a step's pictures cannot be shared out evenly, or are too few for that."""
        shares = self.ranks * accumulate
        if shares > 1 and batch_size < 2 * shares:
            raise SettingsProblem(
                f"Shared out to {shares} ({self.ranks} processes, accumulate {accumulate}), a batch of {batch_size} "
                "pictures leaves less than the two that batch statistics need; "
                f"set KWCOLOR_TRAINING__BATCH_SIZE to at least {2 * shares}."
            )
        if batch_size % shares:
            among = "process" if self.ranks == 1 else "processes"
            parts = "part" if accumulate == 1 else "parts"
            raise SettingsProblem(
                f"A batch of {batch_size} pictures cannot be shared out evenly to {self.ranks} {among} with "
                f"{accumulate} {parts} each (accumulate); set KWCOLOR_TRAINING__BATCH_SIZE to a multiple of {shares}."
            )

    def _average(self, tensor: torch.Tensor) -> None:
        if self.device.type == "cuda":
            distributed.all_reduce(tensor, distributed.ReduceOp.AVG)
        else:  # gloo has no mean
            distributed.all_reduce(tensor, distributed.ReduceOp.SUM)
            tensor /= self.ranks

    @staticmethod
    def _from_first(tensor: torch.Tensor) -> None:
        distributed.broadcast(tensor, src=0)

    @staticmethod
    @torch.no_grad()
    def _exchange(tensors: Iterable[torch.Tensor], operation: Callable[[torch.Tensor], None]) -> None:
        """Do ``operation``, which changes a tensor in place, to all of them in a few flat pieces."""
        for piece in _pieces(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in piece])
            with _with_others():
                operation(flat)
            parts = flat.split([tensor.numel() for tensor in piece])
            torch._foreach_copy_(piece, [part.view_as(tensor) for part, tensor in zip(parts, piece, strict=True)])

    def _find_each_other_in(self, home: Path) -> None:
        """Make sure that a file which the first process writes is seen by all. Raises SettingsProblem."""
        mark = self.of_first(home / f".processes-{secrets.token_hex(8)}").name
        if self.is_first:
            write_bytes(home / mark, b"")
        self.barrier()
        seen = (home / mark).is_file()
        self.barrier()
        if self.is_first:
            (home / mark).unlink()
        if not seen:
            raise SettingsProblem(
                f"Process {self.rank} (on {socket.gethostname()}) does not see in {home} what process 0 writes there; "
                "let KWCOLOR_HOME be a folder that all machines share."
            )


def _pieces(tensors: Iterable[torch.Tensor]) -> list[list[torch.Tensor]]:
    """The tensors by type, in pieces of at least :data:`_PIECE` numbers but for the last; in the same order always."""
    full: list[list[torch.Tensor]] = []
    filling: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        piece = filling.setdefault(tensor.dtype, [])
        piece.append(tensor)
        if sum(one.numel() for one in piece) >= _PIECE:
            full.append(filling.pop(tensor.dtype))
    return [*full, *filling.values()]


def _shared_device(wanted: str, here: int) -> str:
    """`cuda` or `cpu`: the kind of device of which every one of ``here`` processes has its own."""
    if wanted.startswith("cuda:"):
        raise SettingsProblem(f"Processes cannot share the one device `{wanted}`; set KWCOLOR_DEVICE=cuda or auto.")
    kind = pick_device(wanted).type
    if kind not in ("cpu", "cuda"):
        raise SettingsProblem(f"Several processes cannot train on `{kind}`; set KWCOLOR_DEVICE=cpu.")
    if kind == "cuda" and here > torch.cuda.device_count():
        raise SettingsProblem(
            f"This machine has {torch.cuda.device_count()} GPUs for {here} processes; start at most one for each "
            "(--nproc-per-node, KWCOLOR_TRAINING_PROCESSES), or set KWCOLOR_DEVICE=cpu."
        )
    return kind


def _launched(kind: str, here: int, machines: int) -> torch.device:
    """This process's device, after the process group was made. https://lightning.ai/docs/fabric/stable/"""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    fabric = Fabric(
        accelerator=kind,
        devices=here,
        num_nodes=machines,
        strategy=DDPStrategy(timeout=_PATIENCE),
        plugins=[TorchElasticEnvironment()],
    )
    fabric.launch()
    return fabric.device
