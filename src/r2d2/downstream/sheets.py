"""Text and CSV as people's programs write it; a quote that is never closed is told by its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from r2d2.errors import R2D2Error

MOST_BYTES = 1 << 30
END = "\x1eno more lines"  # follows the last line: a field that it ends up in was never closed
QUOTE = '"'
REMEDY = "close it, or save the file as CSV again"


def is_text(text: str) -> bool:
    """Whether a file can hold it: JSON may have half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_text(file: Path) -> str:
    """A text file as people's programs write one: UTF-8, or else GB18030, as Excel does."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise R2D2Error(f"{file} has more than {MOST_BYTES >> 30} GB: give it in parts")
        data = file.read_bytes()
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise R2D2Error(f"{file} is neither UTF-8 nor GB18030: save it as UTF-8")


def read_sheet(file: Path) -> tuple[list[str], Iterator[dict[str, str]]]:
    """The columns of a CSV file (.tsv: by tabs), and its rows; what a short row lacks is empty.

    Raises:
        R2D2Error: it cannot be read, or a field does not end; also while the rows are taken.
    """
    rows = _rows(file)
    columns = next(rows, [])

    def named() -> Iterator[dict[str, str]]:
        for fields in rows:
            fields += [""] * (len(columns) - len(fields))
            yield dict(zip(columns, fields, strict=False))

    return columns, named()


def _rows(file: Path) -> Iterator[list[str]]:
    """Rows that have a field."""
    lines = io.StringIO(read_text(file), newline="")
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    reader = csv.reader(chain(lines, (END,)), delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except csv.Error as error:
            raise R2D2Error(
                f"{file}, line {line}: {error}; likely a quote ({QUOTE}) there is not closed: "
                + REMEDY
            ) from error
        if fields == [END]:
            return
        if fields and fields[-1].endswith(END):
            raise R2D2Error(
                f"{file}, line {line}: a quote ({QUOTE}) there is not closed, so that all that "
                f"follows is one field: {REMEDY}"
            )
        if fields:
            yield fields
