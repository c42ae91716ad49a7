"""The first stage of a search: the nearest images by cosine, the images found by words, or both.

The two lists are joined by reciprocal rank fusion (Cormack et al., SIGIR 2009). A result gets
1 / (RANK_OFFSET + rank) points from the list by cosine. It gets WORDS_WEIGHT times as many from the
list by words, in which equal scores have the same rank. `benchmarks/everyday_search.py --choose`
chooses the constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2d2.index.gallery.protocol import Floats, Rows
from r2d2.search.query import Reason

RANK_OFFSET = 1.0
WORDS_WEIGHT = 1.2
FUSED = 200  # the number of results of each list that are joined; the others follow by cosine
NAMED_SHARE = 0.1  # a list is a reason for a result if it gave at least this share of its points

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FirstStage:
    """The n results of one query, the best first; each array is (n,)."""

    rows: Rows
    cosine: Floats  # NaN where pictures were not compared
    word_score: Floats  # BM25; NaN where no word was found
    picture_points: Doubles  # the points for the rank by cosine
    word_points: Doubles  # the points for the rank by words

    def __len__(self) -> int:
        return len(self.rows)

    def reason(self, position: int) -> Reason:
        """Return why the result at a position was found."""
        picture, words = float(self.picture_points[position]), float(self.word_points[position])
        least = NAMED_SHARE * (picture + words)
        if words < least or not words:
            return "picture"
        return "words" if picture < least or not picture else "both"


def by_vectors(rows: Rows, cosine: Floats) -> FirstStage:
    """Return the list by vectors alone."""
    nothing = np.full(len(rows), np.nan, np.float32)
    return FirstStage(rows, cosine, nothing, _points(np.arange(len(rows))), np.zeros(len(rows)))


def by_words(rows: Rows, scores: Floats) -> FirstStage:
    """Return the list by words alone."""
    nothing = np.full(len(rows), np.nan, np.float32)
    points: Doubles = WORDS_WEIGHT * _points(_shared_ranks(scores))
    return FirstStage(rows, nothing, scores, np.zeros(len(rows)), points)


def fuse(near: FirstStage, named: FirstStage, cosine: Floats) -> FirstStage:
    """Join both lists.

    Args:
        near: from `by_vectors`; its first FUSED results are joined, and the others follow.
        named: from `by_words`, at most FUSED results.
        cosine: (n,) the cosines of the rows of `named`.
    """
    head, word_position = near.rows[:FUSED], {int(row): n for n, row in enumerate(named.rows)}
    alone = np.flatnonzero(~np.isin(named.rows, head))
    rest = FUSED + np.flatnonzero(~np.isin(near.rows[FUSED:], named.rows))
    rows = np.concatenate([head, named.rows[alone], near.rows[rest]])
    cosines = np.concatenate([near.cosine[:FUSED], cosine[alone], near.cosine[rest]])
    picture = np.concatenate([near.picture_points[:FUSED], np.zeros(len(alone) + len(rest))])
    positions = np.array([word_position.get(int(row), -1) for row in rows], np.int64)
    has_words = positions >= 0
    scores = np.full(len(rows), np.nan, np.float32)
    words = np.zeros(len(rows))
    scores[has_words], words[has_words] = (
        named.word_score[positions[has_words]],
        named.word_points[positions[has_words]],
    )
    order = np.lexsort((np.arange(len(rows)), -cosines, -(picture + words)))
    return FirstStage(rows[order], cosines[order], scores[order], picture[order], words[order])


def _points(ranks: npt.NDArray[np.int64]) -> Doubles:
    points: Doubles = 1.0 / (RANK_OFFSET + 1.0 + ranks.astype(np.float64))
    return points


def _shared_ranks(scores: Floats) -> npt.NDArray[np.int64]:
    """Return the ranks of descending scores, from 0; equal scores have the same rank."""
    return np.searchsorted(-scores, -scores, side="left").astype(np.int64)
