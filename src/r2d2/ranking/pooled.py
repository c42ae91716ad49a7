"""The middle stage: candidates by vectors are ranked again by cosine + weight x MaxSim.

MaxSim (ColBERT, arXiv 2004.12832) looks for each word of a text at the pooled state of a picture
that is most like it. The best k of the candidates go on to the cross encoders; the others stand
below these, and above everything that was no candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.ranking.blocks import best_places
from r2d2.ranking.first_stage import Candidates
from r2d2.ranking.metrics import published_ranks, two_stage_ranks
from r2d2.ranking.two_stage import two_stage_scores


def maxsim(tokens: Tensor, words: Tensor, pooled: Tensor) -> Tensor:
    """The mean over a text's words of the largest cosine with one of a picture's pooled states.

    Args:
        tokens: (p, L, d) of unit length, of the text of each pair.
        words: (p, L) bool, which of them count; a text without any gets 0.
        pooled: (p, N, d) of unit length, of the picture of each pair.

    Returns:
        (p,) float32. It is computed in float64, so that equal items have equal scores.
    """
    largest = torch.einsum("pld,pnd->pln", tokens.double(), pooled.double()).amax(dim=2)
    count = words.sum(dim=1).clamp(min=1)
    return (largest.masked_fill(~words, 0.0).sum(dim=1) / count).float()


@dataclass(frozen=True)
class PooledCandidates:
    """The first stage and the middle stage of one direction; the weight can still be chosen."""

    first: Candidates  # the k best by cosine
    wide: Candidates  # the m best, m >= k, which the middle stage ranks again
    maxsim: Tensor  # (q, m) of each of these

    def scores(self, weight: float) -> Tensor:
        """The scores that rank the m candidates, (q, m) float64."""
        return two_stage_scores(self.wide.cosine.double(), self.maxsim.double(), weight)

    def ranks(self, weight: float) -> Tensor:
        """Rank of each query's best match after the middle stage, (q,) int64."""
        if weight == 0:
            return self.first.ranks
        return two_stage_ranks(self.scores(weight), self.wide.relevant, self.wide.below)

    def published(self, weight: float) -> Tensor:
        """The same as the official code counts it, (q,) int64."""
        if weight == 0:
            return self.first.published
        scores, own = self.scores(weight), self.wide.own
        ranks = published_ranks(scores, own, self.wide.items)
        outside = self.wide.published.clamp(min=scores.shape[1] + 1)
        return torch.where((own & torch.isfinite(scores)).any(dim=1), ranks, outside)

    def best(self, weight: float) -> Candidates:
        """The k candidates that the middle stage gives to the second, best first.

        Their `cosine` is the score of the middle stage, to which the second adds its own. Of equal
        scores the one with the higher cosine comes first. A weight of 0 gives the first stage.
        """
        if weight == 0:
            return self.first
        wide, scores = self.wide, self.scores(weight)
        order = scores.masked_fill(~torch.isfinite(scores), torch.inf)
        chosen, best = best_places(order, self.first.items.shape[1])
        # As in the first stage: the best match outside stands below all that score as high.
        usable = wide.relevant & ~chosen & torch.isfinite(scores)
        highest = scores.masked_fill(~usable, -torch.inf).amax(dim=1, keepdim=True)
        below = 1 + (~wide.relevant & (order >= highest)).sum(dim=1)
        return Candidates(
            items=wide.items.gather(1, best),
            cosine=scores.gather(1, best),
            relevant=wide.relevant.gather(1, best),
            ranks=self.ranks(weight),
            below=torch.where(usable.any(dim=1), below, wide.below),
            own=wide.own.gather(1, best),
            published=self.published(weight),
        )
