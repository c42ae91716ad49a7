"""Where the second stage puts its candidates, beside what words say of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from r2d2.ranking.two_stage import two_stage_scores
from r2d2.search.first_stage import Doubles, FirstStage
from r2d2.search.second_stage import CandidateScore

STAGES = ("both", "text")  # as candidates stand below each other; then those that were not scored


def second_score(
    weight: float, first: FirstStage, match: Sequence[CandidateScore | None]
) -> Doubles:
    """Weight x match + cosine of the candidates (m,), the first of the results."""
    scores = np.array([m.match if m else 0.0 for m in match], np.float64)
    return two_stage_scores(first.cosine[: len(match)].astype(np.float64), scores, weight)


def second_order(
    first: FirstStage, match: Sequence[CandidateScore | None], score: Doubles
) -> npt.NDArray[np.int64]:
    """The places of all results (n,), best first.

    The second stage sorts the candidates (m,); a cascade's tail falls behind its head, and what
    could not be read behind both. By their new ranks the candidates get the points that they had by
    their cosines' ranks, beside those of the words, which stay. So without words their order is
    that of the second stage, and with the weight 0 that of the first.
    """
    count = len(match)
    stages = np.array([2 if m is None else STAGES.index(m.stage) for m in match], np.int64)
    best_first = np.lexsort((np.arange(count), -score, stages))
    points = np.empty(count)
    points[best_first] = np.sort(first.picture_points[:count])[::-1]
    total = points + first.word_points[:count]
    rank = np.empty(count, np.int64)
    rank[best_first] = np.arange(count)
    order = np.lexsort((rank, -total))
    return np.concatenate([order, np.arange(count, len(first))])
