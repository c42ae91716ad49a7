"""Parquet files: our own columns, or any with a picture and a caption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from r2d2.errors import R2D2Error
from r2d2.formats.notes import NAME, TableNotes
from r2d2.formats.record import CAPTIONS, FIELDS, field_pairs, stored_pairs
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import files_of
from r2d2.inputs.pictures import picture_value
from r2d2.inputs.rows import fold, open_parquet, parquet_rows
from r2d2.inputs.splits import split_of_path
from r2d2.inputs.values import is_missing
from r2d2.pair import PAIR_FIELDS, SCHEMA, chunks, shards, to_batch
from r2d2.table import Pair

IMAGES = ("image", "jpg", "jpeg", "png", "img", "image_bytes")
SUFFIXES = (".parquet", ".pq")
SHARD = 10_000  # rows a file


def read(
    path: Path,
    split: str,
    dropped: DroppedRows,
    id_field: str = "image_id",
    wanted: Callable[[Mapping[str, Any]], bool] = lambda fields: True,
) -> Iterator[Pair]:
    """Yield the rows of a file, or of all files in a folder in the order of their names.

    A picture may stand in the file, or beside it under the path that the row names. Without an id
    of its own a row has that of its picture's content, or its path under the folder given. Rows
    that are not `wanted`, which is asked with their fields and their `status`, are passed over.
    """
    tree: SourceTree | None = None  # of the pictures beside the files, once one is named
    for file in files_of(path, SUFFIXES):
        read_pairs = field_pairs if _note(file) is None else stored_pairs
        file_split = split_of_path(file, path)
        used = (*IMAGES, *FIELDS, *PAIR_FIELDS, fold(id_field), "status")
        for where, fields in parquet_rows(file, used, partial(_check, file)):
            if not wanted(fields):
                continue
            fields["image_id"] = fields.get(fold(id_field))
            row_split = file_split
            with dropped.counting(where, prefix="image: "):
                image, name = picture_value(next(fields[n] for n in IMAGES if n in fields))
                if image is None and name is not None:
                    tree = tree or SourceTree([path if path.is_dir() else path.parent])
                    picture = tree.read(name, where, dropped, file)
                    if picture is None:
                        continue
                    picture_id, image = picture
                    if is_missing(fields["image_id"]):
                        fields["image_id"] = picture_id
                    row_split = file_split or tree.split_of_picture(name, file)
                yield from read_pairs(where, image, fields, row_split or split, dropped)


def notes(path: Path) -> Iterator[tuple[str, str]]:
    """The file and the text of the notes that exported files at a path have of their table."""
    for file in files_of(path, SUFFIXES):
        text = _note(file)
        if text is not None:
            yield str(file), text


def write(folder: Path, pairs: Iterable[Pair], notes: TableNotes) -> int:
    """Write files of SHARD rows into an existing folder, with the columns of a pairs table.

    Every file has the table's metadata in its schema; the first one has the queries, too.
    """
    count = 0
    text = notes.to_json()
    for number, shard in enumerate(shards(pairs, SHARD)):
        schema = SCHEMA.with_metadata({NAME: text})
        with pq.ParquetWriter(folder / f"{number:05d}.parquet", schema) as writer:
            for chunk in chunks(shard):
                writer.write_batch(to_batch(chunk, SCHEMA))
                count += len(chunk)
        text = TableNotes(notes.metadata).to_json()
    return count


def _note(file: Path) -> str | None:
    """The text under NAME in the metadata of the schema, which exported files have."""
    with open_parquet(file) as table:
        text = (table.schema_arrow.metadata or {}).get(NAME.encode())
    return None if text is None else text.decode(errors="replace")


def _check(file: Path, names: list[str]) -> None:
    """R2D2Error where there is no column of pictures or none of texts."""
    if not any(name in names for name in IMAGES) or not any(name in names for name in CAPTIONS):
        raise R2D2Error(
            f"{file} has columns {', '.join(names)}: one of pictures ({', '.join(IMAGES)}) "
            f"and one of texts ({', '.join(CAPTIONS)}) is wanted"
        )
