"""Text and CSV as people's programs write it, and which of its rows cannot be read."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.inputs.csv_records import NOT_CLOSED, between, csv_records
from r2d2.inputs.encoding import LOST, open_text

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
BROKEN = "characters that cannot be read"
REMEDY = "mend that line, or save the file as CSV again"
TOLD = 5  # lines that are told of a file


def is_text(text: str) -> bool:
    """Whether a file can hold it, and did: JSON may have half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" or character == LOST for character in text)


def read_text(file: Path) -> str:
    """A text file as people's programs write one: UTF-8, or GB18030 or UTF-16, as Excel does.

    Where some of its bytes have no meaning, there stands LOST. Line breaks are as they were.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise R2D2Error(f"{file} has more than {MOST_BYTES >> 30} GB: give it in parts")
        with file.open("rb") as stream:
            return open_text(stream, file, newline="").read()
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error


def read_sheet(
    file: Path, skipped: Counter[str] | None = None
) -> tuple[list[str], Iterator[dict[str, str]]]:
    """The columns of a CSV file (.tsv: by tabs), and its rows; what a short row lacks is empty.

    Args:
        file: whose first row has the names of the columns.
        skipped: counts rows that cannot be read, by reason; the log names their lines. None: such a
            row is an error.

    Raises:
        R2D2Error: it cannot be read, or its first row; also while the rows are taken.
    """
    rows = _rows(file)
    number, columns, wrong = next(rows, (1, [], ""))
    if wrong:
        raise R2D2Error(f"{file}, line {number}: {wrong}: {REMEDY}")

    def named() -> Iterator[dict[str, str]]:
        told = 0
        for number, fields, wrong in rows:
            if wrong and skipped is None:
                raise R2D2Error(f"{file}, line {number}: {wrong}: {REMEDY}")
            if wrong and skipped is not None:
                skipped[wrong] += 1
                told += 1
                if told <= TOLD:
                    log.warning("%s, line %d is left out: %s: %s", file, number, wrong, REMEDY)
                continue
            fields += [""] * (len(columns) - len(fields))
            yield dict(zip(columns, fields, strict=False))

    return columns, named()


def _rows(file: Path) -> Iterator[tuple[int, list[str], str]]:
    """Rows that have a field, each with its line and what is wrong with it, if anything."""
    lines = io.StringIO(read_text(file), newline="")
    delimiter = "\t" if file.suffix.lower() == ".tsv" else between(next(lines, ""))
    lines.seek(0)
    for number, fields, _ in csv_records(lines, delimiter):
        if fields is None:
            yield number, [], NOT_CLOSED
        else:
            yield number, fields, BROKEN if any(LOST in field for field in fields) else ""
