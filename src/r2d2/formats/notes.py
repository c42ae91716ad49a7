"""What a table says besides its rows, as exported files keep it: its metadata and its queries.

In Parquet files it is in the metadata of the schema, under `r2d2`; beside tar files in `r2d2.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from r2d2.formats.classes import CLASSES, class_names, classes_of
from r2d2.formats.import_context import ImportContext
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.table import PairsTable
from r2d2.table_queries import TableQuery, read_queries

NAME = "r2d2"  # of the key, and of the file
FORMAT = "r2d2 pairs table"
UNREADABLE = "metadata unreadable"
DIFFERENT = "metadata differ, the first holds"


@dataclass(frozen=True)
class TableNotes:
    """Metadata and queries of a table, or of one split of it."""

    metadata: dict[str, str] = field(default_factory=dict)
    queries: tuple[TableQuery, ...] = ()

    def to_json(self) -> str:
        """Return the notes in the form in which a file of another format keeps them."""
        queries = [asdict(query) for query in self.queries]
        content = {"format": FORMAT, "metadata": self.metadata, "queries": queries}
        return json.dumps(content, ensure_ascii=False)


def notes_of(table: PairsTable, split: str | None) -> TableNotes:
    """What goes with the rows of a table, or of one split.

    A split keeps the names of all classes, those that only other splits have too: a model chooses
    among all.
    """
    metadata = dict(table.metadata)
    queries = [] if "://" in table.path else read_queries(table.path)
    if split is not None:
        queries = [query for query in queries if query.split == split]
        names = list(classes_of(table).values())
        if names:
            metadata |= class_names(names)
    return TableNotes(metadata, tuple(queries))


def from_json(text: str, where: str, dropped: DroppedRows) -> TableNotes | None:
    """The notes in a text; None where it is somebody else's, or damaged, which is counted."""
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return None
        metadata = {str(key): str(value) for key, value in content["metadata"].items()}
        queries = [
            TableQuery(*(str(query[name]) for name in ("text_id", "text", "split")))
            for query in content["queries"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        dropped.add(UNREADABLE, where)
        return None
    return TableNotes(metadata, tuple(queries))


def add_notes(context: ImportContext, notes: Iterable[tuple[str, str]]) -> None:
    """Put what exported files say of their table where the import keeps it.

    Class names are joined; of other metadata that differ, the first hold and the rest are counted.

    Args:
        context: of the import; its metadata and queries are filled.
        notes: of each file, where it stands and its text.
    """
    queries = dict.fromkeys(context.queries)
    known: set[str] = set()
    for where, text in notes:
        if text in known:
            continue
        known.add(text)
        read = from_json(text, where, context.dropped) or TableNotes()
        queries |= dict.fromkeys(read.queries)
        for key, value in read.metadata.items():
            held = context.metadata.setdefault(key, value)
            if held == value:
                continue
            joined = _joined(held, value) if key == CLASSES else None
            if joined is None:
                context.dropped.add(DIFFERENT, f"{where}: {key}: {value}")
            else:
                context.metadata.update(joined)
    context.queries[:] = queries


def _joined(held: str, more: str) -> dict[str, str] | None:
    try:
        names = [*json.loads(held), *json.loads(more)]
    except (ValueError, TypeError):
        return None
    return class_names(list(dict.fromkeys(names))) if all(map(_is_text, names)) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)
