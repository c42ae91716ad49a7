"""Divide a batch over processes, chunks, and groups of negatives."""

from __future__ import annotations

from r2d2.config import Config
from r2d2.errors import R2D2Error
from r2d2.training.distributed import World


def groups_of(config: Config, world: World) -> int:
    """Return how many groups draw FGR's negatives separately: one, or one per chunk."""
    chunks = config.system.accumulate
    return config.objectives.negative_groups or (world.size * chunks if chunks > 1 else 1)


def group_size(config: Config, world: World) -> int:
    """Return how many pairs draw negatives from each other; 0 means the whole batch.

    Raises:
        R2D2Error: the batch does not divide by processes, chunks and groups.
    """
    batch, chunks = config.train.batch_size, config.system.accumulate
    size = config.objectives.list_size if config.objectives.fgr and not config.train.labelled else 0
    parts, groups = world.size * chunks, groups_of(config, world)
    if batch % parts:
        raise R2D2Error(
            f"train.batch_size={batch} does not divide into {parts} equal parts (processes: "
            f"{world.size}, chunks of each by system.accumulate: {chunks}): --set "
            f"train.batch_size={parts * max(1, round(batch / parts))}, or another multiple of "
            f"{parts}"
        )
    if size:
        if batch // parts % size:
            raise R2D2Error(
                f"train.batch_size={batch} in {parts} equal parts does not divide into blocks of "
                f"objectives.list_size={size}: give a batch that is a multiple of {parts * size}"
            )
        return size
    if batch % groups:
        raise R2D2Error(
            f"train.batch_size={batch} does not divide into objectives.negative_groups={groups}: "
            "give a batch that is a multiple of the groups"
        )
    if chunks > 1 and groups % parts:
        raise R2D2Error(
            f"objectives.negative_groups={groups} does not divide into {parts} parts (processes: "
            f"{world.size}, chunks of each by system.accumulate: {chunks}): a chunk draws "
            f"negatives from itself alone, so give a multiple of {parts}, or 0"
        )
    return batch // groups if groups > 1 else 0


def check_division(config: Config, processes: int) -> None:
    """Refuse a batch that does not divide, before the processes are started.

    Where torchrun has started them, `processes` is 1, and the run itself checks.

    Raises:
        R2D2Error: as `group_size`.
    """
    if processes > 1:
        group_size(config, World(size=processes))
