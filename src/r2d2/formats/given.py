"""What a reader is given, and where it leaves what is not a row: queries without a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from r2d2.formats.queries import Query
from r2d2.formats.record import Skipped


@dataclass(frozen=True)
class Given:
    """The paths, and how they are to be read.

    `skipped` and `queries` are filled while the rows are read.
    """

    paths: tuple[Path, ...]
    split: str = "train"  # of rows whose files name none
    held_share: float = 0.0  # of the texts that a reader can hold out, kept from its rows
    skipped: Skipped = field(default_factory=Skipped)
    queries: list[Query] = field(default_factory=list)
