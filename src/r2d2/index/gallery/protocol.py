"""The protocols of a gallery, of its vectors and of its words."""

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
    """An image or a text, as a result shows it."""

    image_id: str  # of a text: the id of one of the images that have it
    texts: tuple[str, ...]  # of a text: the text itself
    split: str | None = None
    image_row: int | None = None  # of a text: the row of the image `image_id`


class Vectors(Protocol):
    """Vectors of unit length that can be searched by cosine."""

    def __len__(self) -> int:
        """The number of vectors; images that cannot be read have none."""

    @property
    def width(self) -> int:
        """The width of a vector, d."""

    def best(self, queries: Floats, k: int, where: str | None = None) -> list[tuple[Rows, Floats]]:
        """Rows and cosines of the k vectors nearest to each query, best first.

        Args:
            queries: (q, d) of unit length.
            k: number of results; there are fewer where there are not so many vectors.
            where: an SQL condition on the columns of the images. A text meets it where any of its
                images does. R2D2Error where it is not valid.
        """

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """The cosines, (n,), of a query, (d,), with rows, (n,), that have a vector."""


class WordSearch(Protocol):
    """Images that can be searched by the words of their texts."""

    def best(self, text: str, k: int, where: str | None = None) -> tuple[Rows, Floats]:
        """Rows and scores of the k images whose texts fit best, best first; see `Vectors.best`.

        Only images with a vector are returned whose texts share a term with the query.
        """


class Gallery(Protocol):
    """Indexed images and their texts."""

    @property
    def name(self) -> str:
        """The name in messages."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model that made the vectors."""

    @property
    def images(self) -> Vectors:
        """The vectors of the images."""

    @property
    def texts(self) -> Vectors:
        """The vectors of the distinct texts; R2D2Error where only images were indexed."""

    @property
    def has_words(self) -> bool:
        """Whether there is a full-text index of the texts, or one can be made."""

    @property
    def words(self) -> WordSearch:
        """The full-text index of the texts, where `has_words`."""

    @property
    def calibration(self) -> Calibration | None:
        """The figures that tell how sure a result is; None where the index has none."""

    @property
    def columns(self) -> dict[str, str]:
        """The columns that a condition may name, with their types."""

    @property
    def column_values(self) -> dict[str, ColumnValues]:
        """The values in these columns, which are read at the first use."""

    def cells(self, row: int) -> dict[str, Any]:
        """The values of a row in these columns."""

    def path(self, row: int) -> str | None:
        """The path of an image file on this machine; None where the table holds the image."""

    def __len__(self) -> int:
        """The number of rows, those of unreadable images included."""

    def items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """The images at `rows`."""

    def text_items(self, rows: Sequence[int]) -> list[GalleryItem]:
        """The texts at `rows` of the distinct texts."""

    def files(self, rows: Sequence[int]) -> list[bytes]:
        """The encoded image files at `rows`."""

    def thumbnail(self, row: int) -> bytes | None:
        """The stored thumbnail of an image, encoded; None where none is stored."""

    def original(self, row: int) -> bytes | None:
        """The image file at full size, encoded; None where it is gone or cannot be read."""
