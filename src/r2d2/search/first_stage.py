"""The first stage of a search: images near by cosine, images found by words, or both fused.

The fusion is by reciprocal rank (Cormack et al., SIGIR 2009): a result gets 1 / (RANK_OFFSET +
rank) from the cosine's list and WORDS_WEIGHT times as much from the words' list, whose equal scores
share a rank. The constants are chosen by `benchmarks/everyday_search.py --choose`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2d2.index.gallery.protocol import Floats, Rows
from r2d2.search.query import Reason

RANK_OFFSET = 1.0
WORDS_WEIGHT = 1.2
FUSED = 200  # of each list; what follows is in the order of cosines
NAMED_SHARE = 0.1  # of a result's points, that a list gives at least to be named as its reason

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FirstStage:
    """The results of one query, best first, (n,) each."""

    rows: Rows
    cosine: Floats  # NaN where pictures were not compared
    word_score: Floats  # BM25; NaN where no word was found
    picture_points: Doubles  # what the rank by cosine is worth in the fusion
    word_points: Doubles  # what the rank by words is worth

    def __len__(self) -> int:
        return len(self.rows)

    def reason(self, position: int) -> Reason:
        """Why the result at a place is there."""
        picture, words = float(self.picture_points[position]), float(self.word_points[position])
        least = NAMED_SHARE * (picture + words)
        if words < least or not words:
            return "picture"
        return "words" if picture < least or not picture else "both"


def by_vectors(rows: Rows, cosine: Floats) -> FirstStage:
    """What the vectors found, as it is."""
    nothing = np.full(len(rows), np.nan, np.float32)
    return FirstStage(rows, cosine, nothing, _points(np.arange(len(rows))), np.zeros(len(rows)))


def by_words(rows: Rows, scores: Floats) -> FirstStage:
    """What the words found, as it is."""
    nothing = np.full(len(rows), np.nan, np.float32)
    points: Doubles = WORDS_WEIGHT * _points(_shared_ranks(scores))
    return FirstStage(rows, nothing, scores, np.zeros(len(rows)), points)


def fuse(near: FirstStage, named: FirstStage, cosine: Floats) -> FirstStage:
    """Both lists in one.

    Args:
        near: `by_vectors`; the first FUSED take part, the others follow.
        named: `by_words`, at most FUSED.
        cosine: (n,) of `named`'s rows.
    """
    head, word_place = near.rows[:FUSED], {int(row): n for n, row in enumerate(named.rows)}
    alone = np.flatnonzero(~np.isin(named.rows, head))
    rest = FUSED + np.flatnonzero(~np.isin(near.rows[FUSED:], named.rows))
    rows = np.concatenate([head, named.rows[alone], near.rows[rest]])
    cosines = np.concatenate([near.cosine[:FUSED], cosine[alone], near.cosine[rest]])
    picture = np.concatenate([near.picture_points[:FUSED], np.zeros(len(alone) + len(rest))])
    positions = np.array([word_place.get(int(row), -1) for row in rows], np.int64)
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
    """The place of each of descending scores, equal ones that of their first."""
    return np.searchsorted(-scores, -scores, side="left").astype(np.int64)
