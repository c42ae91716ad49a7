"""Conditions on the columns of a table, and the values that a filter can offer.

A condition is SQL. The user writes it, or it is built from plain values.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from r2d2.errors import R2D2Error

Value = str | int | float | bool
MAX_VALUES = 100  # values of a column in a request
OFFERED = 200  # values of a column that a filter offers
COUNTED = 10_000  # different values of a column; a column with more is not counted
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; None means no limit."""

    low: int | float | None = None
    high: int | float | None = None


@contextlib.contextmanager
def condition_errors(where: str, columns: Mapping[str, str]) -> Iterator[None]:
    """Turn an error of Lance about a condition into an R2D2Error of one line."""
    try:
        yield
    except (ValueError, OSError) as error:
        reason = str(error).split(", /")[0].splitlines()[0].removeprefix("Invalid user input: ")
        reason = reason.split(" Valid fields are")[0]  # these include columns of the index
        known = ", ".join(columns)
        raise R2D2Error(
            f"the condition {where!r} does not work ({reason}): write one such as "
            f"\"split = 'test'\", of the columns {known}"
        ) from error


def condition_of(
    values: Mapping[str, Value | Sequence[Value] | Range], columns: Mapping[str, str]
) -> str | None:
    """SQL by which each column has one of the values, or is in the range; None without columns.

    It is safe for input from outside: names must be columns, and values are quoted.
    """
    parts = []
    for name, condition in values.items():
        if name not in columns:
            raise R2D2Error(f"there is no column {name!r}: choose of {', '.join(columns)}")
        if isinstance(condition, Range):
            parts += [
                f"`{name}` {sign} {_quoted(name, end)}"
                for sign, end in ((">=", condition.low), ("<=", condition.high))
                if end is not None
            ]
            continue
        choices = [condition] if isinstance(condition, (str, int, float, bool)) else list(condition)
        if not 1 <= len(choices) <= MAX_VALUES:
            raise R2D2Error(f"{len(choices)} values for {name!r}: give 1 to {MAX_VALUES}")
        parts.append(f"`{name}` IN ({', '.join(_quoted(name, value) for value in choices)})")
    return " AND ".join(parts) or None


def _quoted(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        if value != value or abs(value) == float("inf"):
            raise R2D2Error(f"{value} is no value for {name!r}: give a finite number")
        return repr(value)
    if not isinstance(value, str):
        raise R2D2Error(f"{name!r} is compared with text or numbers, not {type(value).__name__}")
    return "'" + value.replace("'", "''") + "'"


@dataclass
class ColumnValues:
    """The values of a column; nulls are left out."""

    type: str
    counts: Counter[Value] = field(default_factory=Counter)  # empty where there are too many
    counted: bool = True  # whether `counts` holds all values
    lowest: int | float | None = None  # of a column of numbers
    highest: int | float | None = None

    def common(self) -> list[tuple[Value, int]]:
        """At most `OFFERED` values with their numbers of rows, the most common first."""
        items = self.counts.items()
        return sorted(items, key=lambda item: (-item[1], str(item[0])))[:OFFERED]

    def add(self, column: pa.Array) -> None:
        """Count the values of more rows."""
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
    """The values in columns of a Lance dataset, which are given with their types.

    Memory is bounded for tables of any size.
    """
    columns_values = {name: ColumnValues(kind) for name, kind in columns.items()}
    for name, values in columns_values.items():
        scanner = dataset.scanner(columns=[name], batch_size=BATCH_ROWS)
        for batch in scanner.to_batches():
            values.add(batch[name])
            if not values.counted and values.lowest is None:
                break  # a column of too many texts, of which nothing is told
    return columns_values
