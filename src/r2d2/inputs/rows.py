"""Read users' tables row by row: CSV, TSV, JSON Lines, one JSON list, or Parquet.

Names of columns count without case and without space around them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from r2d2.errors import R2D2Error
from r2d2.inputs.csv_records import csv_table
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import BOM, LOST
from r2d2.inputs.json_text import JsonObject, json_objects
from r2d2.inputs.lines import csv_lines, opened
from r2d2.inputs.values import BadValueError, shown

CSV, TSV, JSON, PARQUET = ("csv",), ("tsv",), ("jsonl", "ndjson", "json"), ("parquet", "pq")
SUFFIXES = tuple(f".{name}" for name in (*CSV, *TSV, *JSON, *PARQUET))
HEAD_ROWS = 1000  # of JSON, whose keys are its columns
PARQUET_ROWS = 64  # read at once: they may hold pictures
TWO_FIELDS = "two fields of one name"

Row = tuple[str, dict[str, Any]]  # where it stands, and its fields by column
Check = Callable[[list[str]], None]  # raises where the columns do not serve


def table_rows(
    file: Path,
    dropped: DroppedRows,
    used: Collection[str],
    texts: Collection[str] = (),
    check: Check = lambda columns: None,
) -> Iterator[Row]:
    """Yield the rows of a table, whose format is named by its suffix.

    Args:
        file: the table.
        dropped: counts the rows that cannot be read.
        used: columns that the caller looks for; others may stand there twice, or hold anything.
        texts: of these, the ones of texts: the last column of a CSV takes unquoted commas where it
            is one of them.
        check: is called with the names of the columns before the first row.

    Raises:
        R2D2Error: the file cannot be read, or has a column twice that is used.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind in PARQUET:
        return parquet_rows(file, used, check)
    if kind in (*CSV, *TSV):
        return csv_rows(file, dropped, used, texts, check)
    if kind in JSON:
        return json_rows(file, dropped, used, check)
    raise R2D2Error(f"{file} is no table that can be read: give one of {', '.join(SUFFIXES)}")


def fold(name: object) -> str:
    """Return the name of a column in the form in which names are compared."""
    return str(name).strip().strip(BOM).strip().lower()


def check_repeated(names: Iterable[str], used: Collection[str], file: object) -> None:
    """Raise R2D2Error where a column that is used occurs twice."""
    for name, count in Counter(map(fold, names)).items():
        if count > 1 and name in used:
            raise R2D2Error(
                f"{file} has {count} columns named {name!r}: rename or remove all but one"
            )


def csv_rows(
    file: Path,
    dropped: DroppedRows,
    used: Collection[str],
    texts: Collection[str] = (),
    check: Check = lambda columns: None,
) -> Iterator[Row]:
    """The rows of a CSV or TSV file; see `table_rows`."""
    with opened(file) as stream:
        lines = csv_lines(stream, file, dropped)
        delimiter = "\t" if file.suffix.lower() == ".tsv" else None
        header, rows = csv_table(lines, delimiter, lambda name: fold(name) in texts)
        if header.fields is None:
            raise R2D2Error(
                f"{file}, line {header.line}: {header.fault} among the names of the columns: "
                "close it"
            )
        check_repeated(header.fields, used, file)
        names = [fold(name) for name in header.fields]
        check(names)
        for row in rows:
            where = f"{file}, line {row.line}"
            if row.fields is None:
                dropped.add(row.fault, f"{where}: {shown(row.raw)}")
            elif fold(row.fields[0]) == names[0] and [*map(fold, row.fields)] == names:
                dropped.add("the names of the columns again", where)
            else:
                yield where, dict(zip(names, row.fields, strict=True))


def json_rows(
    file: Path,
    dropped: DroppedRows,
    used: Collection[str],
    check: Check = lambda columns: None,
) -> Iterator[Row]:
    """The objects of a file of JSON Lines, or of one JSON list; see `table_rows`."""
    objects = json_objects(file, dropped)
    head = list(islice(objects, HEAD_ROWS))
    if head:
        check(list({fold(name): None for _, fields in head for name in fields}))
    for where, fields in chain(head, objects):
        with dropped.counting(where):
            refuse_repeated(fields, used)
            yield where, {fold(name): value for name, value in fields.items()}


def parquet_rows(
    file: Path, used: Collection[str], check: Check = lambda columns: None
) -> Iterator[Row]:
    """The rows of a Parquet file, their used columns alone; see `table_rows`."""
    with open_parquet(file) as table:
        names = table.schema_arrow.names
        check_repeated(names, used, file)
        check([fold(name) for name in names])
        wanted = [name for name in names if fold(name) in used]
        number = 0
        for batch in table.iter_batches(PARQUET_ROWS, columns=wanted):
            columns = {fold(n): _values(batch.column(n)) for n in wanted}
            for index in range(batch.num_rows):
                number += 1
                yield f"{file}, row {number}", {n: c[index] for n, c in columns.items()}


@contextmanager
def open_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; raise R2D2Error where it is damaged, also while it is read."""
    try:
        with pq.ParquetFile(file) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise R2D2Error(f"{file} is no readable Parquet file ({reason}): fetch it again") from error


def _values(column: pa.Array) -> list[Any]:
    """A column's values; LOST for one that Arrow holds and Python cannot read."""
    try:
        values: list[Any] = column.to_pylist()
    except Exception:  # such as a string that is no UTF-8, or a time out of range
        values = [_value(scalar) for scalar in column]
    return values


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except Exception:
        return LOST


def refuse_repeated(fields: Mapping[str, Any], used: Collection[str]) -> None:
    """BadValueError where an object has a used name twice."""
    repeated = repeated_name(fields, used)
    if repeated is not None:
        raise BadValueError(TWO_FIELDS, repeated)


def repeated_name(fields: Mapping[str, Any], used: Collection[str]) -> str | None:
    """Return a used name that an object has twice, or None."""
    twice = getattr(fields, "repeated", ()) if isinstance(fields, JsonObject) else ()
    counts = Counter(fold(name) for name in (*fields, *twice))
    return next((name for name, count in counts.items() if count > 1 and name in used), None)
