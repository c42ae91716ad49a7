"""Which items of a gallery answer which queries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r2d2.errors import R2D2Error

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Relevance:
    """Which of c gallery items answer which of q queries: those that share a key with it.

    It holds lists of keys, so that 100,000 images against 500,000 texts cost megabytes; `mask`
    expands a few rows at a time. The keys of an image are those of its texts, and a text has one
    key, its own: two images with the same caption both answer it.
    """

    query_start: Ints  # (q + 1,) where each query's keys begin in query_key
    query_key: Ints
    gallery_key: Ints  # ascending
    gallery_item: Ints  # the item that holds the key at the same position
    gallery: int  # c

    @staticmethod
    def of(queries: Sequence[Collection[int]], gallery: Sequence[Collection[int]]) -> Relevance:
        """From the keys (any 64-bit integers) of each query and of each gallery item."""
        key, item = _flat(gallery)
        order = np.argsort(key, kind="stable")
        start = np.cumsum([0, *(len(keys) for keys in queries)], dtype=np.int64)
        return Relevance(start, _flat(queries)[0], key[order], item[order], len(gallery))

    def __len__(self) -> int:
        return len(self.query_start) - 1

    def mask(self, start: int, stop: int) -> Tensor:
        """Queries start to stop as bool (stop - start, c), True where an item answers.

        Raises:
            R2D2Error: a query has no answer in the gallery. Leaving it out would make the benchmark
                smaller without notice.
        """
        rows, items = self._answers(start, stop)
        mask = torch.zeros(stop - start, self.gallery, dtype=torch.bool)
        mask[torch.from_numpy(rows), torch.from_numpy(items)] = True
        require_answers(mask, start)
        return mask

    def pairs(
        self, start: int, stop: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """The same as pairs: row (counted from `start`) and item of each answer, (p,) int64.

        Raises:
            R2D2Error: a query has no answer in the gallery.
        """
        rows, items = self._answers(start, stop)
        answers = np.bincount(rows, minlength=stop - start)
        require_answers(torch.from_numpy(answers[:, None] > 0), start)
        return torch.from_numpy(rows).to(device), torch.from_numpy(items).to(device)

    def pair_bound(self, start: int, stop: int) -> int:
        """At least the number of pairs: quick, to choose between `pairs` and `mask`."""
        return int(self._runs(start, stop)[1].sum())

    def counts(self, block: int = 4096) -> Tensor:
        """How many items answer each query, (q,) int64."""
        counts = np.zeros(len(self), dtype=np.int64)
        for start in range(0, len(self), block):
            stop = min(start + block, len(self))
            counts[start:stop] = np.bincount(self._answers(start, stop)[0], minlength=stop - start)
        return torch.from_numpy(counts)

    def _runs(self, start: int, stop: int) -> tuple[Ints, Ints]:
        """For each key of the queries: where its run of the gallery begins, and its length."""
        keys = self.query_key[self.query_start[start] : self.query_start[stop]]
        first = np.searchsorted(self.gallery_key, keys, side="left")
        return first, np.searchsorted(self.gallery_key, keys, side="right") - first

    def _answers(self, start: int, stop: int) -> tuple[Ints, Ints]:
        """Row (counted from `start`) and item of every answer, each once, in ascending order."""
        first, count = self._runs(start, stop)
        rows = np.repeat(np.arange(stop - start), np.diff(self.query_start[start : stop + 1]))
        # The runs first .. first + count of all keys, written out one after the other.
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        items = self.gallery_item[np.repeat(first, count) + within]
        # Two keys may lead to the same item.
        return np.divmod(
            np.unique(np.repeat(rows, count) * self.gallery + items), self.gallery or 1
        )


def require_answers(relevant: Tensor, start: int = 0) -> None:
    """Check that every row of (q, c) bool has an answer; `start` is the number of the first.

    Raises:
        R2D2Error: a row has none.
    """
    unanswered = (~relevant.any(dim=1)).nonzero()
    if len(unanswered):
        raise R2D2Error(
            f"query {start + int(unanswered[0])} has no matching item in the gallery: "
            "remove it, or add the item it belongs to"
        )


def _flat(keys: Sequence[Collection[int]]) -> tuple[Ints, Ints]:
    """All keys one after the other, and the position of the item that holds each."""
    key = np.array([k for item in keys for k in item], dtype=np.int64)
    return key, np.repeat(np.arange(len(keys)), [len(item) for item in keys])
