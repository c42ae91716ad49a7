"""Read the output of img2dataset: tar files, folders of files, or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.formats import parquet, webdataset
from r2d2.formats.record import field_pairs
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import (
    NO_SUFFIX,
    count_hidden,
    files_under,
    is_hidden,
    is_picture,
    readable,
    walk,
)
from r2d2.inputs.ids import path_id
from r2d2.inputs.rows import open_parquet
from r2d2.inputs.samples import key_of, load_sample, samples_of
from r2d2.inputs.splits import split_of_folders
from r2d2.inputs.tars import TAR_SUFFIXES
from r2d2.table import Pair

SUCCESS = "success"
STATISTICS = "_stats.json"  # of a shard, beside the pictures' folders
KEY = "key"  # of a row in its records, in all layouts


def read(path: Path, split: str, dropped: DroppedRows) -> Iterator[Pair]:
    """Rows of an output folder, whichever output format was chosen.

    With tar files, the Parquet files beside them hold the same rows without pictures; they are
    asked only for how many could not be fetched.
    """
    if not path.is_dir():
        raise R2D2Error(f"{path} is no folder: give img2dataset's output folder")
    tables = files_under(path, parquet.SUFFIXES)
    for table in tables:
        _count_failures(table, dropped)
    if files_under(path, TAR_SUFFIXES):
        yield from webdataset.read(path, split, dropped, KEY)
    elif any(is_picture(name) for folder in walk([path]) for name in folder.names):
        yield from _files(path, split, dropped)
    elif tables:
        yield from parquet.read(path, split, dropped, KEY, _is_fetched)
    else:
        raise R2D2Error(f"{path} holds no .tar, .parquet or folder: give img2dataset's output")


def _files(path: Path, split: str, dropped: DroppedRows) -> Iterator[Pair]:
    for folder in walk([path]):
        folder_split = split_of_folders(f"{path.name}/{folder.relative}") or split
        groups: dict[str, list[str]] = {}
        for name in folder.names:
            if folder.hidden or is_hidden(name):
                if is_picture(name):
                    count_hidden(
                        dropped, f"{folder.relative}/{name}", str(path / folder.relative / name)
                    )
            elif not name.endswith(STATISTICS):
                groups.setdefault(key_of(name), []).append(name)
        for group in groups.values():
            yield from _rows(path, path / folder.relative, group, folder_split, dropped)


def _rows(
    path: Path, folder: Path, names: list[str], split: str, dropped: DroppedRows
) -> Iterator[Pair]:
    """The rows of the files of one key."""
    for sample_names in samples_of(names):
        if sample_names.picture is None and sample_names.json is None and not sample_names.texts:
            for name in names:  # neither a picture nor its text
                if not name.lower().endswith(parquet.SUFFIXES):
                    dropped.add(NO_SUFFIX, str(folder / name))
            continue
        try:
            sizes = {name: (folder / name).stat().st_size for name in names}
            sample = load_sample(
                sample_names,
                f"{folder}/",
                sizes,
                lambda name: (folder / name).read_bytes(),
                dropped,
            )
        except OSError as error:
            dropped.add("file cannot be read", f"{error.filename}: {error.strerror}")
            continue
        if sample is None:
            continue
        where = str(folder / str(sample_names.picture))
        fields = webdataset.fields_of(sample, folder, where, dropped)
        if fields is None:
            continue
        fields["image_id"] = fields.get(KEY) or readable(path_id(where, path))
        yield from field_pairs(where, sample.picture, fields, split, dropped)


def _is_fetched(fields: Mapping[str, Any]) -> bool:
    """Whether a row has a picture; the others are counted by `_count_failures`."""
    return fields.get("status") in (None, SUCCESS)


def _count_failures(table: Path, dropped: DroppedRows) -> None:
    with open_parquet(table) as opened:
        if "status" not in opened.schema_arrow.names:
            return
        batches = opened.iter_batches(columns=["status"])
        states = chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
        for number, status in enumerate(states, 1):
            if status not in (None, SUCCESS):
                dropped.add(f"not fetched: {status}", f"{table}, row {number}")
