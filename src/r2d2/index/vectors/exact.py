"""Exact search: all vectors are in memory, in float32 or int8, and all are compared.

In int8 each dimension has a scale: its largest absolute value in the gallery becomes 127. A vector
that is added later and has a larger value is clipped to 127.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.index.gallery.protocol import Floats, Rows

BLOCK_CELLS = 1 << 25  # scores held at a time: 128 MiB
ROWS_AT_ONCE = 16384  # vectors in int8 that are converted to float32 at a time
SPARE = 32  # candidates besides the k best, so that rounding in float32 loses none of these
LARGEST = 127

Bytes = npt.NDArray[np.int8]
Select = Callable[[str], Rows]  # the rows that meet a condition, ascending


def unit_vectors(vectors: npt.NDArray[Any]) -> Floats:
    """The vectors, (n, d), at unit length; a vector of zeros stays as it is."""
    unit = vectors.astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    return unit


def scales_of(batches: Iterable[Floats]) -> Floats | None:
    """The scale of each dimension, (d,), from batches (n, d) of vectors; None without vectors.

    Only one batch is in memory at a time.
    """
    largest: Floats | None = None
    for vectors in batches:
        if len(vectors):
            here = np.abs(vectors).max(axis=0)
            largest = here if largest is None else np.maximum(largest, here)
    return None if largest is None else (np.maximum(largest, 1e-12) / LARGEST).astype(np.float32)


def to_int8(vectors: Floats, scales: Floats) -> Bytes:
    """Convert vectors, (n, d), to int8 by their scales, (d,)."""
    return np.asarray(np.clip(np.rint(vectors / scales), -LARGEST, LARGEST), np.int8)


def from_int8(vectors: Bytes, scales: Floats) -> Floats:
    """Convert vectors, (n, d), from int8 to float32 at unit length."""
    return unit_vectors(vectors.astype(np.float32) * scales)


class MemoryVectors:
    """Vectors in memory, which are searched exactly; see `Vectors`."""

    def __init__(
        self,
        vectors: npt.NDArray[np.floating] | Bytes,
        rows: Rows | None,
        select: Select,
        scales: Floats | None = None,
    ) -> None:
        """Take the vectors.

        Args:
            vectors: (n, d) in floating point, which are scaled to unit length, or in int8.
            rows: (n,) the row of each vector, ascending; None means rows 0 to n - 1.
            select: returns the rows that meet a condition.
            scales: (d,) of vectors in int8, see `to_int8`; None for floating point.
        """
        self._vectors = vectors if vectors.dtype == np.int8 else unit_vectors(vectors)
        self._rows = np.arange(len(vectors), dtype=np.int64) if rows is None else rows
        self._select = select
        self._scales = scales

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def width(self) -> int:
        """The width of a vector, d."""
        return int(self._vectors.shape[1])

    def take(self, positions: npt.NDArray[np.int64] | slice) -> Floats:
        """The vectors at `positions`, (n, d), in float32 and at unit length."""
        vectors: Any = self._vectors[positions]
        return vectors if self._scales is None else from_int8(vectors, self._scales)

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """See `Vectors.cosines`."""
        return compare(self.take(np.searchsorted(self._rows, rows)), query)

    def best(self, queries: Floats, k: int, where: str | None = None) -> list[tuple[Rows, Floats]]:
        """See `Vectors.best`. Of equal cosines the earlier row comes first."""
        near = best_in_batches(self._batches(where), queries, k + SPARE)
        results = []
        for query, positions in zip(queries, near, strict=True):
            # The last bit of a product depends on the position of the row, so that equal pictures
            # could get different cosines.
            best, cosines = nearest(positions, self.take(positions), query, k)
            results.append((self._rows[best], cosines))
        return results

    def _batches(self, where: str | None) -> Iterator[tuple[Rows, Floats]]:
        """Positions and vectors of the rows that meet a condition, in batches."""
        count = len(self._rows)
        chosen = None
        if where is not None:
            chosen = np.flatnonzero(np.isin(self._rows, self._select(where), assume_unique=True))
            count = len(chosen)
        step = max(1, count) if self._scales is None else ROWS_AT_ONCE
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            if chosen is None:
                yield np.arange(part.start, part.stop), self.take(part)
            else:
                yield chosen[part], self.take(chosen[part])


def best_in_batches(batches: Iterable[tuple[Rows, Floats]], queries: Floats, k: int) -> Rows:
    """The rows with the k largest cosines for each query, (q, at most k), in one pass.

    Memory does not grow with the number of vectors.

    Args:
        batches: rows, (n,), and their vectors, (n, d), of unit length.
        queries: (q, d) of unit length.
        k: number of rows for each query.
    """
    best = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    step = max(k, BLOCK_CELLS // max(1, len(queries)))
    for numbers, vectors in batches:
        for start in range(0, len(vectors), step):
            block = vectors[start : start + step]
            scores = np.concatenate([best, queries @ block.T], axis=1)
            several = np.broadcast_to(numbers[start : start + step], (len(queries), len(block)))
            all_rows = np.concatenate([rows, several], axis=1)
            near = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
            best = np.take_along_axis(scores, near, axis=1)
            rows = np.take_along_axis(all_rows, near, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def compare(vectors: Floats, query: Floats) -> Floats:
    """The cosines of vectors, (n, d), with a query, (d,), in double precision.

    Equal vectors get equal cosines, whatever their positions.
    """
    cosines = np.einsum("kd,d->k", vectors.astype(np.float64), query.astype(np.float64))
    return np.asarray(cosines, np.float32)


def nearest(rows: Rows, vectors: Floats, query: Floats, k: int) -> tuple[Rows, Floats]:
    """The k rows whose vectors are nearest to a query, and their cosines.

    The nearest comes first; of equal cosines the earlier row.

    Args:
        rows: (n,).
        vectors: (n, d), one for each row.
        query: (d,).
        k: number of rows.
    """
    return first_k(rows, compare(vectors, query), k)


def first_k(rows: Rows, cosines: Floats, k: int) -> tuple[Rows, Floats]:
    """The k rows with the largest cosines, (n,); of equal cosines the earlier row comes first."""
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order], cosines[order]
