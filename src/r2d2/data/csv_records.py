"""Records of a CSV file; a quote that is never closed spoils its own line, not what comes after."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator

LONGEST = 131_072  # characters of a record of several lines


def csv_records(
    lines: Iterable[str], delimiter: str = ","
) -> Iterator[tuple[int, list[str] | None]]:
    """Where each record begins (line, from 1), and its fields.

    None in the place of the fields: a quote opens in that line which is not closed before the
    file ends, or within LONGEST characters, or which the quote of a later line closes in the middle
    of a field. The line is left out, and what the quote had swallowed is read again, from the next
    line on.

    Args:
        lines: with their line breaks, so that those within a quoted field are kept.
        delimiter: between fields.
    """
    source = iter(lines)
    again: deque[str] = deque()  # lines that were read and given back
    taken: list[str] = []  # lines of the record at hand
    number = 1  # of its first line

    def feed() -> Iterator[str]:
        held = 0
        # A limit of our own: that of `csv` is the process's, and others set it.
        while held <= LONGEST:
            line = again.popleft() if again else next(source, None)
            if line is None:
                return
            if not taken:
                held = 0  # a record begins
            held += len(line)
            taken.append(line)
            yield line

    reader = csv.reader(feed(), delimiter=delimiter)
    while True:
        fields: list[str] | None = None
        if csv.field_size_limit() < LONGEST:
            csv.field_size_limit(LONGEST)
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass  # a field that is too long
        else:
            if len(taken) > 1 and not _closed(taken, delimiter):
                fields = None
        if fields is None:
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
            reader = csv.reader(feed(), delimiter=delimiter)
        if fields is None or fields:  # an empty line has no fields
            yield number, fields
        number += len(taken)
        taken.clear()


def _closed(lines: list[str], delimiter: str) -> bool:
    """Whether the record's quotes stand around whole fields."""
    try:
        next(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True
