"""Count the rows of an import while they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.pair import Pair


@dataclass
class ImportResult:
    """The rows and texts that were written, and those that were left out or renamed."""

    rows: int = 0
    texts: int = 0
    queries: int = 0  # without a picture, in the file beside the table
    held: int = 0  # rows of the table of texts held out
    splits: Counter[str] = field(default_factory=Counter)
    dropped: DroppedRows = field(default_factory=DroppedRows)
    renamed: DroppedRows = field(default_factory=DroppedRows)  # rows and texts kept by another id

    def counted(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """Yield the same rows, and count them."""
        for pair in pairs:
            self.rows += 1
            self.texts += len(pair.texts)
            self.splits[pair.split] += 1
            yield pair
