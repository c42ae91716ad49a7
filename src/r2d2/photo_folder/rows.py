"""The table of a folder: columns of a pairs table, those of its index, and those of the files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from r2d2.errors import R2D2Error
from r2d2.files import disk_errors
from r2d2.index import layout
from r2d2.native_write import write_whole
from r2d2.pair import SCHEMA

FILE = "file"  # path under the folder in the bytes of the system
FOLDER = "folder"  # relative path of the picture's folder, for conditions
BYTES, MODIFIED = "bytes", "modified"  # size, and nanoseconds since 1970
DIGEST = "digest"  # of the content
CAPTIONS = "captions_state"  # tells whether the captions have changed; see `CaptionsState`
INNER = frozenset({DIGEST, CAPTIONS})  # columns that only an update uses
ROW_ID = "_rowid"  # as Lance calls it
_FAULTY = "; faulty"  # the end of a value in the column `CAPTIONS`
AT_ONCE = 500  # row ids in a condition


@dataclass(frozen=True, slots=True)
class CaptionsState:
    """Tells whether the captions of a picture must be read again."""

    source: str  # changes where the captions change; see `CaptionSource.state`
    faulty: bool  # some of them were left out, which each start counts again

    def to_column(self) -> str:
        """The value in the column `CAPTIONS`."""
        return self.source + (_FAULTY if self.faulty else "")

    @classmethod
    def from_column(cls, value: str) -> CaptionsState:
        """Read a value that `to_column` made."""
        return cls(value.removesuffix(_FAULTY), value.endswith(_FAULTY))


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """A row of the table, which describes a file."""

    number: int  # of the row, as the table stood when it was read
    row_id: int
    path: str
    image_id: str
    size: int
    modified: int
    digest: str
    captions: CaptionsState
    bad: str | None


def schema(width: int) -> pa.Schema:
    """The columns, of vectors of `width` numbers."""
    more = [
        (FILE, pa.binary()), (FOLDER, pa.string()), (BYTES, pa.int64()), (MODIFIED, pa.int64()),
        (DIGEST, pa.string()), (CAPTIONS, pa.string()), (layout.VECTOR, layout.vector_type(width)),
        (layout.BAD, pa.string()),
    ]  # fmt: skip
    return pa.schema([*SCHEMA, *(pa.field(name, kind) for name, kind in more)])


class FolderTable:
    """The table, for changes, each of which is written whole or not at all."""

    def __init__(self, uri: str, about: layout.IndexInfo) -> None:
        """Open the table if it exists; R2D2Error where it is damaged."""
        self.uri = uri
        self.about = about
        self._start: Any = layout.open_lance(uri)  # its row numbers stay
        if self._start is None and Path(uri).exists():
            raise R2D2Error(
                f"{uri} is damaged: remove {Path(uri).parent}, then run the same command again"
            )

    def make(self) -> None:
        """Make an empty table where there is none."""
        import lance

        if self._start is not None:
            return
        empty = schema(self.about.width).empty_table()
        with self._disk():
            self._start = write_whole(lambda: lance.write_dataset(empty, self.uri, mode="create"))
            layout.write_index_info(self._start, self.about)

    def known(self) -> tuple[dict[str, KnownPicture], list[int]]:
        """The row of each file, by path, and the ids of older rows that a stopped run has left."""
        names = ["image_id", FILE, BYTES, MODIFIED, DIGEST, CAPTIONS, layout.BAD]
        known: dict[str, KnownPicture] = {}
        left: list[int] = []
        number = 0
        if self._start is None:
            return known, left
        scanner = self._start.scanner(columns=names, with_row_id=True, scan_in_order=True)
        for batch in scanner.to_batches():
            columns = [batch[name].to_pylist() for name in (ROW_ID, *names)]
            for row_id, image_id, file, size, modified, digest, captions, bad in zip(
                *columns, strict=True
            ):
                picture = KnownPicture(
                    number, row_id, os.fsdecode(file), image_id, size, modified, digest,
                    CaptionsState.from_column(captions), bad,
                )  # fmt: skip
                number += 1
                earlier = known.pop(picture.path, None)
                if earlier is not None:  # a newer row of the file stands behind it
                    left.append(earlier.row_id)
                known[picture.path] = picture
        return known, left

    def take(self, rows: Sequence[KnownPicture]) -> list[dict[str, Any]]:
        """All columns of rows, as they were when the table was opened."""
        if not rows:
            return []
        records = self._start.take([row.number for row in rows])
        return records.to_pylist()  # type: ignore[no-any-return]

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows: all of them, or none where the disk is full."""
        import lance

        if not rows:
            return
        table = pa.Table.from_pylist(list(rows), schema=schema(self.about.width))
        with self._disk():
            write_whole(lambda: lance.write_dataset(table, self.uri, mode="append"))

    def remove(self, row_ids: Sequence[int]) -> None:
        """Remove rows."""
        for first in range(0, len(row_ids), AT_ONCE):
            listed = ", ".join(map(str, row_ids[first : first + AT_ONCE]))
            dataset = layout.existing_lance(self.uri)
            with self._disk():
                write_whole(lambda d=dataset, w=listed: d.delete(f"{ROW_ID} IN ({w})"))  # type: ignore[misc]

    @contextmanager
    def _disk(self) -> Iterator[None]:
        with disk_errors(Path(self.uri).parent):
            yield
