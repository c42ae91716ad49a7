"""A pairs table with an index, as a gallery."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from r2d2.errors import R2D2Error
from r2d2.index import layout
from r2d2.index.calibration import Calibration, stored_calibration
from r2d2.index.gallery.conditions import ColumnValues, column_values
from r2d2.index.gallery.protocol import Floats, GalleryItem, Rows, Vectors
from r2d2.index.table_texts import TextsOfImages, texts_of
from r2d2.index.text.words import WordIndex
from r2d2.index.vectors.approximate import AnnVectors, has_index
from r2d2.index.vectors.exact import MemoryVectors
from r2d2.index.vectors.table import VectorTable
from r2d2.table import PairsTable

log = logging.getLogger(__name__)

EXACT_BYTES = 8 << 30  # the most memory for vectors; more vectors need an approximate index


class TableGallery:
    """The gallery of a table; see `Gallery`. Rows have the numbers of `PairsTable`."""

    def __init__(self, path: str | Path) -> None:
        """Open it; R2D2Error where there is no table, or the table has no index."""
        table = PairsTable.open(path)
        self.name = self.uri = table.path
        self._images = VectorTable(table.path, layout.VECTOR)
        bad = self._images.dataset.count_rows(filter=layout.HAS_BAD)
        left = self._images.rows - self._images.count - bad
        if left:
            log.warning("%d new rows of %s are not indexed: run `r2d2 index`", left, self.name)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model that made the vectors."""
        return self._images.about.fingerprint

    @cached_property
    def images(self) -> Vectors:
        """The vectors of the images."""
        return open_vectors(self._images)

    @cached_property
    def texts(self) -> Vectors:
        """The vectors of the distinct texts; R2D2Error where only images were indexed."""
        return open_vectors(self._text_table)

    @cached_property
    def has_words(self) -> bool:
        """See `Gallery.has_words`."""
        dataset = self._images.dataset
        return layout.WORDS in dataset.schema.names and has_index(dataset, layout.WORDS)

    @cached_property
    def words(self) -> WordIndex:
        """See `Gallery.words`."""
        indexed = self._images
        return WordIndex(indexed.dataset, layout.WORDS, self.columns, indexed.rows_of)

    @cached_property
    def calibration(self) -> Calibration | None:
        """See `Gallery.calibration`."""
        calibration = stored_calibration(self._images.dataset)
        if calibration is None or calibration.fingerprint != self.fingerprint:
            return None
        return calibration

    def vector_batches(self) -> Iterator[Floats]:
        """See `CalibratedGallery`."""
        for _, vectors in self._images.batches():
            yield vectors

    def term_batches(self) -> Iterator[list[str]]:
        """See `CalibratedGallery`."""
        if self.has_words:
            for batch in self._images.dataset.to_batches(columns=[layout.WORDS]):
                yield [terms or "" for terms in batch[layout.WORDS].to_pylist()]

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
        records = self._take(rows, columns)
        return [
            GalleryItem(
                record["image_id"], tuple(t["text"] for t in record["texts"] or ()), record["split"]
            )
            for record in records
        ]

    def text_items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """See `Gallery.text_items`."""
        columns = [layout.TEXT, layout.IMAGE_ID, layout.ADDRESS]
        records = self._text_table.dataset.take(list(rows), columns=columns).to_pylist()
        image_rows = [self._images.row_of(record[layout.ADDRESS]) for record in records]
        known = [image_row for image_row in image_rows if image_row is not None]
        ids = dict(zip(known, (item.image_id for item in self.items(known)), strict=True))
        items = []
        for record, image_row in zip(records, image_rows, strict=True):
            image_id = record[layout.IMAGE_ID]
            # Addresses change when a table is compacted. No picture is better than a wrong one.
            is_same = image_row is not None and ids[image_row] == image_id
            items.append(
                GalleryItem(image_id, (record[layout.TEXT],), None, image_row if is_same else None)
            )
        return items

    def files(self, rows: Sequence[int]) -> list[bytes]:
        """See `Gallery.files`."""
        return [record["image"] or b"" for record in self._take(rows, ["image"])]

    def thumbnail(self, row: int) -> bytes | None:
        """See `Gallery.thumbnail`: none is kept."""
        return None

    def original(self, row: int) -> bytes | None:
        """See `Gallery.original`."""
        return self.files([row])[0] or None

    def _take(self, rows: Sequence[int], columns: list[str]) -> list[dict[str, Any]]:
        records = self._images.dataset.take(list(rows), columns=columns)
        return records.to_pylist()  # type: ignore[no-any-return]

    def _has_texts(self) -> bool:
        """Whether any image has a text; reading stops at the first one."""
        return next(texts_of(self._images.dataset), None) is not None

    @cached_property
    def _text_table(self) -> VectorTable:
        uri = layout.texts_uri(self.uri)
        if not self._has_texts():
            raise R2D2Error(
                f"the pictures of {self.name} have no texts: search among images, or give the "
                "table texts and run `r2d2 index`",
                code="no_texts",
            )
        if layout.open_lance(uri) is None:
            raise R2D2Error(
                f"the texts of {self.name} are not indexed: run `r2d2 index` with its texts",
                code="texts_not_indexed",
            )
        texts = VectorTable(uri, layout.TEXT_VECTOR)
        if texts.about.fingerprint != self.fingerprint:
            raise R2D2Error(
                f"{uri} was made by another model: make it anew by `r2d2 index --overwrite`",
                code="index_of_another_model",
            )
        texts.choose = TextsOfImages(self._images.dataset, texts.dataset)
        texts.columns = self.columns
        return texts


def open_vectors(table: VectorTable) -> Vectors:
    """The vectors of a table, searched by an approximate index, or in memory where there is none.

    Raises:
        R2D2Error: there are no vectors, or they need more memory than `EXACT_BYTES`.
    """
    count, width, uri = table.count, table.about.width, table.uri
    if not count:
        raise R2D2Error(
            f"the index of {uri} is empty: add pictures that can be read, then run `r2d2 index`",
            code="index_empty",
        )
    if has_index(table.dataset, table.column):
        return AnnVectors(table, count)
    in_bytes = table.scales is not None
    vectors = np.empty((0, width), np.int8 if in_bytes else np.float32)
    if (need := count * width * vectors.itemsize) > EXACT_BYTES:
        remedy = (
            " even in int8: make the index anew in float32, and an approximate one by `r2d2 index "
            "TABLE --ann`"
            if in_bytes
            else ": build an approximate index of images and texts by `r2d2 index TABLE --ann "
            "ivf_sq`"
        )
        raise R2D2Error(f"{count} vectors of {uri} take {_size(need)} of memory{remedy}")
    vectors = np.empty((count, width), vectors.dtype)
    rows, start = np.empty(count, np.int64), 0
    batches: Iterator[tuple[Rows, Any]] = table.batches()
    if in_bytes:
        batches = ((n, layout.as_matrix(column)) for n, column in table.column_batches())
    for numbers, batch in batches:
        stop = start + len(batch)
        rows[start:stop], vectors[start:stop] = numbers, batch
        start = stop
    return MemoryVectors(vectors, rows, table.select, table.scales)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 1 << 30 else f"{count / 2**20:.2f} MB"
