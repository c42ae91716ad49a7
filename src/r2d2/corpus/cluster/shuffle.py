"""Rows on their way from job to job, by way of the storage that all nodes share.

Each job writes one file, in which every bucket is a row group; a later job reads one bucket out of
all files. A node that is lost takes none of it along, and the command that starts the jobs sees no
row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from r2d2.corpus.rows import new_part, part_file

BUCKET = "bucket"
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 by the golden ratio: spreads what lies close together


def bucket_of(numbers: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.int32]:
    """The bucket (n,) of each number, evenly spread."""
    mixed = (numbers * _ODD) >> np.uint64(33)
    return (mixed % np.uint64(buckets)).astype(np.int32)


def write_buckets(folder: Path, job: int, rows: pa.Table, buckets: npt.ArrayLike) -> None:
    """The file of a job: its rows, of which each goes to the bucket at its place."""
    places = np.asarray(buckets, np.int32)
    order = np.argsort(places, kind="stable")
    rows = rows.take(pa.array(order)).add_column(0, BUCKET, pa.array(places[order], pa.int32()))
    with new_part(part_file(folder, BUCKET, job), rows.schema) as writer:
        for start, stop in _runs(places[order]):
            writer.write_table(rows.slice(start, stop - start), row_group_size=stop - start)


def read_bucket(folder: Path, bucket: int, columns: Sequence[str]) -> pa.Table:
    """The rows of one bucket, in the order of the jobs that wrote them."""
    files = sorted(str(file) for file in (folder / BUCKET).glob("part-*.parquet"))
    scanned = ds.dataset(files, format="parquet")
    return scanned.to_table(list(columns), filter=ds.field(BUCKET) == bucket, use_threads=False)


def _runs(values: npt.NDArray[np.int32]) -> list[tuple[int, int]]:
    """First and stop of each run of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]
