"""Leave out steps whose loss or gradient is not finite, and stop a run with too many of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from r2d2.config import TrainConfig
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.table import PairsTable
from r2d2.training.distributed import World
from r2d2.training.run_folder import BAD_BATCH

log = logging.getLogger(__name__)


class BadSteps:
    """Counts the steps that were left out, and stops the run after too many in a row."""

    def __init__(self, config: TrainConfig, out: Path, table: PairsTable, world: World) -> None:
        self.config = config
        self.out = out
        self.table = table
        self.world = world
        self.count = 0  # over the run
        self.in_row = 0

    def add(self, finite: bool) -> None:
        """Count a step; `finite`: whether it changed the model."""
        self.in_row = 0 if finite else self.in_row + 1
        self.count += not finite

    def check(self, step: int, rows: Sequence[int], device: torch.device) -> None:
        """Warn if the last step was left out; after too many in a row, stop the run.

        Args:
            step: its number.
            rows: of the table, that this process saw in it.
            device: for what the processes exchange.

        Raises:
            R2D2Error: too many steps in a row were not finite; the last batch is noted in the run.
        """
        if not self.in_row:
            return
        log.warning("step %d: the loss or the gradient is not finite; the step is left out", step)
        if self.in_row < self.config.max_bad_steps:
            return
        first = self.world.rank * len(rows)
        own = {first + position: row for position, row in enumerate(rows)}
        batch = [row for _, row in sorted(self.world.union(own, device).items())]
        if self.world.first:
            content = {"step": step, "rows": batch, "image_ids": self.table.image_ids(batch)}
            write_text(self.out / BAD_BATCH, json.dumps(content, ensure_ascii=False, indent=1))
        raise R2D2Error(
            f"step {step}: the loss or the gradient is not finite, {self.in_row} times in a "
            f"row, the last batch in {self.out / BAD_BATCH}: lower train.lr (now "
            f"{self.config.lr}) or raise train.warmup_steps, and start anew in another --out"
        )
