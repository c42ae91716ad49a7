"""JSON of any encoding: a whole file, one object a line, or one list however long it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import decode_text, open_text, read_text
from r2d2.inputs.lines import opened, text_lines
from r2d2.inputs.values import shown

CHUNK = 1 << 20  # characters read at once
ITEM_CHARS = 16 << 20  # of an item in a list
NOT_OBJECT = "not a JSON object"
BROKEN_LIST = "malformed JSON, its rest is left out"


class JsonObject(dict[str, Any]):
    """An object, and the names that it has twice; of these it holds the last value."""

    repeated: frozenset[str] = frozenset()


def parse_json(text: str) -> Any:
    """Parse a text with `JsonObject` for objects; raise ValueError where it is not JSON."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def decode_json(data: bytes, name: object = None, home: object = None) -> Any:
    """The JSON of a small file; ValueError where no encoding fits, or it is no JSON.

    `name` and `home` as in `decode_text`.
    """
    text = decode_text(data, name, home)
    if text is None:
        raise ValueError("it is in no known encoding")
    return parse_json(text)


def read_json(file: Path, remedy: str) -> Any:
    """The JSON of a whole file. R2D2Error, with what is to be done, where it cannot be read."""
    try:
        return parse_json(read_text(file))
    except ValueError as error:
        raise R2D2Error(f"{file} is no readable JSON ({error}): {remedy}") from error


def json_lines(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, JsonObject]]:
    """Yield the file and line of each object, and the object; there is one per line."""
    for where, line in text_lines(file, dropped):
        try:
            value = parse_json(line)
        except ValueError:
            value = None
        if isinstance(value, JsonObject):
            yield where, value
        else:
            dropped.add(NOT_OBJECT, f"{where}: {shown(line)}")


def json_items(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, Any]]:
    """The items of one list (the first is item 1); what follows a broken one is left out."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    with opened(file) as stream:
        source = open_text(stream, file)
        text = source.read(CHUNK).lstrip()
        if not text.startswith("["):
            raise R2D2Error(f"{file} is no list in JSON: give the file as it was published")
        text, number = text[1:], 1
        while True:
            text = text.lstrip(" \t\r\n,")
            if text.startswith("]"):
                if (text[1:] + source.read(CHUNK)).strip():
                    dropped.add(BROKEN_LIST, f"{file}, behind item {number - 1}")
                return
            try:
                item, end = decoder.raw_decode(text)
                whole = end < len(text)  # a number may go on
            except (ValueError, RecursionError):
                whole = False
            if not whole:
                more = source.read(max(CHUNK, len(text)))
                text += more
                if not more or len(text) > ITEM_CHARS + CHUNK:
                    dropped.add(BROKEN_LIST, f"{file}, item {number}")
                    return
                continue
            yield f"{file}, item {number}", item
            text, number = text[end:], number + 1


def json_objects(file: Path, dropped: DroppedRows) -> Iterator[tuple[str, JsonObject]]:
    """Where an object stands, and the object: of one list, or else one a line."""
    if not is_list(file):
        yield from json_lines(file, dropped)
        return
    for where, item in json_items(file, dropped):
        if isinstance(item, JsonObject):
            yield where, item
        else:
            dropped.add(NOT_OBJECT, f"{where}: {shown(item)}")


def is_list(file: Path) -> bool:
    """Return whether a file has one JSON list, by its beginning.

    Not where its first line is a whole list and others follow: then it is one of JSON lines.
    """
    with opened(file) as stream:
        text = open_text(stream, file)
        while (line := text.readline(CHUNK)) and not line.strip():
            pass
        if not line.lstrip().startswith("["):
            return False
        if not line.endswith("\n") or not text.read(CHUNK).strip():
            return True
    try:
        parse_json(line)
    except ValueError:
        return True
    return False


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    made = JsonObject(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.repeated = frozenset(name for name in names if names.count(name) > 1)
    return made
