"""The pairs table: every set of image-text pairs is a Lance dataset with one schema.

All packages use this file, which uses only pyarrow and Lance. Lance is imported where it is used,
since loading it takes a second. According to its documentation it is not fork-safe. A table that
was pickled or forked opens the dataset again in the other process; loader processes should be
spawned.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.errors import R2D2Error, exists_error
from r2d2.files import remove_folder, replace_folder
from r2d2.native_write import write_batches
from r2d2.output_lock import locks_output
from r2d2.pair import (
    GROUP,
    READ_FIELDS,
    SCHEMA,
    Pair,
    Text,
    check_schema,
    chunks,
    content_hash,
    to_batch,
    to_pair,
    to_texts,
)
from r2d2.unique_ids import UniqueIds

if TYPE_CHECKING:
    from r2d2.progress import Update  # not at run time: it loads rich

__all__ = [
    "SCHEMA",
    "Pair",
    "PairsTable",
    "Text",
    "append_table",
    "is_dataset",
    "join_shards",
    "write_shard",
    "write_table",
]

log = logging.getLogger(__name__)

BATCH_ROWS = 256  # rows that are in memory with their pictures

Rows = Sequence[int] | npt.NDArray[np.integer[Any]]


class PairsTable:
    """A pairs table open for reading, with rows numbered from 0.

    Picklable: it opens the dataset again in the other process.
    """

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version  # of the dataset: another process may append during reading
        self._dataset: Any = None
        self._pid = -1
        self._split_rows: dict[str, npt.NDArray[Any]] | None = None
        self._fingerprint: str | None = None
        self._length: int | None = None

    @classmethod
    def open(cls, path: str | Path) -> PairsTable:
        """Open the newest version of a table.

        Raises R2D2Error if it is missing, is no Lance dataset, or lacks a column or its type.
        """
        uri = str(path)
        if "://" not in uri and not Path(uri).exists():
            raise R2D2Error(f"there is no table at {uri}: give the path of a pairs table")
        dataset = _open_dataset(uri)
        check_schema(dataset.schema, uri)
        table = cls(uri, int(dataset.version))
        table._dataset, table._pid = dataset, os.getpid()
        return table

    def __len__(self) -> int:
        if self._length is None:
            self._length = int(self._open().count_rows())
        return self._length

    def __getstate__(self) -> tuple[str, int]:
        return self.path, self.version

    def __setstate__(self, state: tuple[str, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def metadata(self) -> dict[str, str]:
        """Notes of the writer about the whole table, such as its licence."""
        noted = self._open().schema.metadata or {}
        return {key.decode(): value.decode() for key, value in noted.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, with additional ones such as embeddings."""
        return tuple(self._open().schema.names)

    @property
    def vector_columns(self) -> tuple[str, ...]:
        """The names of the vector columns: fixed-size lists of floating-point numbers."""
        return tuple(
            field.name
            for field in self._open().schema
            if pa.types.is_fixed_size_list(field.type)
            and pa.types.is_floating(field.type.value_type)
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its data files, which no other table has."""
        fragments = self._open().get_fragments()
        return tuple(sorted(file.path for fragment in fragments for file in fragment.data_files()))

    @property
    def fingerprint(self) -> str:
        """A short hash of image ids, splits and texts in order.

        A resumed run compares it to refuse another table. Image bytes are not included: reading
        all of them would take too long.
        """
        if self._fingerprint is None:
            names = ["image_id", "split", "texts"]
            scanner = self._open().scanner(columns=names, scan_in_order=True)
            self._fingerprint = content_hash(scanner.to_batches())
        return self._fingerprint

    def splits(self) -> dict[str, int]:
        """The number of rows of each split, by name."""
        return {name: len(rows) for name, rows in sorted(self._by_split().items())}

    def rows(self, split: str | Sequence[str] | None = None) -> npt.NDArray[np.int64]:
        """Row numbers (n,) of a split or of several, ascending; None: of all rows.

        Raises:
            R2D2Error: a split is unknown.
        """
        if split is None:
            return np.arange(len(self), dtype=np.int64)
        by_split = self._by_split()
        names = [split] if isinstance(split, str) else list(dict.fromkeys(split))
        for name in names:
            if name not in by_split:
                there = ", ".join(sorted(by_split)) or "none"
                raise R2D2Error(f"{self.path} has no split {name!r}: choose of {there}")
        return np.sort(np.concatenate([by_split[name] for name in names])).astype(np.int64)

    def take(self, rows: Rows, columns: Sequence[str] | None = None) -> list[Pair]:
        """The pairs at `rows`, in that order and with repeats, with `columns` only (None: all).

        A column that is not read, or that the table lacks, is empty in the Pair: b"", () or None.
        """
        wanted = READ_FIELDS if columns is None else tuple(columns)
        unknown = [name for name in wanted if name not in READ_FIELDS]
        if unknown:
            raise R2D2Error(
                f"a pairs table has no column {unknown[0]!r}: choose of {', '.join(READ_FIELDS)}"
            )
        return [to_pair(record) for record in self._take(rows, wanted).to_pylist()]

    def stream(
        self,
        rows: Rows,
        columns: Sequence[str] | None = None,
        *,
        batch_rows: int = BATCH_ROWS,
        stage: str = "",
        update: Update = lambda *arguments: None,
    ) -> Iterator[Pair]:
        """The pairs of `take`, with `batch_rows` in memory at a time.

        `update` is called with `stage`, the number of finished rows and the number of all rows.
        """
        for start in range(0, len(rows), batch_rows):
            update(stage, start, len(rows))
            yield from self.take(rows[start : start + batch_rows], columns)
        update(stage, len(rows), len(rows))

    def texts(self, rows: Rows) -> list[tuple[Text, ...]]:
        """The texts at `rows`, without reading the images."""
        return [to_texts(records) for records in self._take(rows, ("texts",))["texts"].to_pylist()]

    def image_ids(self, rows: Rows) -> list[str]:
        """The image ids at `rows`."""
        return self._values(rows, "image_id")

    def labels(self, rows: Rows) -> list[int | None]:
        """The labels at `rows`: 1 for a match, 0 for no match, None for no label."""
        return self._values(rows, "label")

    def group_ids(self, rows: Rows) -> list[str | None]:
        """The ids of the groups of near misses of `rows`; None where a row has no group."""
        return self._values(rows, GROUP.name)

    def _values(self, rows: Rows, column: str) -> list[Any]:
        """The values of a column at `rows`; None for each where the table lacks the column."""
        if column not in self.columns:
            return [None] * np.asarray(rows).size
        values: list[Any] = self._take(rows, (column,))[column].to_pylist()
        return values

    def scan(
        self, columns: Sequence[str], batch_rows: int | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Read the whole table in order, in batches, each with the number of its first row.

        `columns` that the table lacks are left out. `batch_rows` is the size of a batch; set it
        where `columns` hold pictures.
        """
        names = [name for name in columns if name in self.columns]
        start = 0
        scanner = self._open().scanner(columns=names, scan_in_order=True, batch_size=batch_rows)
        for batch in scanner.to_batches():
            yield start, batch
            start += len(batch)

    def _take(self, rows: Rows, columns: Sequence[str]) -> pa.Table:
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        total = len(self)
        if index.size and (index.min() < 0 or index.max() >= total):
            wrong = int(index[(index < 0) | (index >= total)][0])
            raise IndexError(f"row {wrong} of {self.path}, which has rows 0 to {total - 1}")
        dataset = self._open()
        there = set(dataset.schema.names)
        names = [name for name in columns if name in there] or ["image_id"]  # no column, no rows
        if not index.size:
            return dataset.schema.empty_table().select(names)
        try:
            return dataset.take(index.tolist(), columns=names)
        except (OSError, ValueError) as error:
            raise R2D2Error(
                f"{self.path} cannot be read any more ({_reason(error)}): put the table back and "
                "run the same command again, a training with --resume"
            ) from error

    def _by_split(self) -> dict[str, npt.NDArray[Any]]:
        if self._split_rows is None:
            parts: dict[str, list[npt.NDArray[Any]]] = {}
            small = np.uint32 if len(self) < 1 << 32 else np.int64  # half of the memory
            for start, batch in self.scan(("split",)):
                coded = batch.column(0).cast(pa.string()).fill_null("").dictionary_encode()
                codes = coded.indices.to_numpy(zero_copy_only=False)
                for code, name in enumerate(coded.dictionary.to_pylist()):
                    numbers = start + np.flatnonzero(codes == code)
                    parts.setdefault(name, []).append(numbers.astype(small))
            self._split_rows = {name: np.concatenate(each) for name, each in parts.items()}
        return self._split_rows

    def _open(self) -> Any:
        if self._dataset is None or self._pid != os.getpid():  # unpickled, or the child of a fork
            self._dataset = _open_dataset(self.path, self.version)
            self._pid = os.getpid()
        return self._dataset


@locks_output
def write_table(
    path: str | Path,
    pairs: Iterable[Pair],
    *,
    overwrite: bool = False,
    metadata: Mapping[str, str] | None = None,
    grouped: bool = False,
) -> int:
    """Write a new table and return its number of rows; streams the pairs, so memory is bounded.

    A local table is written atomically: under another name in the same folder, and then renamed. On
    object stores Lance's own commit is atomic. An image id may occur once, or in several pairs with
    labels; `UniqueIds` documents the memory of this check. `grouped`: add the column `group_id`.

    Raises:
        R2D2Error: `path` exists (unless `overwrite`, which replaces only a table), the disk is
            full, a row does not fit the schema, or an image id occurs twice.
    """
    uri = str(path)
    columns = SCHEMA.append(GROUP) if grouped else SCHEMA
    schema = columns.with_metadata(dict(metadata or {}))
    if "://" in uri:
        if not overwrite and is_dataset(uri):
            raise exists_error(uri)
        return _write(uri, pairs, schema, "overwrite" if overwrite else "create", uri)
    target = Path(uri)
    if os.path.lexists(target):
        if not overwrite:
            raise exists_error(uri)
        if not (is_dataset(uri) or (target.is_dir() and not any(target.iterdir()))):
            raise R2D2Error(f"{uri} is no table, so it is not overwritten: choose another place")
    with _disk_errors(uri):
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        fresh = work / "new.lance"
        count = _write(str(fresh), pairs, schema, "create", uri)
        with _disk_errors(uri):
            replace_folder(fresh, target)
    finally:
        remove_folder(work)
    return count


@locks_output
def append_table(path: str | Path, pairs: Iterable[Pair]) -> int:
    """Add rows to a table and return their number; a failure does not change the table.

    The existing ids are read first, and the pictures of pairs with labels. Raises R2D2Error as
    `write_table` does. Duplicate ids in a table of version 0.1 are accepted.
    """
    uri = str(path)
    table = PairsTable.open(path)
    there = table._open().schema
    missing = [name for name in SCHEMA.names if name not in there.names]
    if missing:
        raise R2D2Error(f"{uri} has no column {missing[0]!r}: add it, or write a new table")
    ids = UniqueIds(uri)
    labelled = any(rows["label"].null_count < len(rows) for _, rows in table.scan(("label",)))
    for _, rows in table.scan(("image_id", "label", "image") if labelled else ("image_id",), 1024):
        collections.deque(ids.note(rows), maxlen=0)
    names = [*SCHEMA.names, *([GROUP.name] if GROUP.name in there.names else [])]
    schema = pa.schema([there.field(name) for name in names])
    return _write(uri, pairs, schema, "append", uri, ids)


def is_dataset(uri: str) -> bool:
    """Whether a path or URL can be opened as a Lance dataset."""
    try:
        _open_dataset(uri)
    except R2D2Error:
        return False
    return True


def _open_dataset(uri: str, version: int | None = None) -> Any:
    import lance

    try:
        return lance.dataset(uri, version=version)
    except (ValueError, OSError) as error:
        raise R2D2Error(
            f"{uri} does not open as a Lance dataset ({_reason(error)}): give a pairs table"
        ) from error


def _write(
    uri: str,
    pairs: Iterable[Pair],
    schema: pa.Schema,
    mode: str,
    name: str,
    ids: UniqueIds | None = None,
) -> int:
    import lance

    def write(reader: pa.RecordBatchReader) -> None:
        lance.write_dataset(reader, uri, schema=schema, mode=mode)

    count = _stream(write, pairs, schema, ids or UniqueIds(name), name)
    log.info("wrote %d rows to %s", count, name)
    return count


def write_shard(
    uri: str, pairs: Iterable[Pair], *, overwrite: bool = False
) -> tuple[list[str], int]:
    """Write one shard of a table; returns the fragments for `join_shards` and the number of rows.

    Many processes, on many machines, may each write shards of one table. With `overwrite` a table
    exists at `uri`, and does not change until `join_shards`. Raises R2D2Error as `write_table`
    does. The caller ensures that no id is in two shards.
    """
    from lance.fragment import write_fragments

    fragments: list[str] = []

    def write(reader: pa.RecordBatchReader) -> None:
        mode = "overwrite" if overwrite else "create"
        written = write_fragments(reader, uri, schema=SCHEMA, mode=mode)
        fragments.extend(json.dumps(fragment.to_json()) for fragment in written)

    count = _stream(write, pairs, SCHEMA, UniqueIds(uri), uri)
    return fragments, count


def join_shards(
    uri: str, shards: Iterable[str], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Commit the shards at `uri` as a table, atomically, with their rows in the order given."""
    import lance

    fragments = [lance.FragmentMetadata.from_json(shard) for shard in shards]
    schema = SCHEMA.with_metadata(dict(metadata or {}))
    with _disk_errors(uri):
        lance.LanceDataset.commit(uri, lance.LanceOperation.Overwrite(schema, fragments))


def _stream(
    write: Callable[[pa.RecordBatchReader], None],
    pairs: Iterable[Pair],
    schema: pa.Schema,
    ids: UniqueIds,
    name: str,
) -> int:
    """Write pairs by Lance in batches; an exception of `pairs` is raised unchanged."""
    count = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for held in chunks(pairs):
            rows = to_batch(held, schema)
            ids.check(rows)
            yield rows
            count += len(held)

    with _disk_errors(name):
        write_batches(write, schema, batches())
    return count


@contextlib.contextmanager
def _disk_errors(name: str) -> Iterator[None]:
    """Convert errors of the file system and of Lance to an R2D2Error of one line."""
    try:
        yield
    except OSError as error:  # also raised by Lance, which gives the reason only in the message
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise R2D2Error(
                f"the disk is full while writing {name}: free some space or choose another place"
            ) from error
        raise R2D2Error(f"cannot write {name} ({_reason(error)}): choose another place") from error


def _reason(error: Exception) -> str:
    """The first line of a message, without the positions in Lance's source code."""
    return (str(error).split(", /")[0].splitlines() or [type(error).__name__])[0]
