"""Exact search: one matrix product, the best k of each row of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from r2d2.search.gallery import Floats, Rows

BLOCK_CELLS = 1 << 25  # scores held at a time: 128 MiB
SPARE = 32  # more than k are taken in float32, so that none is lost to its last bit

Select = Callable[[str], Rows]  # the rows that fulfil a condition, ascending


class ExactVectors:
    """Vectors in memory, compared one and all."""

    def __init__(
        self, vectors: npt.NDArray[np.floating], rows: Rows | None, select: Select
    ) -> None:
        """Take them in.

        Args:
            vectors: (n, d); brought to unit length here.
            rows: (n,) the row of each, ascending; None: they are rows 0 to n - 1.
            select: says which rows fulfil a condition.
        """
        unit = vectors.astype(np.float32)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        self._vectors = unit
        self._rows = np.arange(len(unit), dtype=np.int64) if rows is None else rows
        self._select = select

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def width(self) -> int:
        """Numbers of a vector, d."""
        return int(self._vectors.shape[1])

    def take(self, places: npt.NDArray[np.int64]) -> Floats:
        """The vectors at `places`, (n, d)."""
        return self._vectors[places]

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """See `Vectors.cosines`."""
        return compare(self._vectors[np.searchsorted(self._rows, rows)], query)

    def best(self, queries: Floats, k: int, where: str | None = None) -> list[tuple[Rows, Floats]]:
        """See `Vectors.best`. Of equal cosines the earlier row comes first."""
        vectors, rows = self._vectors, self._rows
        if where is not None:
            chosen = matching_places(rows, self._select, where)
            vectors, rows = vectors[chosen], rows[chosen]
        found: list[tuple[Rows, Floats]] = []
        step = max(1, BLOCK_CELLS // max(1, len(vectors)))
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            for query, scores in zip(block, block @ vectors.T, strict=True):
                near = _largest(scores, k + SPARE)
                # The product's last bit depends on a row's place: equal pictures would not tie.
                best, cosines = nearest(near, vectors[near], query, k)
                found.append((rows[best], cosines))
        return found


def best_in_batches(batches: Iterable[tuple[Rows, Floats]], queries: Floats, k: int) -> Rows:
    """The rows of the k largest cosines of each query, (q, at most k), in one pass.

    Args:
        batches: rows (n,) and their vectors (n, d) of unit length, as many as there are.
        queries: (q, d) of unit length.
        k: how many; what is held does not grow with the vectors.
    """
    best = np.empty((len(queries), 0), np.float32)
    rows = np.empty((len(queries), 0), np.int64)
    step = max(k, BLOCK_CELLS // max(1, len(queries)))
    for numbers, vectors in batches:
        for start in range(0, len(vectors), step):
            block = vectors[start : start + step]
            scores = np.concatenate([best, queries @ block.T], axis=1)
            several = np.broadcast_to(numbers[start : start + step], (len(queries), len(block)))
            every = np.concatenate([rows, several], axis=1)
            near = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
            best = np.take_along_axis(scores, near, axis=1)
            rows = np.take_along_axis(every, near, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def compare(vectors: Floats, query: Floats) -> Floats:
    """The cosines of vectors (n, d) with one (d,), which do not depend on their places."""
    found: Floats = np.einsum(
        "kd,d->k", vectors.astype(np.float64), query.astype(np.float64)
    ).astype(np.float32)
    return found


def nearest(
    places: npt.NDArray[np.int64], vectors: Floats, query: Floats, k: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Of places (n,) and their vectors (n, d) the k nearest to a query (d,), and their cosines.

    The nearest first; of equal cosines the earlier place.
    """
    cosines = compare(vectors, query)
    order = np.lexsort((places, -cosines))[:k]
    return places[order], cosines[order]


def matching_places(rows: Rows, select: Select, where: str) -> npt.NDArray[np.int64]:
    """The places in `rows` (n,) of those that fulfil a condition, ascending."""
    return np.flatnonzero(np.isin(rows, select(where), assume_unique=True))


def _largest(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    """Places of the k largest, in any order."""
    if k >= len(scores):
        return np.arange(len(scores), dtype=np.int64)
    return np.argpartition(-scores, k - 1)[:k].astype(np.int64)
