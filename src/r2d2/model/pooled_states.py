"""Compute several vectors per item: pooled patches of a picture, and the tokens of a text.

Both go through the projections that make the embeddings, so that they lie in the same space.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Head = Callable[[Tensor], Tensor]  # hidden states (..., width) to the space of embeddings (..., d)


def pooled_patches(patches: Tensor, count: int, head: Head) -> Tensor:
    """Average the patches over a square grid of `count` cells, project and normalise them.

    Args:
        patches: (n, P, d_v) hidden states of the square of all patches, row by row.
        count: N, a square number of at most P.
        head: as it makes the embedding of a picture.

    Returns:
        (n, N, d).
    """
    side, cells = math.isqrt(patches.shape[1]), math.isqrt(count)
    grid = patches.mT.reshape(len(patches), -1, side, side)
    pooled = F.adaptive_avg_pool2d(grid, cells).flatten(2).mT
    return F.normalize(head(pooled), dim=-1)


def token_vectors(states: Tensor, real: Tensor, first: int, head: Head) -> tuple[Tensor, Tensor]:
    """Project the tokens of texts, without those that only mark the beginning and the end.

    Args:
        states: (n, S, d_t) hidden states; the last real one is that of the end token.
        real: (n, S) bool, False where a position is padding.
        first: states in front of the first word.
        head: as it makes the embedding of a text.

    Returns:
        (n, S - first, d) of unit length, and (n, S - first) bool, True where a word stands.
    """
    words = real & (torch.arange(real.shape[1], device=real.device) < real.sum(1)[:, None] - 1)
    return F.normalize(head(states[:, first:]), dim=-1), words[:, first:]
