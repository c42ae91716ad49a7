"""The protocol of a gallery: indexed images and texts, and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from r2d2.index.gallery.conditions import ColumnValues

if TYPE_CHECKING:
    from r2d2.index.calibration import Calibration

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GalleryItem:
    """One image, or one text, as a result shows it."""

    image_id: str  # of a text: one of the images that have it
    texts: tuple[str, ...]  # of a text: itself
    split: str | None = None
    image_row: int | None = None  # of a text: that image's row


class Vectors(Protocol):
    """Vectors of unit length that can be searched by cosine."""

    def __len__(self) -> int:
        """How many there are, those of unreadable images left out."""

    @property
    def width(self) -> int:
        """Numbers of a vector, d."""

    def best(self, queries: Floats, k: int, where: str | None = None) -> list[tuple[Rows, Floats]]:
        """Rows and cosines of the k nearest to each of the queries (q, d), best first.

        Fewer than k where there are no more. `where` is an SQL condition on the images'
        columns, whatever is searched: a text is found where any image that has it fulfils it.
        R2D2Error where it cannot be read.
        """

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """Of a query (d,) with some rows (n,) that have a vector."""


class WordSearch(Protocol):
    """Images that can be searched by the words of their texts."""

    def best(self, text: str, k: int, where: str | None = None) -> tuple[Rows, Floats]:
        """Rows and scores of the k images whose texts fit best, best first; see `Vectors.best`.

        Only those whose texts share a term with the query, and that have a vector.
        """


class Gallery(Protocol):
    """A corpus that has been indexed."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def fingerprint(self) -> str:
        """Of the model that made the vectors; see `fingerprint`."""

    @property
    def images(self) -> Vectors:
        """Vectors of the images."""

    @property
    def texts(self) -> Vectors:
        """Vectors of the distinct texts; R2D2Error where only images were indexed."""

    @property
    def has_words(self) -> bool:
        """Whether there is a full-text index of the images' texts; told without making it."""

    @property
    def words(self) -> WordSearch:
        """The words of the images' texts, where there is an index of them."""

    @property
    def calibration(self) -> Calibration | None:
        """What tells how sure a result is; None: the index has none of this version."""

    @property
    def columns(self) -> dict[str, str]:
        """Columns of the images that a condition may name, with their types."""

    @property
    def column_values(self) -> dict[str, ColumnValues]:
        """What stands in these columns; read when it is first asked for."""

    def cells(self, row: int) -> dict[str, Any]:
        """What stands in these columns of a row."""

    def path(self, row: int) -> str | None:
        """The file of an image on this machine; None where it lies in the table."""

    def __len__(self) -> int:
        """Rows of images, unreadable ones included."""

    def items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """The images at `rows`."""

    def text_items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """The texts at `rows` of the texts."""

    def files(self, rows: Sequence[int]) -> list[bytes]:
        """The encoded image files at `rows`."""

    def thumbnail(self, row: int) -> bytes | None:
        """The encoded thumbnail that is kept of an image; None where none is."""

    def original(self, row: int) -> bytes | None:
        """The encoded image file at its full size; None where it is gone, or cannot be read."""
