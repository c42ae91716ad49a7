"""Approximate search by the vector index of Lance."""

from __future__ import annotations

from typing import Any

import numpy as np

from r2d2.index.gallery.conditions import condition_errors
from r2d2.index.gallery.protocol import Floats, Rows
from r2d2.index.layout import ROW_ADDRESS
from r2d2.index.vectors.exact import MemoryVectors, compare, first_k
from r2d2.index.vectors.table import VectorTable

PROBES, REFINE = 20, 4
MEASURED_AT = 100  # the k that probes and refine are chosen for
FEW = 100_000  # up to so many chosen rows are all compared; of more, so many are searched
BLOCK = 8192  # vectors in memory at a time


def has_index(dataset: Any, column: str) -> bool:
    """Whether Lance has an index of a column."""
    return any(column in index["fields"] for index in dataset.list_indices())


class AnnVectors:
    """Vectors of a table with an approximate index; see `Vectors`."""

    def __init__(self, table: VectorTable, count: int) -> None:
        self._table = table
        self._count = count

    def __len__(self) -> int:
        return self._count

    @property
    def width(self) -> int:
        """The width of a vector, d."""
        return self._table.about.width

    def best(self, queries: Floats, k: int, where: str | None = None) -> list[tuple[Rows, Floats]]:
        """See `Vectors.best`; Lance compares rows that are newer than the index exactly."""
        if where is not None and self._table.choose is not None:
            return self._best_of(self._table.select(where), queries, k)
        with condition_errors(where or "", self._table.columns):
            return [self._nearest(query, k, where) for query in queries]

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """See `Vectors.cosines`."""
        return compare(self._table.read(rows)[1], query) if len(rows) else np.empty(0, np.float32)

    def _best_of(self, chosen: Rows, queries: Floats, k: int) -> list[tuple[Rows, Floats]]:
        """The k nearest to each query among chosen rows, which are ascending.

        Up to `FEW` chosen rows are all compared. Of more, the index is searched for so many
        results that k of them are likely to be chosen rows.
        """
        results: dict[int, tuple[Rows, Floats]] = {}
        if len(chosen) > FEW:
            for number, query in enumerate(queries):
                near = self._chosen_of_more(chosen, query, k)
                if near is not None:
                    results[number] = near
        left = [number for number in range(len(queries)) if number not in results]
        if left:
            results |= dict(zip(left, self._compared(chosen, queries[left], k), strict=True))
        return [results[number] for number in range(len(queries))]

    def _chosen_of_more(self, chosen: Rows, query: Floats, k: int) -> tuple[Rows, Floats] | None:
        """The k nearest by the index; None where fewer than k of the first `FEW` are chosen."""
        count = 2 * k * self._table.rows // len(chosen)
        while count <= FEW:
            # probes were measured for MEASURED_AT results; more results need more partitions
            rows, cosine = self._nearest(query, count, times=-(-count // MEASURED_AT))
            is_chosen = np.isin(rows, chosen, assume_unique=True)
            if is_chosen.sum() >= k:
                return rows[is_chosen][:k], cosine[is_chosen][:k]
            count *= 4
        return None

    def _compared(self, chosen: Rows, queries: Floats, k: int) -> list[tuple[Rows, Floats]]:
        """The k nearest by comparing all chosen rows, a block at a time."""
        best = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        for start in range(0, len(chosen), BLOCK):
            rows, vectors = self._table.read(chosen[start : start + BLOCK])
            here = MemoryVectors(vectors, rows, self._table.select).best(queries, k)
            best = [
                first_k(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]), k)
                for a, b in zip(best, here, strict=True)
            ]
        return best

    def _nearest(
        self, query: Floats, k: int, where: str | None = None, times: int = 1
    ) -> tuple[Rows, Floats]:
        about = self._table.about
        addresses, cosine = nearest(
            self._table.dataset, self._table.column, query, k, where=where,
            probes=times * (about.probes or PROBES), refine=about.refine or REFINE,
        )  # fmt: skip
        return self._table.rows_of(addresses), cosine


def nearest(
    dataset: Any,
    column: str,
    query: Floats,
    k: int,
    *,
    where: str | None = None,
    probes: int = PROBES,
    refine: int = REFINE,
    exact: bool = False,
) -> tuple[np.ndarray[Any, np.dtype[np.uint64]], Floats]:
    """Addresses and cosines of the k nearest rows, best first."""
    search: dict[str, Any] = {"column": column, "q": query, "k": k, "metric": "dot"}
    search |= {"use_index": False} if exact else {"refine_factor": refine}
    if not exact:
        # where a condition leaves fewer than k rows in these partitions, Lance must read more
        search["nprobes" if where is None else "minimum_nprobes"] = probes
    scanner = dataset.scanner(
        columns=["_distance"], nearest=search, filter=where, prefilter=where is not None,
        with_row_address=True,
    )  # fmt: skip
    table = scanner.to_table()
    cosine = (1 - table["_distance"].to_numpy()).astype(np.float32)
    return table[ROW_ADDRESS].to_numpy(), cosine
