"""What img2dataset leaves: tar files, folders of files, or Parquet, beside its own records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2d2.data.images import MAX_BYTES
from r2d2.errors import R2D2Error
from r2d2.formats import parquet, webdataset
from r2d2.formats.record import to_pair
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import path_id
from r2d2.inputs.rows import open_parquet
from r2d2.table import Pair

KEY = "key"  # of a row in its records, in all layouts


def read(place: Path, split: str, dropped: DroppedRows) -> Iterator[Pair]:
    """Rows of an output folder, whichever output format was chosen.

    With tar files, the Parquet files beside them hold the same rows without pictures; they are
    asked only for how many could not be fetched.
    """
    if not place.is_dir():
        raise R2D2Error(f"{place} is no folder: give img2dataset's output folder")
    tars = sorted(place.glob("*.tar"))
    tables = sorted(place.glob("*.parquet"))
    for table in tables:
        _count_failures(table, dropped)
    if tars:
        for tar in tars:
            yield from webdataset.read(tar, split, dropped, KEY)
    elif any(folder.is_dir() for folder in place.iterdir()):
        yield from _files(place, split, dropped)
    elif tables:
        for table in tables:
            # failures have no picture: told above
            yield from parquet.read(table, split, DroppedRows(), KEY)
    else:
        raise R2D2Error(f"{place} holds no .tar, .parquet or folder: give img2dataset's output")


def _files(place: Path, split: str, dropped: DroppedRows) -> Iterator[Pair]:
    for folder in sorted(path for path in place.iterdir() if path.is_dir()):
        for file in sorted(folder.iterdir()):
            if file.suffix[1:].lower() not in webdataset.PICTURES:
                continue
            if file.stat().st_size > MAX_BYTES:
                dropped.add("file too large", str(file))
                continue
            beside = {
                end: file.with_suffix(f".{end}").read_bytes()
                for end in ("json", "txt")
                if file.with_suffix(f".{end}").is_file()
            }
            fields = webdataset.fields_of(beside, folder, str(file), dropped)
            if fields is None:
                continue
            fields["image_id"] = fields.get(KEY) or path_id(file, place)
            pair = to_pair(str(file), file.read_bytes(), fields, split, dropped)
            if pair is not None:
                yield pair


def _count_failures(table: Path, dropped: DroppedRows) -> None:
    with open_parquet(table) as opened:
        if "status" in opened.schema_arrow.names:
            for batch in opened.iter_batches(columns=["status"]):
                for status in batch.column(0).to_pylist():
                    if status not in (None, "success"):
                        dropped.add(f"not fetched: {status}", str(table))
