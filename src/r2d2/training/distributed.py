"""The processes of a run, and the operations between them.

Started by `torchrun`, or by `r2d2 pretrain --processes N`; without either there is one process, and
nothing here does anything. The model knows nothing of it, and the losses get a `Collectives`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from r2d2.errors import R2D2Error, first_line
from r2d2.model.encoded_states import EncodedStates
from r2d2.training.exchange import fetch
from r2d2.training.launch import LISTENER, LOOPBACK, LOST, PARENT

TIMEOUT = timedelta(hours=2)  # the default of `SystemConfig.timeout_minutes`


@dataclass(frozen=True)
class World:
    """One process among all processes of a run; the losses use it as their `Collectives`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine: the number of its GPU
    local_size: int = 1  # processes on this machine

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def gather(self, x: Tensor) -> Tensor:
        """Join (n, ...) over the processes in their order; backward, gradients are summed."""
        if self.size == 1:
            return x
        if x.requires_grad:
            joined: Tensor = _Gather.apply(x, self.rank, self.size)  # type: ignore[no-untyped-call]
            return joined
        return _all_gather(x, self.size)

    def average(self, x: Tensor) -> Tensor:
        """Return the mean over the processes, without gradient."""
        x = x.detach()
        if self.size == 1:
            return x
        total = x.float().clone()
        dist.all_reduce(total)
        return total / self.size

    def fetch(
        self, sides: tuple[EncodedStates, EncodedStates], wanted: tuple[Tensor, Tensor]
    ) -> tuple[tuple[EncodedStates, EncodedStates], tuple[Tensor, Tensor]]:
        """See `Collectives.fetch`."""
        return (sides, wanted) if self.size == 1 else fetch(sides, wanted, self.rank, self.size)

    def share(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return this process's part of rows in the order of the global batch."""
        n = len(items) // self.size
        return items[self.rank * n : (self.rank + 1) * n]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether a condition is true in any process."""
        if self.size == 1:
            return flag
        highest = torch.tensor(float(flag), device=device)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return bool(highest)

    def union(self, own: dict[int, int], device: torch.device) -> dict[int, int]:
        """Merge dictionaries of small integers from all processes."""
        if self.size == 1:
            return own
        count = torch.tensor(len(own), device=device)
        dist.all_reduce(count, dist.ReduceOp.MAX)
        pairs = torch.full((int(count), 2), -1, dtype=torch.int64, device=device)
        for row, pair in enumerate(sorted(own.items())):
            pairs[row] = torch.tensor(pair, device=device)
        return {int(k): int(v) for k, v in _all_gather(pairs, self.size).tolist() if k >= 0}

    def same(self, number: int, device: torch.device) -> bool:
        """Return whether a number is the same in every process."""
        if self.size == 1:
            return True
        extremes = torch.tensor([number, -number], device=device)
        dist.all_reduce(extremes, dist.ReduceOp.MAX)
        return int(extremes[0]) == -int(extremes[1])

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()


ALONE = World()


class _Gather(torch.autograd.Function):
    """all_gather with gradient: each process's part gets the sum of what all processes sent it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rank: int, size: int) -> Tensor:
        ctx.rank, ctx.n = rank, len(x)
        return _all_gather(x, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)  # gloo has no reduce_scatter
        return total[ctx.rank * ctx.n : (ctx.rank + 1) * ctx.n], None, None


def _all_gather(x: Tensor, size: int) -> Tensor:
    parts = [torch.empty_like(x) for _ in range(size)]
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


@contextmanager
def world(timeout: timedelta = TIMEOUT) -> Iterator[World]:
    """Enter the process group that `torchrun` started; without one, a run has a single process.

    A process that waits for the others longer than `timeout` fails. All processes must take part
    in whatever they do together. So a decision that depends on a file is made by one of them and
    sent to the others, because a slow process may see what a fast one has already written.

    Raises:
        R2D2Error: the environment names processes that cannot be reached, or one of them is lost.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if dist.is_initialized():  # within another such context
        yield World(dist.get_rank(), dist.get_world_size(), *_on_this_machine())
        return
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local, of_machine = _on_this_machine()
    except (KeyError, ValueError) as error:
        raise _no_connection(error) from error
    cuda = torch.cuda.is_available()
    if cuda and local >= torch.cuda.device_count():
        raise R2D2Error(
            f"process {local} of this machine has no GPU to itself: there are "
            f"{torch.cuda.device_count()}; start as many processes"
        )
    try:
        if cuda:
            torch.cuda.set_device(local)
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=_store(rank, size, timeout),
            rank=rank,
            world_size=size,
            timeout=timeout,
            device_id=torch.device("cuda", local) if cuda else None,
        )
    except (ValueError, RuntimeError) as error:
        raise _no_connection(error) from error
    _end_with_parent()
    whole = False
    try:
        yield World(rank, size, local, of_machine)
        whole = True
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        if "timed out" in str(error).lower():
            raise R2D2Error(
                f"process {rank} has waited {timeout.total_seconds() / 60:g} minutes for another "
                "one, which is stuck or dead: look at what that one said, and go on with --resume; "
                "if it was only slow, --set system.timeout_minutes to more"
            ) from error
        if LISTENER in os.environ:  # the process that ended first has printed why, or `launch` does
            raise SystemExit(LOST) from error
        raise R2D2Error(
            f"process {rank} lost another one ({first_line(error)}): look at what that "
            "one said, and go on with --resume"
        ) from error
    finally:
        # The others may be waiting for this one: NCCL would wait for them in its turn.
        if whole or not cuda:
            dist.destroy_process_group()


def _on_this_machine() -> tuple[int, int]:
    """Return the number of this process on its machine, and how many processes run there."""
    of_machine = os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
    return int(os.environ.get("LOCAL_RANK", "0")), int(of_machine)


def _no_connection(error: Exception) -> R2D2Error:
    return R2D2Error(
        f"the processes cannot find each other ({first_line(error)}): start them with "
        "torchrun, or with --processes on one machine"
    )


def _store(rank: int, size: int, timeout: timedelta) -> TCPStore | None:
    """Return the store at the socket that `launch` opened; None: torch makes its own."""
    if LISTENER not in os.environ:
        return None
    listener = int(os.environ[LISTENER]) if rank == 0 else None
    port = int(os.environ["MASTER_PORT"])
    return TCPStore(LOOPBACK, port, size, rank == 0, timeout, master_listen_fd=listener)


def _end_with_parent() -> None:
    """Stop as by SIGTERM when `launch` has ended, so that no process outlives the run."""
    if PARENT not in os.environ:
        return
    pipe = int(os.environ[PARENT])

    def watch() -> None:
        os.read(pipe, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()
