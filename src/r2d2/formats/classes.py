"""Classification in a pairs table: the class's name is the row's text, all names are its metadata.

A row has one text of source `class`; `metadata["classes"]` is a JSON list of all names in order,
those of which there is no picture too, for the model chooses among all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from r2d2.errors import R2D2Error
from r2d2.table import PairsTable, Text
from r2d2.tokenizer import text_key

CLASS = "class"
CLASSES = "classes"  # in a table's metadata
CHUNK = 8192  # rows whose texts are read at once


def class_text(name: str, class_id: str) -> Text:
    """Return the text of a row of a class."""
    return Text(name, CLASS, text_id=class_id)


def class_names(names: Sequence[str]) -> dict[str, str]:
    """Return the metadata of a table about its classes."""
    return {CLASSES: json.dumps(list(names), ensure_ascii=False)}


def row_classes(table: PairsTable) -> Iterator[tuple[int, str]]:
    """The rows that have a class, with its name: their first text whose source is `class`."""
    rows = table.rows()
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        for row, texts in zip(part.tolist(), table.texts(part), strict=True):
            names = (text.text.strip() for text in texts if text.source == CLASS)
            name = next((name for name in names if name), "")
            if name:
                yield row, name


def listed_classes(table: PairsTable) -> dict[str, str]:
    """Names by `text_key` that the metadata list, those of which the table has no picture too.

    R2D2Error where the list is damaged.
    """
    try:
        names = json.loads(table.metadata.get(CLASSES, "[]"))
        return {text_key(str(name)): str(name) for name in names if text_key(str(name))}
    except (ValueError, TypeError) as error:
        raise R2D2Error(f"{table.path}: its list of classes is damaged: import it again") from error


def classes_of(table: PairsTable) -> dict[str, str]:
    """Names by `text_key` that the metadata or the rows have, in that order."""
    names = listed_classes(table)
    for _, name in row_classes(table):
        names.setdefault(text_key(name), name)
    return names
