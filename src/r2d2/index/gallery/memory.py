"""A gallery that is completely in memory: vectors, ids and texts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.index.calibration import Calibration
from r2d2.index.gallery.conditions import ColumnValues, column_values, condition_errors
from r2d2.index.gallery.protocol import Floats, GalleryItem, Rows
from r2d2.index.layout import ROW_ADDRESS, WORDS
from r2d2.index.text.terms import image_terms
from r2d2.index.text.words import WordIndex, index_terms
from r2d2.index.vectors.exact import MemoryVectors
from r2d2.tokenizer import text_key


@dataclass(frozen=True)
class GalleryRow:
    """One image of a gallery in memory."""

    image_id: str
    split: str
    texts: tuple[str, ...]


class MemoryGallery:
    """A gallery in memory; see `Gallery`."""

    def __init__(
        self,
        name: str,
        fingerprint: str,
        rows: Sequence[GalleryRow],
        image_vectors: npt.NDArray[np.floating],
        text_vectors: npt.NDArray[np.floating],
        file: Callable[[str], bytes],
    ) -> None:
        """Take the rows and their vectors.

        Args:
            name: the name in messages.
            fingerprint: of the model that made the vectors.
            rows: n images.
            image_vectors: (n, d).
            text_vectors: (m, d) of the texts of all rows in order; equal texts use the first one.
            file: returns the encoded image of an image id.
        """
        self.name = name
        self.fingerprint = fingerprint
        self.calibration: Calibration | None = None  # see `Gallery.calibration`
        self._rows = list(rows)
        self._file = file
        texts_of_rows = [
            (row, text) for row, gallery_row in enumerate(rows) for text in gallery_row.texts
        ]
        text_numbers: dict[str, int] = {}
        same = [
            text_numbers.setdefault(text_key(text), len(text_numbers)) for _, text in texts_of_rows
        ]
        self.text_rows = np.array(same, np.int64)  # the row of each given text
        self._owners = np.array([row for row, _ in texts_of_rows], np.int64)
        first = np.unique(self.text_rows, return_index=True)[1]
        self._texts = [texts_of_rows[number] for number in first]
        self.images = MemoryVectors(image_vectors, None, self._select)
        self.texts = MemoryVectors(text_vectors[first], None, self._select_texts)

    def vector_batches(self) -> Iterator[Floats]:
        """See `CalibratedGallery`."""
        yield self.images.take(np.arange(len(self.images)))

    def term_batches(self) -> Iterator[list[str]]:
        """See `CalibratedGallery`."""
        yield image_terms([row.texts for row in self._rows])

    @property
    def columns(self) -> dict[str, str]:
        """Columns that a condition may name."""
        return {"image_id": "string", "split": "string"}

    @property
    def has_words(self) -> bool:
        """See `Gallery.has_words`."""
        return bool(self._texts)

    @cached_property
    def words(self) -> WordIndex:
        """See `Gallery.words`."""
        index_terms(self._dataset, WORDS)
        return WordIndex(self._dataset, WORDS, self.columns, lambda rows: rows.astype(np.int64))

    @cached_property
    def column_values(self) -> dict[str, ColumnValues]:
        """See `Gallery.column_values`."""
        return column_values(self._dataset, self.columns)

    def cells(self, row: int) -> dict[str, Any]:
        """See `Gallery.cells`."""
        return {"image_id": self._rows[row].image_id, "split": self._rows[row].split}

    def path(self, row: int) -> str | None:
        """See `Gallery.path`: there is none."""
        return None

    def __len__(self) -> int:
        return len(self._rows)

    def items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """See `Gallery.items`."""
        return [GalleryItem((r := self._rows[row]).image_id, r.texts, r.split) for row in rows]

    def text_items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """See `Gallery.text_items`."""
        items = []
        for row in rows:
            image, text = self._texts[row]
            items.append(GalleryItem(self._rows[image].image_id, (text,), None, image))
        return items

    def files(self, rows: Sequence[int]) -> list[bytes]:
        """See `Gallery.files`."""
        return [self._file(self._rows[row].image_id) for row in rows]

    def thumbnail(self, row: int) -> bytes | None:
        """See `Gallery.thumbnail`: none is kept."""
        return None

    def original(self, row: int) -> bytes | None:
        """See `Gallery.original`."""
        return self.files([row])[0] or None

    @cached_property
    def _dataset(self) -> Any:
        import lance  # not before a search needs it: it takes a moment to load

        table = pa.table(
            {
                "image_id": [row.image_id for row in self._rows],
                "split": [row.split for row in self._rows],
                WORDS: image_terms([row.texts for row in self._rows]),
            }
        )
        return lance.write_dataset(table, f"memory://{uuid.uuid4().hex}")

    def _select(self, where: str) -> Rows:
        with condition_errors(where, self.columns):
            scanner = self._dataset.scanner(columns=[], filter=where, with_row_address=True)
            chosen = scanner.to_table()[ROW_ADDRESS].to_numpy()
        return np.sort(chosen.astype(np.int64))

    def _select_texts(self, where: str) -> Rows:
        return np.unique(self.text_rows[np.isin(self._owners, self._select(where))])
