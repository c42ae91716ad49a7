"""Conditions on columns: SQL as the user writes it, or made from plain values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from r2d2.errors import R2D2Error

Value = str | int | float | bool
MAX_VALUES = 100  # of a column, in a request


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; None: no limit."""

    low: int | float | None = None
    high: int | float | None = None


@contextlib.contextmanager
def condition_errors(where: str, columns: Mapping[str, str]) -> Iterator[None]:
    """Turn what Lance says of a condition into one line."""
    try:
        yield
    except (ValueError, OSError) as error:
        reason = str(error).split(", /")[0].splitlines()[0].removeprefix("Invalid user input: ")
        reason = reason.split(" Valid fields are")[0]  # the index's own are among them
        known = ", ".join(columns)
        raise R2D2Error(
            f"the condition {where!r} does not work ({reason}): write one such as "
            f"\"split = 'test'\", of the columns {known}"
        ) from error


def condition_of(
    values: Mapping[str, Value | Sequence[Value] | Range], columns: Mapping[str, str]
) -> str | None:
    """SQL that asks each column to be one of the values or in a range; None: nothing is asked.

    For what comes from outside: names must be columns, values are quoted.
    """
    parts = []
    for name, wanted in values.items():
        if name not in columns:
            raise R2D2Error(f"there is no column {name!r}: choose of {', '.join(columns)}")
        if isinstance(wanted, Range):
            parts += [
                f"`{name}` {sign} {_quoted(name, end)}"
                for sign, end in ((">=", wanted.low), ("<=", wanted.high))
                if end is not None
            ]
            continue
        some = [wanted] if isinstance(wanted, (str, int, float, bool)) else list(wanted)
        if not 1 <= len(some) <= MAX_VALUES:
            raise R2D2Error(f"{len(some)} values for {name!r}: give 1 to {MAX_VALUES}")
        parts.append(f"`{name}` IN ({', '.join(_quoted(name, value) for value in some)})")
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
