"""Exact search: vectors in memory, in float32 or in one byte a number, all of them compared.

In bytes, each number of a vector has a scale: the largest size that it has in any vector of the
gallery becomes 127. A vector that is added later and goes beyond is clipped there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.index.gallery.protocol import Floats, Rows

BLOCK_CELLS = 1 << 25  # scores held at a time: 128 MiB
ROWS_AT_ONCE = 16384  # vectors that are turned back into float32 at a time
SPARE = 32  # more than k are taken in float32, so that none is lost to its last bit
LARGEST = 127

Bytes = npt.NDArray[np.int8]
Select = Callable[[str], Rows]  # the rows that fulfil a condition, ascending


def unit_vectors(vectors: npt.NDArray[Any]) -> Floats:
    """Vectors (n, d) at unit length; a vector of zeros stays one."""
    unit = vectors.astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    return unit


def scales_of(batches: Iterable[Floats]) -> Floats | None:
    """The scale of each number, (d,), by all vectors (n, d) of a gallery; None: it has none.

    One batch is held at a time.
    """
    largest: Floats | None = None
    for vectors in batches:
        if len(vectors):
            here = np.abs(vectors).max(axis=0)
            largest = here if largest is None else np.maximum(largest, here)
    return None if largest is None else (np.maximum(largest, 1e-12) / LARGEST).astype(np.float32)


def to_int8(vectors: Floats, scales: Floats) -> Bytes:
    """Vectors (n, d) in bytes."""
    return np.asarray(np.clip(np.rint(vectors / scales), -LARGEST, LARGEST), np.int8)


def from_int8(vectors: Bytes, scales: Floats) -> Floats:
    """The vectors (n, d) of unit length that bytes stand for."""
    return unit_vectors(vectors.astype(np.float32) * scales)


class MemoryVectors:
    """See `Vectors`."""

    def __init__(
        self,
        vectors: npt.NDArray[np.floating] | Bytes,
        rows: Rows | None,
        select: Select,
        scales: Floats | None = None,
    ) -> None:
        """Take vectors in.

        Args:
            vectors: (n, d); of floating point, which are brought to unit length here, or with
                `scales` in bytes.
            rows: (n,) the row of each, ascending; None: they are rows 0 to n - 1.
            select: gives the rows that fulfil a condition.
            scales: (d,), see `to_int8`; None: the vectors are in float32.
        """
        self._vectors = vectors if vectors.dtype == np.int8 else unit_vectors(vectors)
        self._rows = np.arange(len(vectors), dtype=np.int64) if rows is None else rows
        self._select = select
        self._scales = scales

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def width(self) -> int:
        """Numbers of a vector, d."""
        return int(self._vectors.shape[1])

    def take(self, positions: npt.NDArray[np.int64] | slice) -> Floats:
        """The vectors at `positions`, (n, d), in float32 and of unit length."""
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
            # The product's last bit depends on a row's place: equal pictures would not tie.
            best, cosines = nearest(positions, self.take(positions), query, k)
            results.append((self._rows[best], cosines))
        return results

    def _batches(self, where: str | None) -> Iterator[tuple[Rows, Floats]]:
        """Positions and vectors of the rows that fulfil a condition, some at a time."""
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
    """The rows of the k largest cosines of each query, (q, at most k), in one pass.

    Args:
        batches: rows (n,) and their vectors (n, d) of unit length, as many as there are.
        queries: (q, d) of unit length.
        k: how many; the memory needed does not grow with the number of vectors.
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
    """The cosines of vectors (n, d) with one (d,), which do not depend on their places."""
    cosines = np.einsum("kd,d->k", vectors.astype(np.float64), query.astype(np.float64))
    return np.asarray(cosines, np.float32)


def nearest(rows: Rows, vectors: Floats, query: Floats, k: int) -> tuple[Rows, Floats]:
    """Of rows (n,) and their vectors (n, d) the k nearest to a query (d,), and their cosines.

    The nearest first; of equal cosines the earlier row.
    """
    return first_k(rows, compare(vectors, query), k)


def first_k(rows: Rows, cosines: Floats, k: int) -> tuple[Rows, Floats]:
    """The k rows with the largest of the cosines (n,), of equal ones the earlier row."""
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order], cosines[order]
