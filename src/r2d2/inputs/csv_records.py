"""Read the records of a CSV file; a broken record makes only its own line unusable.

Programs write CSV with quotes around what holds a delimiter; people write it without. So a row may
have more fields than there are columns: where the last column is one of texts, it takes the rest of
the line as it stands; elsewhere nobody can tell which comma belongs to a text, and the row is
malformed.

A quote that opens a field and is not closed in its line may belong to a text of several lines, or
be a mark within a text. In the second case the quote of some later row would close it, and the rows
between would become one text. So a record of several lines is not taken where its first line and
another one each have the form of a row.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from r2d2.inputs.folders import is_picture

LONGEST = 131_072  # characters of a record of several lines, where they hold no pictures
FIELD_CHARS = 96 << 20  # of a field in one line: a picture of 64 MB in base64 fits
NOT_CLOSED = "a quote is not closed"
MALFORMED = "malformed row"
_SEPARATOR = re.compile(r'"?sep=([,;\t])"?')  # Excel's way of naming the delimiter, as its own line
_EMPTY = ',;"\t \r\n'  # characters of a row without a value


class CsvRow(NamedTuple):
    """A row, or the reason why it cannot be read."""

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
    """Return the names of the columns, and the rows.

    Trailing columns without a name, and what trailing empty fields a row has beyond its columns,
    are padding, as spreadsheets write it.

    Args:
        lines: with their line breaks, so that those within a quoted field are kept.
        delimiter: between fields; None: what stands in the first line that is not empty, a comma
            where it has one, else a tab or a semicolon. Before it Excel may have written `sep=;`.
        takes_rest: whether a column of this name, as the last one, takes what of a line is too
            much, since it is one of texts.
        longest: characters of a record of several lines.
    """
    source = iter(lines)
    before = []  # the first row: empty lines, and the first that is not
    for line in source:
        named = _SEPARATOR.fullmatch(line.strip())
        delimiter = named[1] if named and delimiter is None else delimiter
        if line.strip(_EMPTY) and not named:
            before.append(line)
            break
        before.append("\n")
    if delimiter is None:
        delimiter = between(before[-1] if before else "")
    form = _RowForm(delimiter)
    records = csv_records(chain(before, source), delimiter, longest, form)
    number, names, raw = next(records, (1, [], ""))
    if names is None:
        return CsvRow(number, None, NOT_CLOSED, raw), iter(())
    while names and not names[-1].strip():
        names.pop()
    rest = bool(names) and takes_rest(names[-1])
    form.width, form.rest = len(names), rest
    rows = _rows(records, delimiter, len(names), rest)
    return CsvRow(number, names), rows


def csv_records(
    lines: Iterable[str],
    delimiter: str = ",",
    longest: int = LONGEST,
    form: _RowForm | None = None,
) -> Iterator[tuple[int, list[str] | None, str]]:
    """Yield the line (from 1) where each record begins, its fields, and its first line.

    None in the place of the fields: a quote opens in that line which is not closed before the
    file ends, or within `longest` characters, or which the quote of a later line closes in the
    middle of a field, or which holds rows, by their `form`. The line is left out, and what the
    quote had swallowed is read again, from the next line on. A field such as `"a" b`, with text
    behind its closing quote, is read as it stands.
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
            if form is not None and form.swallows(taken, fields):
                raise csv.Error("rows within a quote")
        except StopIteration:
            return
        except csv.Error:  # a quote at a wrong place, or a field that is too long
            fields = None if form is None else form.literal(taken)
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
            if fields is None and taken[0].count('"') % 2 == 0 and len(taken[0]) <= FIELD_CHARS:
                fields = [_bare(f) for f in taken[0].rstrip("\r\n").split(delimiter)]
            records = reader()
        if fields is None or fields:  # an empty line has no fields
            yield number, fields, taken[0]
        number += len(taken)
        taken.clear()


class _RowForm:
    """Make a pattern for a line that is a row by itself, whatever its quotes mean."""

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.width = 0  # columns; 0 while they are not known
        self.rest = False  # whether the last column takes surplus fields

    def swallows(self, lines: list[str], fields: list[str]) -> bool:
        """Return whether a quote contains rows: two lines of the record are rows by themselves.

        A comma may stand in any text. So between commas one column must name pictures in the record
        and in both lines; a tab in a text of several lines is rare enough.
        """
        if len(lines) < 2 or not self._is_row(lines[0]):
            return False
        rows = [self._cut(line) for line in (lines[0], *filter(self._is_row, lines[1:]))]
        if len(rows) < 2:
            return False
        return self.delimiter == "\t" or any(
            column < len(fields) and is_picture(fields[column].strip())
            and sum(is_picture(row[column].strip()) for row in rows) > 1
            for column in range(self.width)
        )  # fmt: skip

    def literal(self, lines: list[str]) -> list[str] | None:
        """Return the fields of the first line, with quotes as text, in a TSV file; else None."""
        if self.delimiter != "\t" or not self._is_row(lines[0]) or lines[0].count('"') % 2 == 0:
            return None
        return self._cut(lines[0]) if len(lines) == 1 or self._is_row(lines[1]) else None

    def _is_row(self, line: str) -> bool:
        cut = len(self._cut(line))
        return self.width > 1 and (cut == self.width or (self.rest and cut > self.width))

    def _cut(self, line: str) -> list[str]:
        return line.rstrip("\r\n").split(self.delimiter)


def between(header: str) -> str:
    """Return the delimiter between the names of the columns."""
    return "," if "," in header else max("\t;", key=header.count)


def _rows(
    records: Iterator[tuple[int, list[str] | None, str]], delimiter: str, width: int, rest: bool
) -> Iterator[CsvRow]:
    for number, fields, line in records:
        if fields is None:
            yield CsvRow(number, None, NOT_CLOSED, line)
            continue
        if not any(field.strip() for field in fields):
            continue  # a line of delimiters alone is an empty one
        if len(fields) > width:
            while len(fields) > width and not fields[-1].strip():
                fields.pop()
            if len(fields) > width and rest:
                fields = _with_rest(fields, line, delimiter, width) or fields
        if len(fields) == width:
            yield CsvRow(number, fields)
        else:
            yield CsvRow(number, None, MALFORMED, line)


def _with_rest(fields: list[str], line: str, delimiter: str, width: int) -> list[str] | None:
    """The fields where the last one takes the rest of the line; None where quotes stand in it."""
    line = line.rstrip("\r\n")
    if '"' not in line:
        return line.split(delimiter, width - 1)
    joined = delimiter.join(fields[width - 1 :])
    return [*fields[: width - 1], _bare(joined)] if line.endswith(joined) else None


def _bare(field: str) -> str:
    """Return a field without the quotes around it, if it has no others."""
    inner = field.strip()
    quoted = len(inner) > 1 and inner[0] == inner[-1] == '"' and inner.count('"') == 2
    return inner[1:-1] if quoted else field
