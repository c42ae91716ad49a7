"""Add composed pictures to a table, as rows that teach a model where a thing is in a picture."""

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
    """Write a table with all rows of `table`, followed by `count` grids of its training pictures.

    The metadata and the queries of `table` are copied. The training rows are held in memory, so
    this is meant for small tables of small pictures.

    Args:
        table: a table of emoji, or of other things that fill their pictures.
        out: the table to write.
        count: the number of grids; half of them name one of their four pictures, half name all.
        seed: of the draws.
        overwrite: whether a table at `out` is replaced.
        update: is told the progress.

    Returns:
        The number of rows written.

    Raises:
        R2D2Error: there are fewer than four different training pictures, one of them cannot be
            read, or `out` exists.
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
