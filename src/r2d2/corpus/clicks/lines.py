"""CSV and JSONL line by line: one broken line is counted and passed over, and the next one read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any

import pyarrow as pa

from r2d2.corpus.clicks.log_columns import COUNTS, ROW_NUMBER, TEXTS
from r2d2.errors import R2D2Error
from r2d2.inputs.csv_records import LONGEST, NOT_CLOSED, CsvRow, csv_table
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.lines import csv_lines, stream_lines
from r2d2.inputs.rows import check_repeated, fold
from r2d2.inputs.values import is_missing, text_fault

MALFORMED = "malformed line"
IMAGE_CHARS = 64 << 20  # of a CSV record whose base64 is broken into lines
HEAD_LINES = 1000  # of a JSONL file, whose keys are its columns
CHUNK_ROWS = 64 << 10
CHUNK_CHARS = 16 << 20
SHOWN_CHARS = 200  # of a malformed line


def head_columns(stream: IO[bytes], kind: str, file: str) -> list[str]:
    """Names of the columns; none of an empty file. R2D2Error where they cannot be read."""
    if kind != "jsonl":
        return _csv(stream, kind, file, DroppedRows())[0]
    names: dict[str, None] = {}
    for _, line in islice(stream_lines(stream, file, DroppedRows()), HEAD_LINES):
        names.update(dict.fromkeys(_record(line) or ()))
    return list(names)


def read_lines(
    stream: IO[bytes],
    kind: str,
    columns: Mapping[str, str],
    dropped: DroppedRows,
    file: str,
    before: int = 0,
) -> Iterator[pa.Table]:
    """Chunks of rows, with the numbers of their lines (ROW_NUMBER).

    Args:
        stream: the file.
        kind: csv, tsv or jsonl.
        columns: role: name of the column.
        dropped: where malformed lines are counted.
        file: its name, for the examples.
        before: lines of the file that stand before those of the stream.

    Raises:
        R2D2Error: the encoding, or the names of the columns, cannot be read.
    """
    rows: list[list[Any]] = []
    numbers: list[int] = []
    size = 0
    read = _jsonl_rows if kind == "jsonl" else _csv_rows
    for number, row, text in read(stream, kind, columns, file, dropped):
        if row is not None and (fault := text_fault("".join(filter(None, row)))) is not None:
            text = f"{fault}: {_head(row)}"
            row = None
        if row is None:
            dropped.add(MALFORMED, f"{file}, line {number + before}: {text}")
            continue
        rows.append(row)
        numbers.append(number + before)
        size += sum(map(len, filter(None, row)))
        if len(rows) >= CHUNK_ROWS or size >= CHUNK_CHARS:
            yield _table(rows, columns, numbers)
            rows, numbers, size = [], [], 0
    if rows:
        yield _table(rows, columns, numbers)


def _table(rows: list[list[Any]], columns: Mapping[str, str], numbers: Sequence[int]) -> pa.Table:
    values = zip(*rows, strict=True)
    kinds = [pa.large_string() if role == "image" else pa.string() for role in columns]
    arrays = [pa.array(list(v), kind) for v, kind in zip(values, kinds, strict=True)]
    arrays.append(pa.array(numbers, pa.int64()))
    return pa.Table.from_arrays(arrays, names=[*columns, ROW_NUMBER])


def _head(row: Sequence[str | None]) -> str:
    """The beginning of a row's values, with a mark in the place of what is broken."""
    text = ", ".join(value[:SHOWN_CHARS] for value in row if value)
    return text[:SHOWN_CHARS].encode(errors="replace").decode()


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):  # also bytes that are no UTF-8
        return None
    return record if isinstance(record, dict) else None


def _jsonl_rows(
    stream: IO[bytes], kind: str, columns: Mapping[str, str], file: str, dropped: DroppedRows
) -> Iterator[tuple[int, list[Any] | None, str]]:
    for number, line in stream_lines(stream, file, dropped):
        record = _record(line)
        row: list[Any] | None = None
        if record is not None:
            try:
                row = [_value(role, record.get(name)) for role, name in columns.items()]
            except ValueError:
                row = None
        yield (
            number,
            row,
            line[:SHOWN_CHARS].decode(errors="replace").strip() if row is None else "",
        )


def _csv_rows(
    stream: IO[bytes], kind: str, columns: Mapping[str, str], file: str, dropped: DroppedRows
) -> Iterator[tuple[int, list[Any] | None, str]]:
    texts = {name for role, name in columns.items() if role in TEXTS}
    longest = IMAGE_CHARS if "image" in columns else LONGEST
    header, records = _csv(stream, kind, file, dropped, texts, longest)
    check_repeated(header, {fold(name) for name in columns.values()}, file)
    places = [header.index(name) for name in columns.values()]
    for record in records:
        fields = record.fields
        if fields is None:
            reason = record.fault if record.fault == NOT_CLOSED else record.raw.strip()
            yield record.line, None, reason
            continue
        yield record.line, [fields[place] or None for place in places], ""


def _csv(
    stream: IO[bytes], kind: str, file: str, dropped: DroppedRows,
    texts: Collection[str] = (), longest: int = LONGEST,
) -> tuple[list[str], Iterator[CsvRow]]:  # fmt: skip
    """The names of the columns, and the rows."""
    # bytes without a meaning become LOST, by which their row is known
    lines = csv_lines(stream, file, dropped)
    delimiter = "\t" if kind == "tsv" else None
    header, rows = csv_table(lines, delimiter, lambda name: name in texts, longest)
    if header.fields is None:
        raise R2D2Error(
            f"{file}, line {header.line}: {NOT_CLOSED} among the names of the columns: close it"
        )
    return header.fields, rows


def _value(role: str, value: Any) -> str | None:
    """A JSON value as text, an image in base64; ValueError for what is none."""
    if value is None or isinstance(value, str):
        return value
    if role in COUNTS and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if is_missing(value):
        return None
    raise ValueError("an image in a text file is base64, and a text is a string")
