"""Approximate search by Lance's vector index, its recall measured on the vectors themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from r2d2.search.chosen import best_chosen
from r2d2.search.conditions import condition_errors
from r2d2.search.exact import compare
from r2d2.search.gallery import Floats, Rows

if TYPE_CHECKING:
    from r2d2.search.table_gallery import VectorTable

PROBES, REFINE = 20, 4
MEASURED_AT = 100  # k that probes and refine are chosen for


def has_index(dataset: Any, column: str) -> bool:
    """Whether Lance has an index of that column."""
    return any(column in index["fields"] for index in dataset.list_indices())


class AnnVectors:
    """See `Vectors`."""

    def __init__(self, indexed: VectorTable, count: int) -> None:
        self._indexed = indexed
        self._count = count

    def __len__(self) -> int:
        return self._count

    @property
    def width(self) -> int:
        """Numbers of a vector, d."""
        return self._indexed.about.width

    def best(self, queries: Floats, k: int, where: str | None = None) -> list[tuple[Rows, Floats]]:
        """See `Vectors.best`; what the index has not seen yet is compared exactly by Lance."""
        if where is not None and self._indexed.choose is not None:
            chosen = self._indexed.select(where)
            return best_chosen(self._indexed, queries, k, chosen, self._deeper)
        with condition_errors(where or "", self._indexed.columns):
            return [self._nearest(query, k, where) for query in queries]

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """See `Vectors.cosines`."""
        return compare(self._indexed.read(rows)[1], query) if len(rows) else np.empty(0, np.float32)

    def _deeper(self, query: Floats, k: int) -> tuple[Rows, Floats]:
        """More than probes were measured for lie in more partitions."""
        return self._nearest(query, k, times=-(-k // MEASURED_AT))

    def _nearest(
        self, query: Floats, k: int, where: str | None = None, times: int = 1
    ) -> tuple[Rows, Floats]:
        about = self._indexed.about
        found, cosine = nearest(
            self._indexed.dataset, self._indexed.column, query, k, where=where,
            probes=times * (about.probes or PROBES), refine=about.refine or REFINE,
        )  # fmt: skip
        return np.searchsorted(self._indexed.addresses, found).astype(np.int64), cosine


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
    """Addresses and cosines of the k nearest, best first."""
    search: dict[str, Any] = {"column": column, "q": query, "k": k, "metric": "dot"}
    search |= {"use_index": False} if exact else {"refine_factor": refine}
    if not exact:
        # a condition may leave fewer than k in these partitions: then Lance is to look further
        search["nprobes" if where is None else "minimum_nprobes"] = probes
    scanner = dataset.scanner(
        columns=["_distance"], nearest=search, filter=where, prefilter=where is not None,
        with_row_address=True,
    )  # fmt: skip
    table = scanner.to_table()
    cosine = (1 - table["_distance"].to_numpy()).astype(np.float32)
    return table["_rowaddr"].to_numpy(), cosine
