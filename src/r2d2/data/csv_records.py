"""Records of a CSV file; a quote that is never closed spoils its own line, not what comes after."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator

LONGEST = 131_072  # characters of a record of several lines, where they hold no pictures
FIELD_CHARS = 96 << 20  # of a field in one line: a picture of 64 MB in base64 fits
NOT_CLOSED = "a quote is not closed"


def csv_records(
    lines: Iterable[str], delimiter: str | None = ",", longest: int = LONGEST
) -> Iterator[tuple[int, list[str] | None]]:
    """Where each record begins (line, from 1), and its fields.

    None in the place of the fields: a quote opens in that line which is not closed before the
    file ends, or within `longest` characters, or which the quote of a later line closes in the
    middle of a field. The line is left out, and what the quote had swallowed is read again, from
    the next line on.

    Args:
        lines: with their line breaks, so that those within a quoted field are kept.
        delimiter: between fields; None: what stands in the first line that is not empty, a comma
            where it has one, else a tab or a semicolon.
        longest: characters of a record of several lines.
    """
    source = iter(lines)
    again: deque[str] = deque()  # lines that were read and given back
    taken: list[str] = []  # lines of the record at hand
    number = 1  # of its first line
    unclosed = False  # the record at hand wants one more line than there is, or than it may have

    if delimiter is None:
        for line in source:
            again.append(line)
            if line.strip():
                break
        delimiter = between(again[-1] if again else "")

    def feed() -> Iterator[str]:
        nonlocal unclosed
        held = 0
        while not taken or held <= longest:
            line = again.popleft() if again else next(source, None)
            if line is None:
                break
            held = held + len(line) if taken else len(line)
            taken.append(line)
            yield line
        unclosed = bool(taken)

    reader = csv.reader(feed(), delimiter=delimiter)
    while True:
        fields: list[str] | None = None
        if csv.field_size_limit() < FIELD_CHARS:  # it is the process's, and others set it
            csv.field_size_limit(FIELD_CHARS)
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass  # a field that is too long, or a line break where none may be
        else:
            if unclosed or (len(taken) > 1 and not _closed(taken, delimiter)):
                fields = None
        if fields is None:
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
            unclosed = False
            reader = csv.reader(feed(), delimiter=delimiter)
        if fields is None or fields:  # an empty line has no fields
            yield number, fields
        number += len(taken)
        taken.clear()


def between(header: str) -> str:
    """What stands between the names of the columns."""
    return "," if "," in header else max("\t;", key=header.count)


def _closed(lines: list[str], delimiter: str) -> bool:
    """Whether the record's quotes stand around whole fields."""
    try:
        next(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True
