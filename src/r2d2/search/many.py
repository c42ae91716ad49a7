"""Many queries out of a file, their results into another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r2d2.data.images import read_image
from r2d2.errors import R2D2Error
from r2d2.files import whole_file
from r2d2.inputs.encoding import read_lines
from r2d2.progress import bars
from r2d2.search.display import to_dict
from r2d2.search.query import Query
from r2d2.search.searcher import Searcher

AT_ONCE = 64


@dataclass(frozen=True)
class Done:
    """How many queries were answered, and how many could not be."""

    answered: int
    refused: int


def search_many(
    searcher: Searcher, queries: Path, out: Path, asked: Query, *, overwrite: bool = False
) -> Done:
    """Answer a file of queries, line by line, into a JSONL file of as many lines.

    Args:
        searcher: model and gallery.
        queries: a text a line; or, named .jsonl, an object a line with `text` or `image` (a path,
            relative to the file) and perhaps `id`. Empty lines are passed over.
        out: a line a query: `query`, perhaps `id`, and `hits`; or `error`, where it has no answer.
        asked: everything but the text and the image.
        overwrite: replace `out`.

    Raises:
        R2D2Error: the file cannot be read, `out` exists, or nothing in it was answered.
    """
    if out.exists() and not overwrite:
        raise R2D2Error(f"{out} exists: choose another --out, or give --overwrite")
    lines = [line for line in _lines(queries) if line.strip()]
    if not lines:
        raise R2D2Error(f"{queries} holds no query: write a text a line")
    answered = refused = 0
    with whole_file(out) as work, bars() as update, work.open("w", encoding="utf-8") as stream:
        for start in range(0, len(lines), AT_ONCE):
            some = lines[start : start + AT_ONCE]
            for result in _answered(searcher, queries, some, start, asked):
                refused += "error" in result
                answered += "error" not in result
                stream.write(json.dumps(result, ensure_ascii=False) + "\n")
            update("searching", start + len(some), len(lines))
    return Done(answered, refused)


def _answered(
    searcher: Searcher, file: Path, lines: list[str], start: int, asked: Query
) -> Iterator[dict[str, Any]]:
    heads: list[dict[str, Any]] = []
    queries: dict[int, Query] = {}
    for place, line in enumerate(lines):
        head, query = _parsed(file, line, start + place, asked)
        heads.append(head)
        if query is not None:
            try:
                searcher.check(query)
                queries[place] = query
            except R2D2Error as error:
                head["error"] = str(error)
    found = dict(
        zip(queries, searcher.answer(list(queries.values())) if queries else (), strict=True)
    )
    for place, head in enumerate(heads):
        yield head | (to_dict(found[place]) if place in found else {})


def _parsed(
    file: Path, line: str, number: int, asked: Query
) -> tuple[dict[str, Any], Query | None]:
    """What the line's result begins with, and its query; None where there is none to be had."""
    if file.suffix.lower() not in (".jsonl", ".ndjson"):
        text = line.strip()
        return {"query": text}, replace(asked, text=text)
    try:
        given = json.loads(line)
        if not isinstance(given, dict) or not isinstance(given.get("text", ""), str):
            raise ValueError("no object with text or image")
    except ValueError as error:
        return {"query": None, "error": f"query {number + 1} is no JSON object: {error}"}, None
    head: dict[str, Any] = {"query": given.get("text") or given.get("image")}
    if "id" in given:
        head = {"id": given["id"], **head}
    try:
        if "image" in given:
            path = file.parent / str(given["image"])
            return head, replace(asked, text=given.get("text"), image=read_image(path))
        return head, replace(asked, text=given.get("text"))
    except R2D2Error as error:
        return head | {"error": str(error)}, None


def _lines(path: Path) -> list[str]:
    try:
        return read_lines(path)  # not at U+2028 and the like
    except OSError as error:
        raise R2D2Error(f"cannot read {path}: {error.strerror}; check the path") from error
