"""The nearest of chosen rows of an approximate index.

Where they are few, all of them are compared; else more than are asked for are searched, of which
enough are likely to be chosen ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from r2d2.search.exact import ExactVectors
from r2d2.search.gallery import Floats, Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from r2d2.search.table_gallery import VectorTable

    Search = Callable[[Floats, int], tuple[Rows, Floats]]

FEW = 100_000  # rows: so many are compared one and all, and at most so many searched
BLOCK = 8192  # vectors in memory


def best_chosen(
    indexed: VectorTable, queries: Floats, k: int, chosen: Rows, search: Search
) -> list[tuple[Rows, Floats]]:
    """Rows and cosines of the k nearest to each query among the chosen rows, best first.

    Args:
        indexed: where the vectors lie.
        queries: (q, d).
        k: how many.
        chosen: rows, ascending.
        search: gives the rows and cosines of the n nearest of all, best first.
    """
    found: dict[int, tuple[Rows, Floats]] = {}
    if len(chosen) > FEW:
        for place, query in enumerate(queries):
            near = _out_of_more(query, k, chosen, indexed.rows, search)
            if near is not None:
                found[place] = near
    left = [place for place in range(len(queries)) if place not in found]
    if left:
        found |= dict(zip(left, _compared(indexed, queries[left], k, chosen), strict=True))
    return [found[place] for place in range(len(queries))]


def _out_of_more(
    query: Floats, k: int, chosen: Rows, total: int, search: Search
) -> tuple[Rows, Floats] | None:
    """None where the nearest are not chosen ones, however many are looked at."""
    count = 2 * k * total // len(chosen)
    while count <= FEW:
        rows, cosine = search(query, count)
        there = np.isin(rows, chosen, assume_unique=True)
        if there.sum() >= k:
            return rows[there][:k], cosine[there][:k]
        count *= 4
    return None


def _compared(
    indexed: VectorTable, queries: Floats, k: int, chosen: Rows
) -> list[tuple[Rows, Floats]]:
    found = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    for start in range(0, len(chosen), BLOCK):
        rows, vectors = indexed.read(chosen[start : start + BLOCK])
        here = ExactVectors(vectors, rows, _unasked).best(queries, k)
        found = [_merged(one, other, k) for one, other in zip(found, here, strict=True)]
    return found


def _unasked(where: str) -> Rows:
    raise AssertionError(where)


def _merged(one: tuple[Rows, Floats], other: tuple[Rows, Floats], k: int) -> tuple[Rows, Floats]:
    rows = np.concatenate([one[0], other[0]])
    cosine = np.concatenate([one[1], other[1]])
    order = np.lexsort((rows, -cosine))[:k]
    return rows[order], cosine[order]
