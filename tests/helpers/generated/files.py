"""Records as files: CSV, TSV, JSON lines, a JSON list, Parquet; in many encodings."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from helpers.generated.values import CSV_GAPS, Values

ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16", "utf-16-le", "utf-16-be")
Record = dict[str, Any]


class Raw(str):
    """A line that stands in the file as it is; it holds no record that can be read."""


def encoded(text: str, values: Values, encodings: Sequence[str] = ENCODINGS) -> bytes:
    """In one of the encodings that can hold it."""
    encoding = values.rng.choice(encodings)
    if not _can_be_told(text, encoding):
        encoding = "utf-8"
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode("utf-8")


def _can_be_told(text: str, encoding: str) -> bool:
    """Whether so short a text tells its encoding: by common characters, or by zeros."""
    wide = [character for character in text if character > "\x7f"]
    if encoding.startswith("utf-8"):
        return True
    if set("\ufffd\0") & set(text):
        return False
    if encoding in ("utf-16-le", "utf-16-be"):
        return 3 * len(wide) < 2 * len(text)
    common = [c for c in wide if c.encode("gb2312", errors="ignore")]
    return encoding == "utf-16" or 10 * len(common) >= 7 * len(wide)


def json_line(record: Record, rng: random.Random) -> str:
    line = json.dumps(record, ensure_ascii=False)
    half = any("\ud800" <= character <= "\udfff" for character in line)  # only JSON can spell it
    return json.dumps(record) if half or rng.random() < 0.3 else line


def write_jsonl(file: Path, records: Sequence[Record | Raw], values: Values) -> Path:
    """JSON lines; empty lines between them are no records."""
    lines = []
    for record in records:
        lines.append(record if isinstance(record, Raw) else json_line(record, values.rng))
        if values.one_in(8):
            lines.append(values.rng.choice(("", "  ")))
    return _put(file, _joined(lines, values), values)


def write_json_list(file: Path, records: Sequence[Any], values: Values) -> Path:
    items = [record if isinstance(record, Raw) else json_line(record, values.rng)
             for record in records]  # fmt: skip
    between = values.rng.choice((",", ", ", ",\n", " ,\r\n  "))
    around = values.rng.choice(("[{}]", "[\n{}\n]\n", " [ {} ] "))
    return _put(file, around.replace("{}", between.join(items), 1), values)


def write_csv(
    file: Path, columns: Sequence[str], records: Sequence[Record | Raw], values: Values
) -> Path:
    """A CSV or TSV; a value that is missing is one of CSV_GAPS."""
    rng = values.rng
    delimiter = "\t" if file.suffix == ".tsv" else rng.choice(",,,;\t")
    end = rng.choice(("\n", "\r\n", "\r"))
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    out = io.StringIO()
    out.write(delimiter.join(columns) + end)
    for record in records:
        if isinstance(record, Raw):
            out.write(record.replace("{}", delimiter) + end)
            continue
        fields = [_cell(record.get(name), rng) for name in columns]
        last = fields[-1].strip()
        if (
            quoting == csv.QUOTE_MINIMAL and last and not set(last) & set('"\r\n')
            and columns[-1] == "caption" and not any(set(f) & set('",;\t\r\n') for f in fields[:-1])
        ):  # fmt: skip
            out.write(delimiter.join(fields) + end)  # as people write it
        else:
            broken = any(set(field) & set("\r\n") for field in fields)
            how = csv.QUOTE_ALL if broken else quoting
            csv.writer(out, delimiter=delimiter, quoting=how, lineterminator=end).writerow(fields)
        if values.one_in(8):
            out.write(rng.choice((end, delimiter * (len(columns) - 1) + end)))
    return _put(file, out.getvalue(), values)


def write_parquet(file: Path, columns: dict[str, pa.Array | list[Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return file


def _cell(value: Any, rng: random.Random) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return rng.choice(CSV_GAPS)
    return str(value)


def _joined(lines: Sequence[str], values: Values) -> str:
    end = values.rng.choice(("\n", "\n", "\r\n", "\r"))
    last = values.rng.choice((end, "", end * 2))
    return end.join(lines) + last


def write_lines(file: Path, lines: Sequence[str], values: Values) -> Path:
    return _put(file, _joined(lines, values), values)


def _put(file: Path, text: str, values: Values) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(text, values))
    return file
