"""Unlabelled instead of negative: candidates that are nearer to a query than its own positive.

A corpus of the web holds the same thing under several ids. Where the towers find a candidate more
similar to a query than the query's positive is, by more than a margin, it may well be a match that
nobody noted. It is then neither a positive nor a negative of this query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.objectives.precision import exact


@dataclass(frozen=True)
class UnlabelledCandidates:
    """Which candidates are neither positives nor negatives of the queries of n pairs."""

    texts: Tensor  # (n, c) bool, texts of each image
    images: Tensor  # (n, c) bool, images of each text

    @property
    def directions(self) -> tuple[Tensor, Tensor]:
        """Both, image to text first."""
        return self.texts, self.images

    @property
    def share(self) -> Tensor:
        """Of all candidates of both directions, ()."""
        return (self.texts.float().mean() + self.images.float().mean()) / 2


@exact
def nearer_than_own(
    queries: Tensor, own: Tensor, candidates: Tensor, matches: Tensor, margin: float
) -> Tensor:
    """Candidates whose cosine with a query exceeds that of its own positive by more than a margin.

    Args:
        queries: (n, d).
        own: (n, d), the positive of each query.
        candidates: (c, d).
        matches: (n, c) bool, positives and whatever else is no negative anyway: never found here.
        margin: in cosine; below 0, candidates that are a little less similar are found, too.

    Returns:
        (n, c) bool, without gradient.
    """
    with torch.no_grad():
        least = (queries * own).sum(1, keepdim=True).float() + margin
        return ((queries @ candidates.T).float() > least) & ~matches


def log_softmax_without(logits: Tensor, left_out: Tensor | None) -> Tensor:
    """Log softmax of each row (n, c) over the candidates that are not left out; 0 at the others.

    `left_out`: (n, c) bool, never a whole row; None: all candidates count.
    """
    if left_out is None:
        return logits.log_softmax(1)
    return logits.masked_fill(left_out, -torch.inf).log_softmax(1).masked_fill(left_out, 0.0)
