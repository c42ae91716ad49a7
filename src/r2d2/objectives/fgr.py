"""FGR: fine-grained ranking, match or not, against hard negatives from the pre-ranking."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def draw_negatives(
    similarity: Tensor, matches: Tensor, uniform_share: float, u: Tensor
) -> tuple[Tensor, Tensor]:
    """One hard negative a row, all rows in one draw.

    A candidate that is no positive is drawn with probability proportional to the pre-ranking
    softmax, mixed with `uniform_share` of an even chance.

    Args:
        similarity: (n, c) f . f / tau.
        matches: (n, c) bool, positives, never drawn.
        uniform_share: in [0, 1].
        u: (n,) uniform in [0, 1).

    Returns:
        Indices (n,) and valid (n,) bool: False where a row has no possible negative.
    """
    valid = ~matches.all(1)
    # Masked before the softmax: a positive far ahead must not leave only underflow behind.
    p = similarity.double().masked_fill(matches, -torch.inf).softmax(1).nan_to_num(0.0)
    even = (~matches).double()
    even = even / even.sum(1, keepdim=True).clamp_min(1.0)
    mixed = (1 - uniform_share) * p + uniform_share * even
    cumulative = mixed.cumsum(1)
    # The first candidate whose cumulative mass passes the point. Its own mass
    # must be above 0, for a parallel cumulative sum may round a positive above its neighbour.
    hit = (cumulative > u.double()[:, None] * cumulative[:, -1:]) & (mixed > 0)
    index = torch.where(hit.any(1), hit.int().argmax(1), mixed.argmax(1))
    return index, valid


@dataclass(frozen=True)
class HardNegatives:
    """The negatives that n pairs drew, as indices of c candidates."""

    images: Tensor  # (n,) int64, a wrong image for each text
    texts: Tensor  # (n,) int64, a wrong text for each image
    valid: Tensor  # (n,) bool, False where a pair has no possible negative: its own index is given


def negatives_of(
    image_to_text: Tensor,
    text_to_image: Tensor,
    blocked: Tensor,
    own: Tensor,
    uniform_share: float,
    u_text: Tensor,
    u_image: Tensor,
) -> HardNegatives:
    """For every image a wrong text, and for every text a wrong image.

    Args:
        image_to_text: (n, c) f_I . f_T / tau, the images of n pairs with every candidate's text.
        text_to_image: (n, c) f_T . f_I / tau, their texts with every candidate's image.
        blocked: (n, c) bool, candidates that may not be drawn; the same for both directions.
        own: (n,) int64, the pairs' own indices among the candidates.
        uniform_share: see `draw_negatives`.
        u_text: (n,) uniform, for the texts drawn.
        u_image: (n,) uniform, for the images drawn.
    """
    texts, valid = draw_negatives(image_to_text, blocked, uniform_share, u_text)
    images, _ = draw_negatives(text_to_image, blocked, uniform_share, u_image)
    return HardNegatives(torch.where(valid, images, own), torch.where(valid, texts, own), valid)


def pairs_to_rank(negatives: HardNegatives) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The n positives, then for every image a wrong text, then for every text a wrong image.

    Args:
        negatives: of the pairs 0 to n - 1.

    Returns:
        (image indices (m,), text indices (m,)) and labels (m,) int64, 1 for match; m = 3n less two
        for each pair that has no possible negative.
    """
    valid = negatives.valid
    own = torch.arange(len(valid), device=valid.device)
    image_index = torch.cat([own, own[valid], negatives.images[valid]])
    text_index = torch.cat([own, negatives.texts[valid], own[valid]])
    labels = torch.zeros_like(image_index)
    labels[: len(own)] = 1
    return (image_index, text_index), labels


def ranking_weight(blocked: Tensor, positive_weight: float) -> Tensor:
    """The sum of weights of the pairs that `pairs_to_rank` will give, (), before they are drawn.

    Args:
        blocked: (n, c) bool, what may not be drawn.
        positive_weight: of class 1.
    """
    return positive_weight * len(blocked) + 2 * (~blocked.all(1)).sum().float()


def fgr(
    text_logits: Tensor,
    image_logits: Tensor,
    labels: Tensor,
    weights: float | Tensor,
    total: Tensor | None = None,
) -> Tensor:
    """L_FGR = 1/2 [CE(y, p_T) + CE(y, p_I)], each over its sum of weights, so that chance is ln 2.

    Args:
        text_logits: (m, 2) of p_T.
        image_logits: (m, 2) of p_I.
        labels: (m,) int64, 1 for match.
        weights: (m,), of each pair, or that of class 1, where class 0 has 1.
        total: () the sum of weights; None: these pairs' own. Of several processes, their average.
    """
    if not isinstance(weights, Tensor):
        weights = torch.where(labels == 1, weights, 1.0)
    both = F.cross_entropy(text_logits.float(), labels, reduction="none")
    both = both + F.cross_entropy(image_logits.float(), labels, reduction="none")
    return (weights * both).sum() / (2 * (weights.sum() if total is None else total))


def mean_head_loss(text_logits: Tensor, image_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of (p_T + p_I) / 2 taken for logits, as the official matching computes it.

    It goes through a softmax twice, so that it lies between 0.313 and 1.313; chance is ln 2.

    Args:
        text_logits: (m, 2) of p_T.
        image_logits: (m, 2) of p_I.
        labels: (m,) int64, 1 for match.
    """
    mean = (text_logits.float().softmax(1) + image_logits.float().softmax(1)) / 2
    return F.cross_entropy(mean, labels)
