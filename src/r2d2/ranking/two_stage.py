"""Two-stage ranking: candidates by cosine are ranked again by weight x match score + cosine.

A cascade saves work in the second stage. Of the two cross encoders the text-to-image one costs a
fraction of the other, since a text has fewer states than an image. It orders the k candidates by

    weight x p_T + cosine,

and only the first of these, the head, are scored by both:

    weight x (p_T + p_I) / 2 + cosine.

The head stands above the tail, whatever their scores; the tail keeps its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r2d2.ranking.first_stage import Candidates
from r2d2.ranking.metrics import published_ranks, recalls, two_stage_ranks

# Cosines of a trained model differ by some hundredths among the candidates, match scores by up to
# 1. So the useful range lies between "the match score breaks ties" and "it decides alone", and the
# grid is about even in the logarithm. 0 is the first stage alone, 1 the official setting.
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Scores = TypeVar("Scores", Tensor, NDArray[np.float64])


def two_stage_scores(cosine: Scores, match: Scores, weight: float) -> Scores:
    """The score of each candidate in the second stage, of the shape of both."""
    return weight * match + cosine


def below_candidates(cosine: Tensor, weight: float) -> Tensor:
    """Scores, by cosine, for items that must stand below all candidates, a cascade's tail too."""
    # Cosines lie within -1 and 1, match scores within 0 and 1: no tail is below -(4 + weight).
    return cosine - 2 * (4 + weight)


@dataclass(frozen=True)
class Cascade:
    """The scores of the cheaper cross encoder for the candidates of q queries."""

    text: Tensor  # (q, k) p_T of each candidate
    head: int  # how many of them both cross encoders score

    def in_head(self, cosine: Tensor, weight: float) -> Tensor:
        """Which candidates are the head under a weight, (q, k) bool; equals in the given order.

        A score that is not finite takes a place from the others, as in the first stage.
        """
        scores = self._by_text(cosine, weight)
        scores = scores.masked_fill(~torch.isfinite(scores), torch.inf)
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, : self.head]
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)

    def scores(self, cosine: Tensor, match: Tensor, weight: float) -> Tensor:
        """The scores that rank the candidates, (q, k) float64.

        Args:
            cosine: (q, k), best first.
            match: (q, k) score of both cross encoders; read in the head only.
            weight: of the match score.
        """
        if weight == 0:
            return cosine.double()
        both = two_stage_scores(cosine.double(), match.double(), weight)
        # By text a head scores at least as high as a tail, and match scores lie within 0 and 1, so
        # that no tail reaches a head, whatever the cosines are.
        tail = self._by_text(cosine, weight) - (3 + weight)
        return torch.where(self.in_head(cosine, weight), both, tail)

    def _by_text(self, cosine: Tensor, weight: float) -> Tensor:
        return two_stage_scores(cosine.double(), self.text.double(), weight)


class WeightedRanking(Protocol):
    """One direction after a stage whose weight can still be chosen."""

    def ranks(self, weight: float) -> Tensor:
        """Rank of each query's best match under a weight, (q,) int64."""


@dataclass(frozen=True)
class MatchedCandidates:
    """Both stages of one direction; the weight between them can still be chosen."""

    candidates: Candidates
    match: Tensor  # (q, k) match score of each candidate; in a cascade NaN where it is unknown
    cascade: Cascade | None = None

    def scores(self, weight: float) -> Tensor:
        """The scores that rank the candidates, (q, k)."""
        if self.cascade is not None:
            return self.cascade.scores(self.candidates.cosine, self.match, weight)
        return two_stage_scores(self.candidates.cosine, self.match, weight)

    def ranks(self, weight: float) -> Tensor:
        """Two-stage rank of each query's best match, (q,) int64."""
        first = self.candidates
        return two_stage_ranks(self.scores(weight), first.relevant, first.below)

    def published(self, weight: float) -> Tensor:
        """The same as the official code counts it, (q,) int64; k + 1 where none is a candidate."""
        first = self.candidates
        return published_ranks(self.scores(weight), first.own, first.items)


def sweep_weights(
    i2t: WeightedRanking | None, t2i: WeightedRanking, weights: Sequence[float] = WEIGHTS
) -> dict[float, float]:
    """R@M in % after a stage, under each weight."""
    return {
        w: recalls(None if i2t is None else i2t.ranks(w), t2i.ranks(w))["r_mean"] for w in weights
    }


def best_weight(curve: Mapping[float, float]) -> float:
    """The weight with the highest R@M of `sweep_weights`, the smallest of several.

    It is for the validation split only, never for a test split.
    """
    return min(curve, key=lambda weight: (-curve[weight], weight))
