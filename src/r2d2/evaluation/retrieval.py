"""Exact recall: how far down the first right answer stands; ties and broken scores harm us.

Rank = 1 + the number of non-matching items that score at least as high as the best match
(docs/method.md, "Scores at inference"). A score that is not finite never helps: on a match it ranks
below, on any other item above everything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r2d2.errors import R2D2Error

RECALL_AT = (1, 5, 10)
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
T = TypeVar("T")


@dataclass(frozen=True)
class Relevance:
    """Which of c gallery items answer which of q queries: those that share a key with it.

    Held as key lists, so that 100,000 images against 500,000 texts cost megabytes; `mask` spreads
    out some rows only. An image's keys are those of its texts, a text's only key is its own: two
    images with one caption answer it both.
    """

    query_start: NDArray[np.int64]  # (q + 1,) where each query's keys begin in query_key
    query_key: NDArray[np.int64]
    gallery_key: NDArray[np.int64]  # ascending
    gallery_item: NDArray[np.int64]  # the item that holds the key at the same place
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
            R2D2Error: a query has no answer in the gallery; to leave it out would shrink the
                benchmark in silence.
        """
        rows, items = self._pairs(start, stop)
        mask = np.zeros((stop - start, self.gallery), dtype=bool)
        mask[rows, items] = True
        _require_answers(torch.from_numpy(mask), start)
        return torch.from_numpy(mask)

    def answers(self, start: int, stop: int) -> int:
        """How many pairs there are, or a few more: to choose between them and a mask."""
        bounds = self.query_start[start : stop + 1]
        keys = self.query_key[bounds[0] : bounds[-1]]
        ends = [np.searchsorted(self.gallery_key, keys, side=side) for side in SIDES]
        return int((ends[1] - ends[0]).sum())

    def pairs(
        self, start: int, stop: int, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """The same as pairs: row, less `start`, and item of each answer, (p,) int64, each once.

        Raises:
            R2D2Error: a query has no answer in the gallery.
        """
        rows, items = self._pairs(start, stop)
        once = np.unique(rows * self.gallery + items)  # two keys may lead to one item
        rows, items = once // max(1, self.gallery), once % max(1, self.gallery)
        found = np.bincount(rows, minlength=stop - start)
        _require_answers(torch.from_numpy(found[:, None] > 0), start)
        return torch.from_numpy(rows).to(device), torch.from_numpy(items).to(device)

    def counts(self, block: int = 4096) -> Tensor:
        """How many items answer each query, (q,) int64."""
        parts = []
        for start in range(0, len(self), block):
            stop = min(start + block, len(self))
            rows, items = self._pairs(start, stop)
            once = np.unique(rows * self.gallery + items)  # two keys may lead to one item
            parts.append(np.bincount(once // max(1, self.gallery), minlength=stop - start))
        found = np.concatenate(parts) if parts else np.zeros(0)
        return torch.from_numpy(found.astype(np.int64))

    def _pairs(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row, less `start`, and item of every answer; one may come twice."""
        bounds = self.query_start[start : stop + 1]
        keys = self.query_key[bounds[0] : bounds[-1]]
        rows = np.repeat(np.arange(stop - start), np.diff(bounds))
        first = np.searchsorted(self.gallery_key, keys, side="left")
        count = np.searchsorted(self.gallery_key, keys, side="right") - first
        # Each key's run of the gallery, first .. first + count, written out one after the other.
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(rows, count), self.gallery_item[np.repeat(first, count) + within]


def against(scores: Tensor, relevant: Tensor) -> Tensor:
    """Scores with each that is not finite set to what harms us: -inf on a match, +inf elsewhere."""
    harm = torch.where(relevant, -torch.inf, torch.inf).to(scores)
    return torch.where(torch.isfinite(scores), scores, harm)


def rank_of_best(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank of each query's best match, from 1.

    Args:
        scores: (q, c), higher is better.
        relevant: (q, c) bool, at least one True a row.

    Returns:
        (q,) int64.

    Raises:
        R2D2Error: the shapes differ, or a query has no match.
    """
    _require_same_shape(scores, relevant)
    _require_answers(relevant)
    scores = against(scores, relevant)
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((scores >= best) & ~relevant).sum(dim=1)


def two_stage_ranks(scores: Tensor, relevant: Tensor, below: Tensor) -> Tensor:
    """Rank of each query's best match after re-ranking k candidates.

    Args:
        scores: (q, k) of the candidates, weight x match + cosine.
        relevant: (q, k) bool.
        below: (q,) int64, the rank that counts where no candidate is a match with a finite score:
            that of the best match outside the candidates, all of which stand above it.

    Returns:
        (q,) int64.
    """
    _require_same_shape(scores, relevant)
    found = (relevant & torch.isfinite(scores)).any(dim=1)
    scores = against(scores, relevant)
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return torch.where(found, 1 + ((scores >= best) & ~relevant).sum(dim=1), below)


def published_ranks(scores: Tensor, own: Tensor, place: Tensor) -> Tensor:
    """Rank of each query's best own item as the official code counts it.

    It sorts a row of scores, turns it round and looks for the first own item. So a tie costs
    nothing where the own item stands later in the gallery; and an equal caption of another image,
    no match there, is a wrong answer. A score that is not finite counts against us here too.

    Args:
        scores: (q, c).
        own: (q, c) bool, what was given to the query.
        place: (q, c) or (c,), of each item in the gallery.

    Returns:
        (q,) int64; c + 1 where no own item has a finite score.
    """
    found = (own & torch.isfinite(scores)).any(dim=1)
    scores = against(scores, own)
    place = place.expand_as(scores)
    best = scores.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    equal = scores == best
    last = place.masked_fill(~(equal & own), -1).amax(dim=1, keepdim=True)
    ranks = 1 + (scores > best).sum(dim=1) + (equal & (place > last)).sum(dim=1)
    return torch.where(found, ranks, scores.shape[1] + 1)


def recalls(i2t: Tensor | None, t2i: Tensor) -> dict[str, float]:
    """R@1, R@5 and R@10 both ways and their mean, in %, from the ranks (q,) of either direction.

    Without `i2t` only text to image counts, as on MUGE: R@M is then the mean of three.
    """
    ways = _both(i2t, t2i)
    if not all(len(ranks) for ranks in ways.values()):
        raise R2D2Error(
            "recall needs at least one query each way: the split has no image or no text"
        )
    found = {
        f"{way}_r{at}": 100 * float((ranks <= at).double().mean())
        for way, ranks in ways.items()
        for at in RECALL_AT
    }
    return found | {"r_mean": sum(found.values()) / len(found)}


def chance_recalls(i2t: Relevance | None, t2i: Relevance) -> dict[str, float]:
    """What a ranking drawn by lot would reach, in the layout of `recalls`."""
    found = {
        f"{way}_r{at}": 100 * chance_of(relevance, at)
        for way, relevance in _both(i2t, t2i).items()
        for at in RECALL_AT
    }
    return found | {"r_mean": sum(found.values()) / len(found)}


def _both(i2t: T | None, t2i: T) -> dict[str, T]:
    return {"t2i": t2i} if i2t is None else {"i2t": i2t, "t2i": t2i}


def chance_of(relevance: Relevance, at: int) -> float:
    """The share of queries that a ranking drawn by lot answers within the first `at` items."""
    # 1 - P(none of the first `at` of c items is among the m answers) = 1 - C(c - m, at) / C(c, at)
    size = relevance.gallery
    at = min(at, size)
    times = Counter(relevance.counts().tolist())
    missed = sum(n * math.comb(size - m, at) / math.comb(size, at) for m, n in times.items())
    return 1 - missed / times.total()


def _flat(keys: Sequence[Collection[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    key = np.array([k for item in keys for k in item], dtype=np.int64)
    return key, np.repeat(np.arange(len(keys)), [len(item) for item in keys])


def _require_same_shape(scores: Tensor, relevant: Tensor) -> None:
    if scores.shape != relevant.shape or scores.ndim != 2:
        raise R2D2Error(
            f"scores {tuple(scores.shape)} and relevance {tuple(relevant.shape)} differ: "
            "both must be (queries, items)"
        )


def _require_answers(relevant: Tensor, start: int = 0) -> None:
    empty = (~relevant.any(dim=1)).nonzero()
    if len(empty):
        raise R2D2Error(
            f"query {start + int(empty[0])} has no matching item in the gallery: "
            "remove it, or add the item it belongs to"
        )
