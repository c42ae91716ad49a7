"""Records of a CSV file; a broken one spoils its own line, not what comes after.

Programs write CSV with quotes around what holds a delimiter; people write it without. So a row may
have more fields than there are columns: where the last column is one of texts, it takes the rest of
the line as it stands; elsewhere nobody can tell which comma belongs to a text, and the row is
malformed.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

LONGEST = 131_072  # characters of a record of several lines, where they hold no pictures
FIELD_CHARS = 96 << 20  # of a field in one line: a picture of 64 MB in base64 fits
NOT_CLOSED = "a quote is not closed"
MALFORMED = "malformed row"


class CsvRow(NamedTuple):
    """A row, or what is wrong with it."""

    line: int  # its first, from 1
    fields: list[str] | None  # as many as there are columns; None where it cannot be read
    fault: str = ""  # NOT_CLOSED or MALFORMED
    raw: str = ""  # its first line, where it cannot be read


def csv_table(
    lines: Iterable[str],
    delimiter: str | None = None,
    takes_rest: Callable[[str], bool] = lambda name: False,
    longest: int = LONGEST,
) -> tuple[CsvRow, Iterator[CsvRow]]:
    """The names of the columns, and the rows.

    Trailing columns without a name, and what trailing empty fields a row has beyond its columns,
    are padding, as spreadsheets write it.

    Args:
        lines: with their line breaks, so that those within a quoted field are kept.
        delimiter: between fields; None: what stands in the first line that is not empty, a comma
            where it has one, else a tab or a semicolon.
        takes_rest: whether a column of this name, as the last one, takes what of a line is too
            much, since it is one of texts.
        longest: characters of a record of several lines.
    """
    source = iter(lines)
    if delimiter is None:
        again = []
        for line in source:
            again.append(line)
            if line.strip():
                break
        delimiter = between(again[-1] if again else "")
        source = _chain(again, source)
    records = csv_records(source, delimiter, longest)
    number, names, raw = next(records, (1, [], ""))
    if names is None:
        return CsvRow(number, None, NOT_CLOSED, raw), iter(())
    while names and not names[-1].strip():
        names.pop()
    rest = bool(names) and takes_rest(names[-1])
    rows = _rows(records, delimiter, len(names), rest)
    return CsvRow(number, names), rows


def csv_records(
    lines: Iterable[str], delimiter: str = ",", longest: int = LONGEST
) -> Iterator[tuple[int, list[str] | None, str]]:
    """Where each record begins (line, from 1), its fields, and its first line.

    None in the place of the fields: a quote opens in that line which is not closed before the
    file ends, or within `longest` characters, or which the quote of a later line closes in the
    middle of a field. The line is left out, and what the quote had swallowed is read again, from
    the next line on. A field such as `"a" b`, with text behind its closing quote, is read as it
    stands.
    """
    source = iter(lines)
    again: deque[str] = deque()  # lines that were read and given back
    taken: list[str] = []  # lines of the record at hand
    number = 1  # of its first line

    def feed() -> Iterator[str]:
        held = 0
        while not taken or held <= longest:
            line = again.popleft() if again else next(source, None)
            if line is None:
                break
            held = held + len(line) if taken else len(line)
            taken.append(line)
            yield line

    def reader() -> Iterator[list[str]]:
        return csv.reader(feed(), delimiter=delimiter, strict=True, skipinitialspace=True)

    records = reader()
    while True:
        if csv.field_size_limit() < FIELD_CHARS:  # it is the process's, and others set it
            csv.field_size_limit(FIELD_CHARS)
        fields: list[str] | None
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error:  # a quote at a wrong place, or a field that is too long
            fields = None
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
            if taken[0].count('"') % 2 == 0 and len(taken[0]) <= FIELD_CHARS:
                fields = [_bare(f) for f in taken[0].rstrip("\r\n").split(delimiter)]
            records = reader()
        if fields is None or fields:  # an empty line has no fields
            yield number, fields, taken[0]
        number += len(taken)
        taken.clear()


def between(header: str) -> str:
    """What stands between the names of the columns."""
    return "," if "," in header else max("\t;", key=header.count)


def _rows(
    records: Iterator[tuple[int, list[str] | None, str]], delimiter: str, width: int, rest: bool
) -> Iterator[CsvRow]:
    for number, fields, line in records:
        if fields is None:
            yield CsvRow(number, None, NOT_CLOSED, line)
            continue
        if len(fields) > width:
            while len(fields) > width and not fields[-1].strip():
                fields.pop()
            if len(fields) > width and rest:
                fields = _with_rest(fields, line, delimiter, width) or fields
        if len(fields) == width:
            yield CsvRow(number, fields)
        elif any(field.strip() for field in fields):  # a line of delimiters alone is an empty one
            yield CsvRow(number, None, MALFORMED, line)


def _with_rest(fields: list[str], line: str, delimiter: str, width: int) -> list[str] | None:
    """The fields where the last one takes the rest of the line; None where quotes stand in it."""
    line = line.rstrip("\r\n")
    if '"' not in line:
        return line.split(delimiter, width - 1)
    joined = delimiter.join(fields[width - 1 :])
    return [*fields[: width - 1], _bare(joined)] if line.endswith(joined) else None


def _bare(field: str) -> str:
    """A field without the quotes around it, if there are just those."""
    inner = field.strip()
    quoted = len(inner) > 1 and inner[0] == inner[-1] == '"' and inner.count('"') == 2
    return inner[1:-1] if quoted else field


def _chain(first: list[str], rest: Iterator[str]) -> Iterator[str]:
    yield from first
    yield from rest
