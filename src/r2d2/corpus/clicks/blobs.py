"""Encoded images that stand in a log: written to runs sorted by id while the rows are summed.

They do not go through the database, whose unit of work is 2,048 rows, whatever a row's size.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa

from r2d2.files import disk_errors

BLOBS = "blobs"  # folder of the runs
RUN = pa.schema([("image_id", pa.string()), ("image", pa.large_binary())])


def write_run(
    path: Path, keys: pa.ChunkedArray, images: pa.LargeBinaryArray, kept: Collection[str]
) -> None:
    """One batch, not compressed, so that a single image can be read out of the mapped file.

    Args:
        path: of the run.
        keys: of the images (n,), as `batches.make_batch` gives them; NULL for none.
        images: the files (n,).
        kept: the keys of those to write.
    """
    rows: dict[str, int] = {}
    for row, key in enumerate(keys.to_pylist()):
        if key in kept:
            rows.setdefault(key[1:], row)
    ids = sorted(rows)
    chosen = images.take(pa.array([rows[image_id] for image_id in ids], pa.int64()))
    batch = pa.record_batch([pa.array(ids, pa.string()), chosen], schema=RUN)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, RUN) as writer:
            writer.write_batch(batch)


def run_bytes(folder: Path) -> int:
    """Of all runs of a stage."""
    return sum(file.stat().st_size for file in (folder / BLOBS).glob("*.arrow"))


class Blobs:
    """The images of a range of ids."""

    def __init__(self, batches: list[pa.RecordBatch], first: str, last: str) -> None:
        """`first` is the least id, `last` is beyond the greatest."""
        self._images = [batch.column(1) for batch in batches]
        self._places: dict[str, tuple[int, int]] = {}
        for run, batch in enumerate(batches):
            ids = batch.column(0)
            start, stop = (
                bisect.bisect_left(range(len(ids)), edge, key=lambda row: ids[row].as_py())
                for edge in (first, last)
            )
            for row, image_id in enumerate(ids.slice(start, stop - start).to_pylist(), start):
                self._places.setdefault(image_id, (run, row))

    def __bool__(self) -> bool:
        return bool(self._places)

    def get(self, image_id: str) -> bytes | None:
        """The file of an image, read from its run; None where the log has none."""
        place = self._places.get(image_id)
        if place is None:
            return None
        data: bytes = self._images[place[0]][place[1]].as_py()
        return data


@contextmanager
def open_blobs(folder: Path, first: str, last: str) -> Iterator[Blobs]:
    """The images of a stage whose ids lie from `first` up to but without `last`."""
    with ExitStack() as stack:
        files = sorted((folder / BLOBS).glob("*.arrow"))
        maps = [stack.enter_context(pa.memory_map(str(file))) for file in files]
        yield Blobs([pa.ipc.open_file(file).get_batch(0) for file in maps], first, last)
