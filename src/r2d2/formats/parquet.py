"""Parquet files: our own columns, or any with a picture and a caption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from r2d2.errors import R2D2Error
from r2d2.formats.notes import NAME, TableNotes
from r2d2.formats.record import CAPTIONS, FIELDS, is_exported, restored_pair, to_pair
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import files_under
from r2d2.inputs.pictures import picture_value
from r2d2.inputs.rows import fold, open_parquet, parquet_rows
from r2d2.inputs.splits import split_of_path
from r2d2.inputs.values import BadValueError, is_missing
from r2d2.pair import PAIR_FIELDS, SCHEMA, chunks, to_batch
from r2d2.table import Pair

IMAGES = ("image", "jpg", "jpeg", "png", "img", "image_bytes")
SHARD = 10_000  # rows a file


def read(
    place: Path,
    split: str,
    dropped: DroppedRows,
    id_field: str = "image_id",
    wanted: Callable[[Mapping[str, Any]], bool] = lambda fields: True,
) -> Iterator[Pair]:
    """Rows of a file, or of all in a folder, in order of their names.

    A picture may stand in the file, or beside it under the path that the row names. Without an id
    of its own a row has that of its picture's content, or its path under the folder given. Rows
    that are not `wanted`, which is asked with their fields and their `status`, are passed over.
    """
    tree: SourceTree | None = None  # of the pictures beside the files, once one is named
    for file in _files(place):
        exported = _note(file) is not None
        of_file = split_of_path(file, place)
        used = (*IMAGES, *FIELDS, *PAIR_FIELDS, fold(id_field), "status")
        for where, fields in parquet_rows(file, used, partial(_check, file)):
            if not wanted(fields):
                continue
            fields["image_id"] = fields.get(fold(id_field))
            of_row = of_file
            try:
                image, path = picture_value(next(fields[n] for n in IMAGES if n in fields))
            except BadValueError as error:
                dropped.add(f"image: {error}", f"{where}: {error.shown}")
                continue
            if image is None and path is not None:
                tree = tree or SourceTree([place if place.is_dir() else place.parent])
                picture = tree.read(path, where, dropped, file)
                if picture is None:
                    continue
                if is_missing(fields["image_id"]):
                    fields["image_id"] = picture[0]
                image = picture[1]
                of_row = of_file or tree.split_of_picture(path, file)
            read_pair = restored_pair if exported and is_exported(fields) else to_pair
            pair = read_pair(where, image, fields, of_row or split, dropped)
            if pair is not None:
                yield pair


def notes(place: Path) -> Iterator[tuple[str, str]]:
    """What the exported files at a path say of their table, and where it stands."""
    for file in _files(place):
        text = _note(file)
        if text is not None:
            yield str(file), text


def write(place: Path, pairs: Iterable[Pair], notes: TableNotes) -> int:
    """Files of SHARD rows in a folder that is there, in the columns of a pairs table.

    Every file has the table's metadata in its schema; the first one has the queries, too.
    """
    count = 0
    text = notes.to_json()
    writer: Any = None
    try:
        for some in chunks(pairs):
            if writer is None:
                file = place / f"{count // SHARD:05d}.parquet"
                writer = pq.ParquetWriter(file, SCHEMA.with_metadata({NAME: text}))
                text = TableNotes(notes.metadata).to_json()
            writer.write_batch(to_batch(some, SCHEMA))
            before, count = count, count + len(some)
            if count // SHARD > before // SHARD:
                writer.close()
                writer = None
    finally:
        if writer is not None:
            writer.close()
    return count


def _files(place: Path) -> list[Path]:
    """The Parquet files at a path; R2D2Error where there are none."""
    files = files_under(place, (".parquet", ".pq"))
    if not files:
        raise R2D2Error(f"{place} holds no .parquet file: give one, or a folder of them")
    return files


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
