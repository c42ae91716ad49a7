"""A cascade: the cheap cross encoder ranks all candidates, both of them the head of that list.

Of the two cross encoders the text-to-image one costs a fraction, since a text has fewer states than
a picture. Its order of the k candidates is

    weight x p_T + cosine,

and only the first of it, the head, are scored by both:

    weight x (p_T + p_I) / 2 + cosine.

The head stands above the tail, whatever their scores; the tail keeps its order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cascade:
    """What the cheap half says of the candidates of q queries."""

    text: Tensor  # (q, k) p_T of each candidate
    head: int  # how many of them both cross encoders score

    def in_head(self, cosine: Tensor, weight: float) -> Tensor:
        """Which candidates are the head under a weight, (q, k) bool; equals as they pre-rank.

        A score that is not finite takes a place from the others, as in pre-ranking.
        """
        scores = self._cheap(cosine, weight)
        scores = scores.masked_fill(~torch.isfinite(scores), torch.inf)
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, : self.head]
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)

    def scores(self, cosine: Tensor, match: Tensor, weight: float) -> Tensor:
        """By which the candidates are ranked, (q, k) float64.

        Args:
            cosine: (q, k), best first.
            match: (q, k) score of both cross encoders; read in the head only.
            weight: of the match score.
        """
        if weight == 0:
            return cosine.double()
        both = weight * match.double() + cosine.double()
        # Cosines are -1 to 1 and match scores 0 to 1: no score of a tail reaches that of a head.
        below = self._cheap(cosine, weight) - (3 + weight)
        return torch.where(self.in_head(cosine, weight), both, below)

    def _cheap(self, cosine: Tensor, weight: float) -> Tensor:
        return weight * self.text.double() + cosine.double()
