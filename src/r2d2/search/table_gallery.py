"""A pairs table with an index, as a gallery."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from r2d2.errors import R2D2Error
from r2d2.search.ann import AnnVectors, has_index
from r2d2.search.calibration import Calibration
from r2d2.search.column_values import ColumnValues, column_values
from r2d2.search.conditions import condition_errors
from r2d2.search.exact import ExactVectors
from r2d2.search.gallery import Floats, GalleryItem, Rows, Vectors
from r2d2.search.int8 import Int8Vectors, from_int8
from r2d2.search.layout import (
    ADDRESS,
    BAD,
    HAS_BAD,
    IMAGE_ID,
    INT8,
    TEXT,
    TEXT_KEY,
    TEXT_VECTOR,
    VECTOR,
    WORDS,
    IndexInfo,
    as_matrix,
    open_lance,
    read_index_info,
    texts_uri,
)
from r2d2.search.owners import TextsOfImages
from r2d2.search.stored_calibration import is_current, stored_calibration
from r2d2.search.table_texts import texts_of
from r2d2.search.word_index import WordIndex
from r2d2.table import PairsTable
from r2d2.vectors import DirectionCheck

log = logging.getLogger(__name__)

EXACT_BYTES = 8 << 30  # of vectors in memory; more need an approximate index
HIDDEN = {VECTOR, BAD, WORDS, TEXT_VECTOR, TEXT_KEY, ADDRESS}


class TableGallery:
    """See `Gallery`. Rows are numbered as `PairsTable` numbers them."""

    def __init__(self, path: str | Path) -> None:
        """R2D2Error where there is no table, or no index of it, or nothing in that."""
        table = PairsTable.open(path)
        self.name = self.uri = table.path
        self._images = VectorTable(table.path, VECTOR)
        self._texts: VectorTable | None = None
        self._lock = threading.Lock()
        left = (
            self._images.rows - self._images.count - self._images.dataset.count_rows(filter=HAS_BAD)
        )
        if left:
            log.warning("%d new rows of %s are not indexed: run `r2d2 index`", left, self.name)

    @property
    def fingerprint(self) -> str:
        """Of the model that made the vectors."""
        return self._images.about.fingerprint

    @property
    def images(self) -> Vectors:
        """Vectors of the images."""
        return self._images.vectors

    @property
    def texts(self) -> Vectors:
        """Vectors of the distinct texts; R2D2Error where only images were indexed."""
        return self._text_table.vectors

    @cached_property
    def has_words(self) -> bool:
        """See `Gallery.has_words`."""
        dataset = self._images.dataset
        return WORDS in dataset.schema.names and has_index(dataset, WORDS)

    @cached_property
    def words(self) -> WordIndex:
        """See `Gallery.words`."""
        indexed = self._images
        return WordIndex(indexed.dataset, WORDS, self.columns, indexed.rows_of)

    @cached_property
    def calibration(self) -> Calibration | None:
        """See `Gallery.calibration`."""
        found = stored_calibration(self._images.dataset)
        return found if found is not None and found.fingerprint == self.fingerprint else None

    def vector_batches(self) -> Iterator[Floats]:
        """See `CalibratedGallery`."""
        for _, vectors in self._images.batches():
            yield vectors

    def term_batches(self) -> Iterator[list[str]]:
        """See `CalibratedGallery`."""
        if self.has_words:
            for batch in self._images.dataset.to_batches(columns=[WORDS]):
                yield [terms or "" for terms in batch[WORDS].to_pylist()]

    @property
    def columns(self) -> dict[str, str]:
        """Columns that a condition may name."""
        return self._images.columns

    @cached_property
    def column_values(self) -> dict[str, ColumnValues]:
        """See `Gallery.column_values`."""
        return column_values(self._images.dataset, self.columns)

    def cells(self, row: int) -> dict[str, Any]:
        """See `Gallery.cells`."""
        return self._take([row], list(self.columns))[0]

    def path(self, row: int) -> str | None:
        """See `Gallery.path`: there is none."""
        return None

    def __len__(self) -> int:
        return self._images.rows

    def items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """See `Gallery.items`."""
        columns = ["image_id", "texts", "split"]
        found = self._take(rows, columns)
        return [
            GalleryItem(one["image_id"], tuple(t["text"] for t in one["texts"] or ()), one["split"])
            for one in found
        ]

    def text_items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """See `Gallery.text_items`."""
        columns = [TEXT, IMAGE_ID, ADDRESS]
        found = self._text_table.dataset.take(list(rows), columns=columns).to_pylist()
        places = [self._images.row_of(one[ADDRESS]) for one in found]
        there = [place for place in places if place is not None]
        ids = dict(zip(there, (item.image_id for item in self.items(there)), strict=True))
        return [
            # addresses change when a table is compacted: better no picture than another's
            GalleryItem(
                one[IMAGE_ID],
                (one[TEXT],),
                None,
                place if place is not None and ids[place] == one[IMAGE_ID] else None,
            )
            for one, place in zip(found, places, strict=True)
        ]

    def files(self, rows: Sequence[int]) -> list[bytes]:
        """See `Gallery.files`."""
        return [one["image"] or b"" for one in self._take(rows, ["image"])]

    def thumbnail(self, row: int) -> bytes | None:
        """See `Gallery.thumbnail`: none is kept."""
        return None

    def original(self, row: int) -> bytes | None:
        """See `Gallery.original`."""
        return self.files([row])[0] or None

    def _take(self, rows: Sequence[int], columns: list[str]) -> list[dict[str, Any]]:
        found = self._images.dataset.take(list(rows), columns=columns)
        return found.to_pylist()  # type: ignore[no-any-return]

    def _has_texts(self) -> bool:
        """Whether any image has one; reads no further than to the first."""
        return next(texts_of(self._images.dataset), None) is not None

    @property
    def _text_table(self) -> VectorTable:
        with self._lock:
            if self._texts is None:
                uri = texts_uri(self.uri)
                if not self._has_texts():
                    raise R2D2Error(
                        f"the pictures of {self.name} have no texts: search among images, or give "
                        "the table texts and run `r2d2 index`",
                        code="no_texts",
                    )
                if open_lance(uri) is None:
                    raise R2D2Error(
                        f"the texts of {self.name} are not indexed: "
                        "run `r2d2 index` with its texts",
                        code="texts_not_indexed",
                    )
                texts = VectorTable(uri, TEXT_VECTOR)
                if texts.about.fingerprint != self.fingerprint:
                    raise R2D2Error(
                        f"{uri} was made by another model: "
                        "make it anew by `r2d2 index --overwrite`",
                        code="index_of_another_model",
                    )
                owned = TextsOfImages(self._images.dataset, texts.dataset)
                texts.choose, texts.columns = owned, self.columns
                self._texts = texts
            return self._texts


class VectorTable:
    """A Lance table with a column of vectors."""

    def __init__(self, uri: str, column: str) -> None:
        dataset = open_lance(uri)
        about = None if dataset is None else read_index_info(dataset, uri)
        if dataset is None or about is None or column not in dataset.schema.names:
            raise R2D2Error(
                f"{uri} has no index: make one by `r2d2 index {uri} --model MODEL`", code="no_index"
            )
        self.uri = uri
        self.column = column
        self.dataset: Any = dataset
        self.about: IndexInfo = about
        self.rows = int(dataset.count_rows())
        self.columns = {  # plain ones that a condition may name, and their types
            field.name: str(field.type)
            for field in self.dataset.schema
            if field.name not in HIDDEN and _plain(field.type)
        }
        self.choose: Callable[[str], Rows] | None = None  # where conditions are on another table

    @cached_property
    def addresses(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Lance's address of each row, (rows,), ascending."""
        found = self.dataset.scanner(columns=[], with_row_address=True).to_table()["_rowaddr"]
        return found.to_numpy().astype(np.uint64)  # type: ignore[no-any-return]

    def row_of(self, address: int) -> int | None:
        """The row at an address; None: there is none."""
        place = int(np.searchsorted(self.addresses, np.uint64(address)))
        there = place < len(self.addresses) and int(self.addresses[place]) == address
        return place if there else None

    def rows_of(self, addresses: np.ndarray[Any, np.dtype[np.uint64]]) -> Rows:
        """The rows at addresses that there are, in their order."""
        return np.searchsorted(self.addresses, addresses).astype(np.int64)

    def select(self, where: str) -> Rows:
        """Rows that fulfil a condition; R2D2Error where it does not work."""
        with condition_errors(where, self.columns):
            if self.choose is not None:
                return self.choose(where)
            scanner = self.dataset.scanner(columns=[], filter=where, with_row_address=True)
            found = scanner.to_table()["_rowaddr"].to_numpy()
        return np.searchsorted(self.addresses, np.sort(found)).astype(np.int64)

    @cached_property
    def count(self) -> int:
        """How many vectors there are.

        The calibration of a table that has not changed since tells it. Else the whole column is
        read, as Lance finds what is null in no other way.
        """
        known = stored_calibration(self.dataset)
        if known is not None and is_current(known, self.dataset):
            return known.count
        return int(self.dataset.count_rows(filter=f"{self.column} IS NOT NULL"))

    def read(self, rows: Rows) -> tuple[Rows, Floats]:
        """Those of some rows that have a vector, and their vectors, (n, d)."""
        found = self.dataset.take(rows.tolist(), columns=[self.column])[self.column]
        column = found.combine_chunks()
        there = column.is_valid().to_numpy(zero_copy_only=False)
        return rows[there], self.matrix(column.drop_null())

    def matrix(self, column: pa.Array) -> Floats:
        """Vectors of this table without nulls as (n, d) float32."""
        stored = as_matrix(column)
        vectors: Floats = stored if self.scales is None else from_int8(stored, self.scales)
        return vectors

    @cached_property
    def scales(self) -> Floats | None:
        """(d,) where vectors are kept in int8; None: in float32."""
        if self.about.store != INT8:
            return None
        if self.about.scales is None:
            raise R2D2Error(
                f"the index of {self.uri} is not finished: run `r2d2 index` again", code="no_index"
            )
        return np.array(self.about.scales, np.float32)

    @cached_property
    def vectors(self) -> Vectors:
        """By Lance's index where there is one, else all of them in memory."""
        count = self.count
        if not count:
            raise R2D2Error(
                f"the index of {self.uri} is empty: fill the table, run `r2d2 index`",
                code="index_empty",
            )
        if has_index(self.dataset, self.column):
            return AnnVectors(self, count)
        if self.scales is not None:
            return self._in_bytes(count, self.scales)
        need = 4 * count * self.about.width
        if need > EXACT_BYTES:
            raise R2D2Error(
                f"{count} vectors of {self.uri} take {_size(need)} of memory: build an "
                "approximate index of images and texts by `r2d2 index TABLE --ann ivf_sq`"
            )
        vectors = np.empty((count, self.about.width), np.float32)
        rows = np.empty(count, np.int64)
        place = 0
        for numbers, batch in self.batches():
            stop = place + len(batch)
            rows[place:stop], vectors[place:stop] = numbers, batch
            place = stop
        return ExactVectors(vectors, rows, self.select)

    def _in_bytes(self, count: int, scales: Floats) -> Int8Vectors:
        """All of them in memory, in a byte a number."""
        if (need := count * self.about.width) > EXACT_BYTES:
            raise R2D2Error(
                f"{count} vectors of {self.uri} take {_size(need)} of memory even in int8: make "
                "the index anew in float32, and an approximate one by `r2d2 index TABLE --ann`"
            )
        vectors = np.empty((count, self.about.width), np.int8)
        rows, place = np.empty(count, np.int64), 0
        for numbers, batch in self._column_batches():
            stop = place + len(batch)
            rows[place:stop], vectors[place:stop] = numbers, as_matrix(batch)
            place = stop
        return Int8Vectors(vectors, rows, scales, self.select)

    def _column_batches(self) -> Iterator[tuple[Rows, pa.Array]]:
        """All rows that have a vector, (n,), and their part of the column, some at a time."""
        scanner = self.dataset.scanner(
            columns=[self.column], filter=f"{self.column} IS NOT NULL", with_row_address=True
        )
        for batch in scanner.to_batches():
            rows = np.searchsorted(self.addresses, batch["_rowaddr"].to_numpy()).astype(np.int64)
            yield rows, batch[self.column]

    def batches(self) -> Iterator[tuple[Rows, Floats]]:
        """All rows that have a vector, (n,), and their vectors, (n, d), some at a time.

        Raises:
            R2D2Error: at the end, or where a whole batch is so: vectors have no direction.
        """
        directions = DirectionCheck(
            f"the index of {self.uri}", "make it anew by `r2d2 index --overwrite`"
        )
        for rows, column in self._column_batches():
            vectors = self.matrix(column)
            directions.add(vectors, [f"row {row}" for row in rows])
            yield rows, vectors
        directions.done()


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 1 << 30 else f"{count / 2**20:.2f} MB"


def _plain(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        test(kind)
        for test in (
            types.is_string, types.is_large_string, types.is_integer, types.is_floating,
            types.is_boolean,
        )
    )  # fmt: skip
