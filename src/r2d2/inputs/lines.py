"""Read text files line by line in any encoding; unreadable lines are counted and skipped.

A line ends at LF, CR LF or CR, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import as_utf8, open_text

LINE_BYTES = 96 << 20  # of a line: a picture of 64 MB in base64 fits
MALFORMED = "malformed line"
TOO_LONG = "line too long"
NO_ENCODING = "a line in no known encoding"


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file to read; raise R2D2Error where it cannot be opened or read."""
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error


def byte_lines(file: Path, dropped: DroppedRows) -> Iterator[tuple[int, bytes]]:
    """Yield the number (from 1) and the content as UTF-8 of each line that is not empty."""
    with opened(file) as stream:
        yield from stream_lines(stream, file, dropped)


def stream_lines(
    stream: IO[bytes], name: object, dropped: DroppedRows
) -> Iterator[tuple[int, bytes]]:
    """The lines of `byte_lines`, of a file that is open; `name` is what it is called."""
    text = as_utf8(stream, name)
    number = 0
    while line := text.readline(LINE_BYTES):
        number += 1
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            dropped.add(TOO_LONG, f"{name}, line {number}")
            while line and not line.endswith(b"\n"):
                line = text.readline(LINE_BYTES)
            continue
        line = line.rstrip(b"\r\n")
        if b"\r" in line:
            parts = line.split(b"\r")
            yield from ((number + n, part) for n, part in enumerate(parts) if part.strip())
            number += len(parts) - 1
        elif line.strip():
            yield number, line


def text_lines(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, str]]:
    """Yield the file and number of each line, for messages, and its text."""
    for number, line in byte_lines(file, dropped):
        try:
            yield f"{file}, line {number}", line.decode()
        except UnicodeDecodeError:
            dropped.add(NO_ENCODING, f"{file}, line {number}")


def csv_lines(stream: IO[bytes], name: object, dropped: DroppedRows) -> Iterator[str]:
    """Lines that end with LF, LOST where bytes had no meaning; a long one is empty."""
    text = open_text(stream, name)
    number = 0
    while line := text.readline(LINE_BYTES):
        number += 1
        if len(line) == LINE_BYTES and line[-1] != "\n":
            dropped.add(TOO_LONG, f"{name}, line {number}")
            while line and line[-1] != "\n":
                line = text.readline(LINE_BYTES)
            line = "\n"
        yield line
