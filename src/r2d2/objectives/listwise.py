"""Listwise ranking: of the pairs of a block, each with each, the right ones must score best.

The score is that of both stages, f_I . f_T / tau plus what the cross encoders say. The cross
encoders therefore learn what the pre-ranking does not know yet. Without its score they would learn
first to read the [CLS] states that the embeddings come from, and repeat its mistakes.

A block is `size` consecutive pairs of the global batch. All its images are scored with
all its texts, so that every pair that the cross encoders score is in two lists: that of its
image, with the texts of the block, and that of its text, with the images of the block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.objectives.fgr import BlockedCandidates
from r2d2.objectives.precision import exact


@dataclass(frozen=True)
class BlockNegatives:
    """The pairs of blocks that are negatives, (b, m, m) bool of image i with text j."""

    texts: Tensor  # whether text j is a negative of image i
    images: Tensor  # whether image i is a negative of text j


def block_pairs(pairs: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Every image of a block with every text of it, the n right pairs first.

    Args:
        pairs: n, a multiple of `size`.
        size: m, pairs of a block.
        device: of the result.

    Returns:
        Image indices and text indices (m * n,): r * n + i is image i with the text that stands r
        places after its own, counted round within the block.
    """
    own = torch.arange(pairs, device=device)
    further = torch.arange(size, device=device)[:, None]
    texts = own - own % size + (own % size + further) % size
    return own.repeat(size), texts.flatten()


def as_blocks(scores: Tensor, size: int) -> Tensor:
    """Scores of `block_pairs` (m * n,) as matrices (n / m, m, m): image by text."""
    by_distance = scores.view(size, -1, size)  # r, block, image
    positions = torch.arange(size, device=scores.device)
    distance = (positions[None, :] - positions[:, None]) % size  # image by text
    return by_distance[distance, :, positions[:, None]].permute(2, 0, 1)


def in_order(blocks: Tensor, images: Tensor, texts: Tensor) -> Tensor:
    """Entries (m * n,) of matrices (n / m, m, m) in the order of `block_pairs`."""
    size = blocks.shape[-1]
    return blocks[images // size, images % size, texts % size]


def log_odds(logits: Tensor) -> Tensor:
    """The logarithm of p / (1 - p) for a match, (k,), of logits (k, 2)."""
    return logits[:, 1] - logits[:, 0]


@exact
def similarity_of_blocks(images: Tensor, texts: Tensor, temperature: Tensor, size: int) -> Tensor:
    """f_I . f_T / tau within blocks, (n / m, m, m); tau takes no gradient through it.

    Args:
        images: (n, d) f_I.
        texts: (n, d) f_T.
        temperature: tau.
        size: m.
    """
    blocks = (x.view(-1, size, x.shape[-1]) for x in (images / temperature.detach(), texts))
    return torch.einsum("bid,bjd->bij", *blocks).float()


def diagonal_blocks(matrix: Tensor, size: int) -> Tensor:
    """The entries of a matrix (n, n) that lie within blocks, (n / m, m, m).

    Args:
        matrix: (n, n).
        size: m.
    """
    count = len(matrix) // size
    blocks = matrix.view(count, size, count, size)
    return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def negatives_of_blocks(blocked: BlockedCandidates, size: int) -> BlockNegatives:
    """Return which pairs of blocks are negatives.

    Args:
        blocked: of n pairs that are the candidates of one another, (n, n).
        size: m.
    """
    texts, images = (~diagonal_blocks(x, size) for x in (blocked.texts, blocked.images))
    return BlockNegatives(texts, images.mT)


def listwise(scores: Tensor, negatives: BlockNegatives) -> Tensor:
    """L = 1/2 mean_i [CE(i, s(I_i, .)) + CE(i, s(T_i, .))] over the candidates of each block.

    A candidate that is not a negative of the row, nor its own, is not in its list. A row without
    any negative adds 0.

    Args:
        scores: (b, m, m) of image i with text j; the right pairs on the diagonal.
        negatives: of the same blocks.
    """
    own = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    scores = scores.float()
    right = scores.diagonal(dim1=1, dim2=2)
    texts = scores.masked_fill(~(negatives.texts | own), -torch.inf).logsumexp(2)
    images = scores.masked_fill(~(negatives.images | own), -torch.inf).logsumexp(1)
    return ((texts - right) + (images - right)).mean() / 2


def pair_weights(negatives: BlockNegatives, positive_weight: float) -> Tensor:
    """What each pair of a block weighs in FGR, (b, m, m): all wrong ones of a row together as one.

    So an image's wrong texts weigh 1 together, and a text's wrong images likewise, as the single
    ones do that are drawn without blocks.

    Args:
        negatives: of the blocks.
        positive_weight: of the right pairs.
    """
    texts, images = negatives.texts, negatives.images
    shared = texts / texts.sum(2, keepdim=True).clamp_min(1)
    shared = shared + images / images.sum(1, keepdim=True).clamp_min(1)
    own = torch.eye(texts.shape[-1], device=texts.device)
    return torch.where(texts | images, shared, positive_weight * own)
