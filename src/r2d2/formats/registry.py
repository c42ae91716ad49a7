"""The formats that pairs are read from and written to: a new one is a line in FORMATS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.formats import img2dataset, parquet, webdataset
from r2d2.formats.record import Skipped
from r2d2.progress import Update
from r2d2.settings import one_of
from r2d2.table import Pair, PairsTable, write_table

CHUNK = 256  # rows read at once


@dataclass(frozen=True)
class Format:
    """How one is read, and how it is written where it can be."""

    about: str
    read: Callable[[Path, str, Skipped], Iterator[Pair]]  # place, split where none is given
    write: Callable[[Path, Iterable[Pair]], int] | None = None


TAR = Format("tar files of pictures, .txt and .json", webdataset.read, webdataset.write)
PARQUET = Format("Parquet files of pictures and texts", parquet.read, parquet.write)
IMG2DATASET = Format("what img2dataset writes: tar files, folders or Parquet", img2dataset.read)
FORMATS = {"webdataset": TAR, "parquet": PARQUET, "img2dataset": IMG2DATASET}


@dataclass
class Imported:
    """What became of what was read."""

    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def import_table(
    source: str | Path, kind: str, out: str | Path, *, split: str = "train",
    overwrite: bool = False, update: Update = lambda *arguments: None,
) -> Imported:  # fmt: skip
    """Write a pairs table of another format's files.

    Args:
        source: a file or a folder of them.
        kind: one of FORMATS.
        out: the table to write.
        split: of rows that name none.
        overwrite: replace a table at `out`.
        update: progress.

    Raises:
        R2D2Error: nothing there, an unknown format, or not one usable row.
    """
    one_of("--format", kind, tuple(FORMATS))
    place = Path(source)
    if not place.exists():
        raise R2D2Error(f"there is nothing at {source}: give a file or a folder")
    found = Imported()
    skipped = Skipped(found.skipped)

    def pairs() -> Iterator[Pair]:
        for found.rows, pair in enumerate(FORMATS[kind].read(place, split, skipped), 1):
            if found.rows % CHUNK == 0:
                update("importing", found.rows, None)
            yield pair
        if not found.rows:
            told = ", ".join(f"{why} {n:,}" for why, n in skipped.counts.items()) or "nothing in it"
            raise R2D2Error(f"{source} gives not one row as {kind} ({told}): is it of this format?")

    write_table(out, pairs(), overwrite=overwrite)
    return found


def export_table(
    table: PairsTable, kind: str, out: str | Path, *, split: str | None = None,
    update: Update = lambda *arguments: None,
) -> int:  # fmt: skip
    """Write a table, or one split of it, in another format; gives how many rows.

    Raises:
        R2D2Error: an unknown format, one that is only read, or a folder that is not empty.
    """
    one_of("--format", kind, tuple(FORMATS))
    write = FORMATS[kind].write
    if write is None:
        able = ", ".join(name for name, one in FORMATS.items() if one.write)
        raise R2D2Error(f"{kind} is only read: choose of {able}")
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise R2D2Error(f"{out} is there already: give an empty folder, or a new one")
    rows = table.rows(split)

    def pairs() -> Iterator[Pair]:
        for start in range(0, len(rows), CHUNK):
            update("exporting", start, len(rows))
            yield from table.take(rows[start : start + CHUNK])
        update("exporting", len(rows), len(rows))

    return write(place, pairs())
