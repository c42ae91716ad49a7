"""The paths and options of an import, and what its reader notes beside the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from r2d2.data.emoji_art import TWEMOJI
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.table_queries import TableQuery


@dataclass(frozen=True)
class ImportContext:
    """The paths of an import, and how they are read.

    `dropped`, `renamed`, `queries` and `metadata` are filled while the rows are read; `metadata`
    before the first of them.
    """

    paths: tuple[Path, ...]
    split: str = "train"  # of rows whose files name none
    caption: str | None = None  # the column of captions, where a table has several
    styles: tuple[str, ...] = (TWEMOJI,)  # of the embedded corpus's pictures
    held_share: float = 0.0  # of the texts that a reader can hold out, kept from its rows
    dropped: DroppedRows = field(default_factory=DroppedRows)
    renamed: DroppedRows = field(default_factory=DroppedRows)  # rows and texts kept by another id
    queries: list[TableQuery] = field(default_factory=list)  # texts whose picture is not told
    metadata: dict[str, str] = field(default_factory=dict)  # of the table
