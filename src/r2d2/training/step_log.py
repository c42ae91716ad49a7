"""Average the scalars of steps over the processes, and write them in the first process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from r2d2.training.distributed import World
from r2d2.training.log import RunLog

NOT_LOSSES = ("grad_norm", "lr")


class StepLog:
    """Writes, every few steps, the scalars of a step and the speed since the last line."""

    def __init__(
        self, out: Path, world: World, device: torch.device, pairs: int, step: int, seconds: float
    ) -> None:
        """Open the log.

        Args:
            out: the run's folder.
            world: the processes; the first one writes.
            device: for what the processes exchange.
            pairs: of a step.
            step: at which the run begins or goes on.
            seconds: of training before that step.
        """
        self.note = ""  # for the progress bar
        self._file = RunLog(out, step) if world.first else None
        self._world = world
        self._device = device
        self._pairs = pairs
        self._step, self._seconds = step, seconds  # of the last line

    def write(
        self, step: int, seconds: float, scalars: Mapping[str, Tensor], temperature: float
    ) -> None:
        """Add a line; every process calls it.

        Args:
            step: number of steps done.
            seconds: of training, over the run.
            scalars: of the last step.
            temperature: tau.
        """
        stacked = torch.stack([x.detach().float().to(self._device) for x in scalars.values()])
        values = {
            (name if name in NOT_LOSSES else f"loss/{name}"): value
            for name, value in zip(scalars, self._world.average(stacked).tolist(), strict=True)
        }
        values["temperature"] = temperature
        done, took = step - self._step, seconds - self._seconds
        values["pairs_per_second"] = done * self._pairs / max(took, 1e-9)
        self._step, self._seconds = step, seconds
        if self._file is not None:
            self._file.write(step - 1, values)
        self.note = f"loss {values['loss/total']:.3f}"

    def check(self) -> None:
        """See `RunLog.check`."""
        if self._file is not None:
            self._file.check()

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
