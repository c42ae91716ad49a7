"""Rows of a file that are of one picture: they become one row of the table, or none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from r2d2.formats.record import make_pair
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.texts import TextFault, count_holes
from r2d2.table import Pair, Text


@dataclass
class PictureRows:
    """The rows that name a picture, and their texts in order."""

    where: str  # the first stands
    name: str  # of the picture, as the first has it
    file: Path  # that the first stands in
    split: str
    texts: list[Text] = field(default_factory=list)
    count: int = 0  # rows
    holes: DroppedRows = field(default_factory=DroppedRows)  # texts that the rows lack

    def add(self, texts: Sequence[Text], faults: Sequence[TextFault] = (), where: str = "") -> None:
        """One more row, which has a text."""
        self.texts += texts
        self.count += 1
        count_holes(faults, where, self.holes)

    def pair(self, tree: SourceTree, dropped: DroppedRows) -> Pair | None:
        """The row of the table; None where the picture cannot be had: all rows are counted."""
        picture = tree.read(self.name, self.where, dropped, self.file, self.count)
        if picture is None:
            return None
        image_id, image = picture
        pair = make_pair(
            self.where, image, self.texts, self.split, dropped, image_id=image_id, rows=self.count
        )
        if pair is not None:
            dropped.update(self.holes)
        return pair


def grouped_pairs(
    pictures: Iterable[PictureRows], tree: SourceTree, dropped: DroppedRows
) -> Iterator[Pair]:
    """The rows of the table, of the pictures that can be had."""
    for rows in pictures:
        pair = rows.pair(tree, dropped)
        if pair is not None:
            yield pair
