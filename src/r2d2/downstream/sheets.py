"""Read the sheets that people fill in, which are CSV files as spreadsheet programs write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.inputs.csv_records import NOT_CLOSED, csv_table
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.lines import csv_lines, opened
from r2d2.inputs.rows import check_repeated, fold
from r2d2.inputs.values import shown, text_fault

REMEDY = "mend that line, or save the file as CSV again"

SheetRow = tuple[str, dict[str, str]]  # file and line of a row, and its cells by column


def read_sheet(
    file: Path, dropped: DroppedRows | None = None
) -> tuple[list[str], Iterator[SheetRow]]:
    """Return the columns of a CSV file, or of a .tsv file with tabs, and an iterator of its rows.

    Args:
        file: its first row has the names of the columns.
        dropped: counts rows that cannot be read; None: such a row is an error.

    Raises:
        R2D2Error: the file or its first row cannot be read. The iterator raises it, too.
    """
    rows = _rows(file, dropped)
    columns = list(next(rows)[1])
    return columns, rows


def _rows(file: Path, dropped: DroppedRows | None) -> Iterator[SheetRow]:
    """Yield the names of the columns first, and then the rows."""
    unread = DroppedRows() if dropped is None else dropped
    with opened(file) as stream:
        delimiter = "\t" if file.suffix.lower() == ".tsv" else None
        header, rows = csv_table(csv_lines(stream, file, unread), delimiter)
        names = header.fields
        if names is None or any(map(text_fault, names)):
            fault = NOT_CLOSED if names is None else text_fault("".join(names))
            raise R2D2Error(f"{file}, line {header.line}: {fault}: {REMEDY}")
        check_repeated(names, {fold(name) for name in names if name.strip()}, file)
        yield str(file), dict.fromkeys(names, "")
        for row in rows:
            where = f"{file}, line {row.line}"
            fault = row.fault if row.fields is None else text_fault("".join(row.fields))
            if fault and dropped is None:
                raise R2D2Error(f"{where}: {fault}: {REMEDY}")
            if fault:
                unread.add(fault, f"{where}: {shown(row.raw)}" if row.raw else where)
            else:
                yield where, dict(zip(names, row.fields or [], strict=True))
        if dropped is None and unread:
            raise R2D2Error(f"{file}: {unread.reasons()}: {REMEDY}")
