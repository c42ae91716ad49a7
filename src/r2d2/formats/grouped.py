"""Join the rows of a file that are of one picture into one row of the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.texts import TextFault, count_holes
from r2d2.table import Pair, Text


@dataclass
class PictureRows:
    """The rows that name one picture, and their texts in order."""

    where: str  # of the first row
    name: str  # of the picture, as the first row has it
    file: Path  # of the first row
    split: str
    texts: list[Text] = field(default_factory=list)
    count: int = 0  # rows
    holes: DroppedRows = field(default_factory=DroppedRows)  # texts that the rows lack

    def add(self, texts: Sequence[Text], faults: Sequence[TextFault] = (), where: str = "") -> None:
        """Add a row that has a text."""
        self.texts += texts
        self.count += 1
        count_holes(faults, where, self.holes)


def grouped_pairs(
    pictures: Iterable[PictureRows], tree: SourceTree, dropped: DroppedRows
) -> Iterator[Pair]:
    """A row of the table for each picture that can be read; of the others all rows are counted."""
    for rows in pictures:
        row = SourceRow(rows.where, rows.texts, rows.split, rows=rows.count, holes=rows.holes)
        yield from tree.pairs(row, rows.name, rows.file, dropped)
