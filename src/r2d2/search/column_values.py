"""What stands in the columns of a table, as far as a filter can offer it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from r2d2.search.conditions import Value

OFFERED = 200  # values of a column
COUNTED = 10_000  # different values of a column; one with more is not counted
BATCH_ROWS = 65_536


@dataclass
class ColumnValues:
    """The values of one column, in the rows that have any."""

    type: str
    counts: Counter[Value] = field(default_factory=Counter)  # nothing where there are too many
    counted: bool = True  # whether `counts` holds all values
    lowest: int | float | None = None  # of a column of numbers
    highest: int | float | None = None

    def common(self) -> list[tuple[Value, int]]:
        """At most `OFFERED` values with the number of their rows, the commonest first."""
        return sorted(self.counts.items(), key=lambda one: (-one[1], str(one[0])))[:OFFERED]

    def add(self, column: pa.Array) -> None:
        """Take in some rows."""
        column = column.drop_null()
        if pa.types.is_floating(column.type):
            column = column.filter(pc.is_finite(column))
        if not len(column):
            return
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            ends = pc.min_max(column).as_py()
            low, high = ends["min"], ends["max"]
            self.lowest = low if self.lowest is None else min(low, self.lowest)
            self.highest = high if self.highest is None else max(high, self.highest)
        if not self.counted:
            return
        for pair in pc.value_counts(column).to_pylist():
            self.counts[pair["values"]] += pair["counts"]
        if len(self.counts) > COUNTED:
            self.counted = False
            self.counts.clear()


def column_values(dataset: Any, columns: Mapping[str, str]) -> dict[str, ColumnValues]:
    """Of the columns of a Lance dataset, with their types; memory is bounded, the table is not."""
    found = {name: ColumnValues(kind) for name, kind in columns.items()}
    for name, values in found.items():
        scanner = dataset.scanner(columns=[name], batch_size=BATCH_ROWS)
        for batch in scanner.to_batches():
            values.add(batch[name])
            if not values.counted and values.lowest is None:
                break  # texts, of which nothing more is told
    return found
