"""Answer the queries of a file, and write the results into another file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.files import whole_file
from r2d2.images.decode import read_image
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.json_text import is_list, json_items, parse_json
from r2d2.inputs.lines import NO_ENCODING, byte_lines
from r2d2.inputs.rows import CSV, PARQUET, TSV, TWO_FIELDS, fold, repeated_name, table_rows
from r2d2.inputs.values import (
    BadValueError,
    is_missing,
    name_value,
    shown,
    text_value,
)
from r2d2.outputs import a_file, check_outputs
from r2d2.progress import bars
from r2d2.search.display import to_dict
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher

AT_ONCE = 64  # queries that are answered together
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")

TABLES = tuple(f".{suffix}" for suffix in (*CSV, *TSV, *PARQUET))
TEXTS = ("text", "query", "查询", "文本")  # the first of these columns that has a value
COLUMNS = ("id", "image", *TEXTS)

# The file and line of a query, and its content: a text, an object or other JSON, or the error that
# reading it raised.
Line = tuple[str, Any]


@dataclass(frozen=True)
class BatchReport:
    """How many queries were answered, and which could not be answered."""

    answered: int
    dropped: DroppedRows


def search_many(
    searcher: Searcher, queries: Path, out: Path, options: SearchQuery, *, overwrite: bool = False
) -> BatchReport:
    """Answer a file of queries, and write a JSONL file with one line for each query.

    Args:
        searcher: model and gallery.
        queries: a file with a text on each line. A file named .jsonl, .ndjson or .json has a text
            or an object on each line, or one list of them. An object has `text` or `query`, or
            `image` (a path relative to the file), and may have `id`. The file may also be a table
            with these columns. Empty lines are skipped.
        out: the file to write. A line has `query`, `id` if the query has one, and `hits`; or
            `error` if there is no answer.
        options: all settings of the queries except text and image.
        overwrite: whether `out` is replaced.

    Raises:
        R2D2Error: the file cannot be read or has no query, or `out` exists.
    """
    check_outputs([a_file(out, ".jsonl", ".ndjson")], inputs=[queries], overwrite=overwrite)
    dropped = DroppedRows()
    lines = list(_lines(queries, dropped))
    if not lines:
        why = dropped.reasons()
        raise R2D2Error(
            f"{queries} holds no query{f' ({why})' if why else ''}: write a text a line"
        )
    answered = 0
    with whole_file(out) as work, bars() as update, work.open("w", encoding="utf-8") as stream:
        for start in range(0, len(lines), AT_ONCE):
            part = lines[start : start + AT_ONCE]
            results = _answered(searcher, queries, part, options)
            for (where, _), result in zip(part, results, strict=True):
                if "error" in result:
                    dropped.add("no answer", f"{where}: {result['error']}")
                else:
                    answered += 1
                stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            update("searching", start + len(part), len(lines))
    return BatchReport(answered, dropped)


def _answered(
    searcher: Searcher, file: Path, lines: Sequence[Line], options: SearchQuery
) -> Iterator[dict[str, Any]]:
    heads: list[dict[str, Any]] = []
    queries: dict[int, SearchQuery] = {}
    for number, (_, line) in enumerate(lines):
        head: dict[str, Any] = {"query": None}
        heads.append(head)
        try:
            query = _query(file, line, options, head)
            searcher.check(query)
            queries[number] = query
        except (R2D2Error, BadValueError) as error:
            head["error"] = str(error)
    results = dict(
        zip(queries, searcher.answer(list(queries.values())) if queries else (), strict=True)
    )
    for number, head in enumerate(heads):
        yield head | (to_dict(results[number]) if number in results else {})


def _query(file: Path, line: Any, options: SearchQuery, head: dict[str, Any]) -> SearchQuery:
    """Return the query of a line, and write the first fields of its result into `head`.

    Raises:
        BadValueError: the line is not a query.
        R2D2Error: the image cannot be read.
    """
    if isinstance(line, Exception):
        raise line
    if isinstance(line, str):
        head["query"] = shown(line)
        text = _required(text_value(line))
        head["query"] = text
        return replace(options, text=text)
    if not isinstance(line, dict):
        raise BadValueError("neither a text nor an object", line)
    repeated = repeated_name(line, COLUMNS)
    if repeated is not None:
        raise BadValueError(f"{TWO_FIELDS}: {repeated}", line)
    fields = {fold(name): value for name, value in line.items()}
    if not is_missing(fields.get("id")):
        head["id"] = fields["id"] if isinstance(fields["id"], int) else name_value(fields["id"])
    value = next((fields[name] for name in TEXTS if not is_missing(fields.get(name))), None)
    query_text, image = text_value(value), name_value(fields.get("image"))
    head["query"] = query_text or image
    if image is not None:
        return replace(options, text=query_text, image=read_image(file.parent / image))
    return replace(options, text=_required(query_text))


def _required(text: str | None) -> str:
    if text is None:
        raise BadValueError("no text", text)
    return text


def _lines(file: Path, dropped: DroppedRows) -> Iterator[Line]:
    """Yield the lines that are not empty, the rows of a table or the items of a list."""
    suffix = file.suffix.lower()
    if suffix in TABLES:
        yield from table_rows(file, dropped, COLUMNS, TEXTS, partial(_check, file))
        return
    if suffix in JSON_SUFFIXES and is_list(file):
        yield from json_items(file, dropped)
        return
    for number, line in byte_lines(file, dropped):
        where = f"{file}, line {number}"
        try:
            text = line.decode()
            yield where, _parsed(text) if suffix in JSON_SUFFIXES else text
        except UnicodeDecodeError:
            yield where, BadValueError(NO_ENCODING, line[:40])


def _parsed(line: str) -> Any:
    """Return the JSON of a line, or the error if it is not JSON."""
    try:
        return parse_json(line)
    except ValueError as error:
        return BadValueError(f"no JSON: {error}", line)


def _check(file: Path, columns: list[str]) -> None:
    """Raise R2D2Error where no column has queries."""
    if columns and not any(name in columns for name in (*TEXTS, "image")):
        raise R2D2Error(
            f"{file} has no column of queries (it has {', '.join(columns)[:200]}): name it text or "
            "query in the first line, or give a text a line in a .txt"
        )
