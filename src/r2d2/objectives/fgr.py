"""FGR: fine-grained ranking, which tells matches from hard negatives of the pre-ranking."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def draw_negatives(
    similarity: Tensor, matches: Tensor, uniform_share: float, u: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw one hard negative for each row.

    A candidate that is not a positive is drawn with a probability proportional to the softmax of
    the pre-ranking, mixed with `uniform_share` of a uniform distribution.

    Args:
        similarity: (n, c) f . f / tau.
        matches: (n, c) bool, the positives, which are never drawn.
        uniform_share: in [0, 1].
        u: (n,) uniform in [0, 1).

    Returns:
        Indices (n,) and valid (n,) bool: False where a row has no possible negative.
    """
    valid = ~matches.all(1)
    # Positives are masked before the softmax, because one with a much larger similarity would make
    # the probabilities of all other candidates underflow to 0.
    p = similarity.double().masked_fill(matches, -torch.inf).softmax(1).nan_to_num(0.0)
    uniform = (~matches).double()
    uniform = uniform / uniform.sum(1, keepdim=True).clamp_min(1.0)
    mixed = (1 - uniform_share) * p + uniform_share * uniform
    cumulative = mixed.cumsum(1)
    # Take the first candidate whose cumulative probability exceeds u. Its own probability must be
    # above 0, because the rounding of a parallel cumulative sum may let it rise at a positive.
    hit = (cumulative > u.double()[:, None] * cumulative[:, -1:]) & (mixed > 0)
    index = torch.where(hit.any(1), hit.int().argmax(1), mixed.argmax(1))
    return index, valid


@dataclass(frozen=True)
class BlockedCandidates:
    """The candidates that must not be negatives of n pairs."""

    texts: Tensor  # (n, c) bool, texts of each image
    images: Tensor  # (n, c) bool, images of each text
    unlabelled: Tensor | None = None  # () the share of candidates blocked for being unlabelled


@dataclass(frozen=True)
class HardNegatives:
    """The hard negatives of n pairs, as indices of c candidates."""

    images: Tensor  # (n,) int64, an image that does not match, for each text
    texts: Tensor  # (n,) int64, a text that does not match, for each image
    # (n,) bool, False where a text has no possible image, or an image no possible text; `images`
    # and `texts` then have the index of the pair itself
    has_image: Tensor
    has_text: Tensor


def negatives_of(
    image_to_text: Tensor,
    text_to_image: Tensor,
    blocked: BlockedCandidates,
    pair_index: Tensor,
    uniform_share: float,
    u_text: Tensor,
    u_image: Tensor,
) -> HardNegatives:
    """Draw a text that does not match for every image, and an image for every text.

    Args:
        image_to_text: (n, c) f_I . f_T / tau, the images of n pairs with every candidate's text.
        text_to_image: (n, c) f_T . f_I / tau, their texts with every candidate's image.
        blocked: candidates that may not be drawn.
        pair_index: (n,) int64, the index of each pair among the candidates.
        uniform_share: see `draw_negatives`.
        u_text: (n,) uniform in [0, 1), for drawing texts.
        u_image: (n,) uniform in [0, 1), for drawing images.
    """
    texts, has_text = draw_negatives(image_to_text, blocked.texts, uniform_share, u_text)
    images, has_image = draw_negatives(text_to_image, blocked.images, uniform_share, u_image)
    images = torch.where(has_image, images, pair_index)
    texts = torch.where(has_text, texts, pair_index)
    return HardNegatives(images, texts, has_image, has_text)


def pairs_to_rank(negatives: HardNegatives) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """List the pairs to rank: the n positives, each image with its negative, each text likewise.

    Args:
        negatives: of the pairs 0 to n - 1.

    Returns:
        (image indices (m,), text indices (m,)) and labels (m,) int64, 1 for match. m is 3n minus 1
        for each image and each text that has no possible negative.
    """
    has_image, has_text = negatives.has_image, negatives.has_text
    index = torch.arange(len(has_text), device=has_text.device)
    image_index = torch.cat([index, index[has_text], negatives.images[has_image]])
    text_index = torch.cat([index, negatives.texts[has_text], index[has_image]])
    labels = torch.zeros_like(image_index)
    labels[: len(index)] = 1
    return (image_index, text_index), labels


def ranking_weight(blocked: BlockedCandidates, positive_weight: float) -> Tensor:
    """Return the sum of the weights, (), of the pairs that `pairs_to_rank` will list.

    It does not depend on which negatives are drawn, so it is known before the draw.

    Args:
        blocked: candidates of n pairs that may not be drawn.
        positive_weight: the weight of class 1, match; class 0 has weight 1.
    """
    negatives = (~blocked.texts.all(1)).sum() + (~blocked.images.all(1)).sum()
    return positive_weight * len(blocked.texts) + negatives.float()


def fgr(
    text_logits: Tensor,
    image_logits: Tensor,
    labels: Tensor,
    weights: float | Tensor,
    total: Tensor | None = None,
) -> Tensor:
    """L_FGR = 1/2 [CE(y, p_T) + CE(y, p_I)], each a weighted mean, so that chance level is ln 2.

    Args:
        text_logits: (m, 2) of p_T.
        image_logits: (m, 2) of p_I.
        labels: (m,) int64, 1 for match.
        weights: (m,) the weight of each pair; or the weight of class 1, while class 0 has 1.
        total: () the sum of weights to divide by, with several processes the average of their sums;
            None: the sum over these pairs.
    """
    if not isinstance(weights, Tensor):
        weights = torch.where(labels == 1, weights, 1.0)
    both = F.cross_entropy(text_logits.float(), labels, reduction="none")
    both = both + F.cross_entropy(image_logits.float(), labels, reduction="none")
    return (weights * both).sum() / (2 * (weights.sum() if total is None else total))


def mean_head_loss(text_logits: Tensor, image_logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the matching loss of the official code: cross entropy with (p_T + p_I) / 2 as logits.

    The probabilities go through a second softmax, so the loss lies between 0.313 and 1.313, and
    chance level is ln 2.

    Args:
        text_logits: (m, 2) of p_T.
        image_logits: (m, 2) of p_I.
        labels: (m,) int64, 1 for match.
    """
    mean = (text_logits.float().softmax(1) + image_logits.float().softmax(1)) / 2
    return F.cross_entropy(mean, labels)
