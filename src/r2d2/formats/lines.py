"""Text files line by line: UTF-8, GB18030 or UTF-16, LF or CRLF; what is broken is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r2d2.data.csv_records import NOT_CLOSED, csv_records
from r2d2.data.encodings import as_utf8
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows

LINE_BYTES = 96 << 20  # of a line: a picture of 64 MB in base64 fits
CHUNK = 1 << 20  # characters read at once
ITEM_CHARS = 16 << 20  # of an item in a list
MALFORMED = "malformed line"


def byte_lines(file: Path, dropped: DroppedRows) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and content of each line that is not empty, as UTF-8."""
    try:
        with file.open("rb") as opened:
            stream = as_utf8(opened, file)
            number = 0
            while line := stream.readline(LINE_BYTES):
                number += 1
                if len(line) == LINE_BYTES and not line.endswith(b"\n"):
                    dropped.add("line too long", f"{file}, line {number}")
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(LINE_BYTES)
                    continue
                line = line.rstrip(b"\r\n")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error


def text_lines(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, str]]:
    """Where a line stands, for what is told of it, and its text."""
    for number, line in byte_lines(file, dropped):
        try:
            yield f"{file}, line {number}", line.decode()
        except UnicodeDecodeError:
            dropped.add("not UTF-8", f"{file}, line {number}")


def json_lines(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where an object stands, and the object; one a line."""
    for where, line in text_lines(file, dropped):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            yield where, found
        else:
            dropped.add(MALFORMED, where)


def csv_rows(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a row stands, and its fields by the names of the header, in lower case."""
    lines = (line + "\n" for _, line in text_lines(file, dropped))
    header: list[str] = []
    for number, row in csv_records(lines, "\t" if file.suffix.lower() == ".tsv" else None):
        where = f"{file}, about line {number}"
        if row is None and not header:
            raise R2D2Error(f"{where}: {NOT_CLOSED} among the names of the columns: close it")
        if row is not None and not header:
            header = [name.strip().lower() for name in row]
        elif row is not None and len(row) == len(header):
            yield where, dict(zip(header, row, strict=True))
        else:
            dropped.add(MALFORMED, where)


def json_items(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, Any]]:
    """The items of one JSON list, however long it is; what follows a broken one is left out."""
    decoder = json.JSONDecoder()
    with _open(file) as stream:
        text = stream.read(CHUNK).lstrip()
        if not text.startswith("["):
            raise R2D2Error(f"{file} is no list in JSON: give the file as it was published")
        text, number = text[1:], 0
        while True:
            text = text.lstrip(" \t\r\n,")
            if text.startswith("]"):
                return
            try:
                item, end = decoder.raw_decode(text)
                whole = end < len(text)  # a number may go on
            except (ValueError, RecursionError):
                whole = False
            if not whole:
                more = stream.read(max(CHUNK, len(text)))
                text += more
                if not more or len(text) > ITEM_CHARS + CHUNK:
                    dropped.add("malformed JSON, its rest is left out", f"{file}, item {number}")
                    return
                continue
            yield f"{file}, item {number}", item
            text, number = text[end:], number + 1


def _open(file: Path) -> Any:
    try:
        return file.open(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error
