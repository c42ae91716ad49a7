"""A table with composed pictures besides: further rows that teach where a thing is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2d2.data.grid import grid_pairs
from r2d2.progress import Update
from r2d2.table import Pair, PairsTable
from r2d2.table_queries import write_derived_table

TRAIN = "train"


def compose_table(
    table: PairsTable,
    out: str | Path,
    count: int,
    seed: int = 0,
    *,
    overwrite: bool = False,
    update: Update = lambda *arguments: None,
) -> int:
    """Write a table of all rows of `table`, then of `count` grids of its training pictures.

    The metadata and the queries of `table` go along. The training rows are held in memory: this is
    for small tables of small pictures.

    Args:
        table: of emoji, or of other pictures that fill their frame.
        out: the table to write.
        count: of grids; half of them name one picture of the four, half all.
        seed: of the draws.
        overwrite: replace a table at `out`.
        update: progress.

    Returns:
        The number of rows written.

    Raises:
        R2D2Error: fewer than four different pictures to train on, one that cannot be read, or
            `out` is taken.
    """

    def pairs() -> Iterator[Pair]:
        trained: list[Pair] = []
        for pair in table.stream(table.rows(), stage="copying", update=update):
            yield pair
            if pair.split == TRAIN:
                trained.append(pair)
        for number, pair in enumerate(grid_pairs(trained, count, seed, split=TRAIN), 1):
            update("composing", number, count)
            yield pair

    return write_derived_table(table, out, pairs(), overwrite)
