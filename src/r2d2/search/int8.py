"""Vectors in one byte a number: a quarter of float32, with a scale for each number.

The scales are those of the gallery: the largest size that a number has in any of its vectors gets
127. A vector that comes later and goes beyond is cut there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from r2d2.search.exact import SPARE, Select, best_in_batches, compare, matching_places, nearest
from r2d2.search.gallery import Floats, Rows

LARGEST = 127
ROWS_AT_ONCE = 16384  # that are turned back into float32

Bytes = npt.NDArray[np.int8]


def scales_of(batches: Iterable[Floats]) -> Floats | None:
    """The scale of each number, (d,), by all vectors (n, d) of a gallery; None: it has none.

    One batch is held at a time.
    """
    largest: Floats | None = None
    for vectors in batches:
        if len(vectors):
            here = np.abs(vectors).max(axis=0)
            largest = here if largest is None else np.maximum(largest, here)
    if largest is None:
        return None
    found: Floats = (np.maximum(largest, 1e-12) / LARGEST).astype(np.float32)
    return found


def to_int8(vectors: Floats, scales: Floats) -> Bytes:
    """Vectors (n, d) in bytes."""
    found: Bytes = np.clip(np.rint(vectors / scales), -LARGEST, LARGEST).astype(np.int8)
    return found


def from_int8(vectors: Bytes, scales: Floats) -> Floats:
    """What stands for them, (n, d), of unit length; a vector of zeros stays one."""
    found = vectors.astype(np.float32) * scales
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Floats = found / np.maximum(length, 1e-12)
    return unit


class Int8Vectors:
    """Vectors in memory in bytes, compared one and all; see `Vectors`."""

    def __init__(self, vectors: Bytes, rows: Rows, scales: Floats, select: Select) -> None:
        """Take them in: (n, d), the row of each, ascending, the scales (d,); see `ExactVectors`."""
        self._vectors, self._rows, self._scales = vectors, rows, scales
        self._select = select

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def width(self) -> int:
        """Numbers of a vector, d."""
        return int(self._vectors.shape[1])

    def take(self, places: npt.NDArray[np.int64]) -> Floats:
        """The vectors at `places`, (n, d), of unit length."""
        return from_int8(self._vectors[places], self._scales)

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """See `Vectors.cosines`."""
        return compare(self.take(np.searchsorted(self._rows, rows)), query)

    def best(self, queries: Floats, k: int, where: str | None = None) -> list[tuple[Rows, Floats]]:
        """See `Vectors.best`. Of equal cosines the earlier row comes first."""
        chosen = np.arange(len(self._rows), dtype=np.int64)
        if where is not None:
            chosen = matching_places(self._rows, self._select, where)
        if not len(chosen):
            none = np.empty(0, np.int64), np.empty(0, np.float32)
            return [none for _ in queries]
        parts = (
            (part, self.take(part))
            for part in np.split(chosen, range(ROWS_AT_ONCE, len(chosen), ROWS_AT_ONCE))
        )
        near = best_in_batches(parts, queries, k + SPARE)
        found = []
        for query, places in zip(queries, near, strict=True):
            best, cosines = nearest(places, self.take(places), query, k)
            found.append((self._rows[best], cosines))
        return found
