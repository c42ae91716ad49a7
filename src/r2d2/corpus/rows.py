"""What lies between two stages: Parquet parts of pairs and of images, each a range of image ids.

An image id is 128 bits of a hash in hexadecimal, so equal ranges of ids hold about equally many
images, and a part of pairs meets its images in the part of the same number. Within a part rows are
sorted, so that a build's result does not depend on its engine, its order or its workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from r2d2.errors import R2D2Error, first_line
from r2d2.files import whole_file

PAIRS, IMAGES = "pairs", "images"
QUERY, TITLE, CONTENT, CAPTION = "query", "title", "content", "caption"
RECAPTION = "recaption"  # by a model

PAIR_COLUMNS = pa.schema(
    [
        ("image_id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),  # query, title, content, caption, recaption
        ("clicks", pa.int64()),  # of queries; null elsewhere
        ("impressions", pa.int64()),
        ("examined", pa.float64()),  # impressions, each weighted by its position's examination
        ("ctr", pa.float32()),  # smoothed, once it is ranked
    ]
)
IMAGE_COLUMNS = pa.schema(
    [
        ("image_id", pa.string()),
        ("url", pa.string()),
        ("path", pa.string()),
        ("image", pa.large_binary()),  # the encoded file, once it is there
    ]
)
# from the text filter on an image carries the sums of its queries, to tell what is lost with it
COUNTED_IMAGES = pa.schema([*IMAGE_COLUMNS, ("clicks", pa.int64()), ("impressions", pa.int64())])
# a row, pair, text, image or address that a stage drops
DROPPED_COLUMNS = pa.schema(
    [
        ("stage", pa.string()),
        ("unit", pa.string()),  # what it is: rows, pairs, texts, images, addresses
        ("rule", pa.string()),
        ("reason", pa.string()),  # in words, where there is more to tell than the rule
        ("image_id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("clicks", pa.int64()),
        ("impressions", pa.int64()),
        ("url", pa.string()),
        ("path", pa.string()),
    ]
)
DROPPED = "dropped"  # folder within a stage's, there from the start where dropped rows are kept
DROPPED_ROWS = 16 << 10  # held before they are written
GROUP_BYTES = 32 << 20  # of a row group of images: what a reader must hold
PAIR_ROWS = 128 << 10  # of a row group of pairs


def image_id_of(data: bytes) -> str:
    """The id of an image: by its bytes, or by its address where they are not there."""
    return hashlib.sha256(data).hexdigest()[:32]


def part_file(folder: Path, kind: str, number: int) -> Path:
    """Where part `number` of pairs or images is."""
    return folder / kind / f"part-{number:04d}.parquet"


def part_count(folder: Path, kind: str = PAIRS) -> int:
    """How many parts a stage has written."""
    return len(list((folder / kind).glob("part-*.parquet")))


def part_range(number: int, parts: int) -> tuple[str, str]:
    """Ids of a part: from the first, up to but without the second, as hexadecimal prefixes."""
    bounds = [-(-n * 2**32 // parts) for n in (number, number + 1)]
    return f"{bounds[0]:08x}", f"{bounds[1]:08x}" if bounds[1] < 2**32 else "g"


def parts_of(image_ids: pa.Array, parts: int) -> npt.NDArray[np.int64]:
    """The part (n,) of each id."""
    prefixes = [int(x, 16) for x in pa.compute.utf8_slice_codeunits(image_ids, 0, 8).to_pylist()]
    return np.array(prefixes, dtype=np.int64) * parts >> 32


@contextmanager
def new_part(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet file to write: it appears whole, or not at all."""
    with (
        whole_file(path) as work,
        pq.ParquetWriter(work, schema, **_storage(schema)) as writer,
    ):
        yield writer


def _storage(schema: pa.Schema) -> dict[str, Any]:
    """What is written once and read a few times wants speed: a dictionary only where values repeat,
    and no second packing of encoded images.
    """
    return {
        "compression": {name: "none" if name == "image" else "lz4" for name in schema.names},
        "use_dictionary": [name for name in ("image_id", "source") if name in schema.names]
        if "source" in schema.names
        else False,
    }


def write_rows(path: Path, rows: pa.Table) -> None:
    """A part of pairs, or of anything small, in one go."""
    with new_part(path, rows.schema) as writer:
        writer.write_table(rows, row_group_size=PAIR_ROWS)


def write_images(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """A part of images row by row, in row groups of bounded size; gives how many there were."""
    held: list[dict[str, Any]] = []
    size = count = 0
    with new_part(path, schema) as writer:
        for row in rows:
            more = len(row.get("image") or b"") + 256
            if held and size + more > GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(held, schema))
                held, size = [], 0
            held.append(row)
            size += more
            count += 1
        if held:
            writer.write_table(pa.Table.from_pylist(held, schema))
    return count


class DroppedFile:
    """The rows that one part of a stage drops, as DROPPED_COLUMNS; a context manager.

    They are written where the stage's folder has one of the name DROPPED, and only counted
    elsewhere.
    """

    def __init__(
        self, folder: Path, stage: str, unit: str, part: str, within: str = DROPPED
    ) -> None:
        """Rows of a stage.

        Args:
            folder: the stage's.
            stage: its name in the funnel.
            unit: of its count.
            part: a name that no other part of the stage has.
            within: the folder in `folder` where dropped rows go.
        """
        self.wanted = (folder / within).is_dir()
        self._path = folder / within / f"{unit}-{part}.parquet"
        self._named = {"stage": stage, "unit": unit}
        self._held: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        self._stack = ExitStack()

    def __enter__(self) -> DroppedFile:
        if self.wanted:
            self._path.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and self._held:
            self._flush()
        self._stack.__exit__(*error)

    def add(self, rule: str, row: Mapping[str, Any], reason: str | None = None) -> None:
        """One row that a rule drops, with those of the columns that it has."""
        if not self.wanted:
            return
        held = {name: row.get(name) for name in DROPPED_COLUMNS.names}
        self._held.append({**held, **self._named, "rule": rule, "reason": reason})
        if len(self._held) >= DROPPED_ROWS:
            self._flush()

    def add_table(self, rule: str, rows: pa.Table) -> None:
        """Many rows that a rule drops."""
        if self.wanted:
            known = [name for name in DROPPED_COLUMNS.names if name in rows.column_names]
            for batch in rows.select(known).to_batches(max_chunksize=DROPPED_ROWS):
                for row in batch.to_pylist():
                    self.add(rule, row)

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = self._stack.enter_context(new_part(self._path, DROPPED_COLUMNS))
        self._writer.write_table(pa.Table.from_pylist(self._held, DROPPED_COLUMNS))
        self._held = []


def read_images(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a part of images, a row group in memory at a time."""
    with open_part(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns=columns).to_pylist()


def open_part(path: Path) -> AbstractContextManager[pq.ParquetFile]:
    """A part to read; R2D2Error where it is damaged."""
    remedy = f"remove its folder {path.parent.parent}, and the build makes it anew"
    return open_own_parquet(path, remedy)


@contextmanager
def open_own_parquet(path: Path, remedy: str) -> Iterator[pq.ParquetFile]:
    """A file that an earlier step wrote; R2D2Error with the remedy where it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise R2D2Error(f"{path} cannot be read ({first_line(error)}): {remedy}") from error


def read_pairs(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A part of pairs, whole: parts are cut so that one fits into memory."""
    with open_part(path) as file:
        return file.read(columns=columns)
