"""GCPR: global contrastive pre-ranking, and what counts as a positive."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from r2d2.objectives.precision import exact

# Joins a tensor (n, ...) over ranks to (N, ...), with gradient; the identity on one process.
Gather = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """`Gather` of one process."""
    return x


def positives(keys: Tensor, candidate_keys: Tensor) -> Tensor:
    """m_ij: which candidates are a positive of which row.

    Short queries and labels repeat, and an image has several texts: whatever shares the image, or
    the text after normalising, must not be a negative.

    Args:
        keys: (n, k) int64, image key and text key of each pair, perhaps a second text's too.
        candidate_keys: (N, k) int64, the candidates'.

    Returns:
        (n, N) bool.
    """
    return (keys[:, None, :] == candidate_keys[None, :, :]).any(-1)


def hard_targets(matches: Tensor) -> Tensor:
    """y_ij = m_ij / sum_j m_ij, (n, N) float32."""
    y = matches.float()
    return y / y.sum(1, keepdim=True)


@exact
def gcpr(
    images: Tensor, texts: Tensor, keys: Tensor, temperature: Tensor, gather: Gather = identity
) -> Tensor:
    """L_GCPR = 1/2 mean_i [CE(y_i, s(I_i, .)) + CE(y_i, s(T_i, .))].

    Args:
        images: (n, d) f_I.
        texts: (n, d) f_T.
        keys: (n, 2) int64, image key and text key.
        temperature: tau.
        gather: joins the ranks' features, with gradient.
    """
    y = hard_targets(positives(keys, gather(keys)))
    image_to_text = (images @ gather(texts).T / temperature).float().log_softmax(1)
    text_to_image = (texts @ gather(images).T / temperature).float().log_softmax(1)
    return -(y * (image_to_text + text_to_image)).sum(1).mean() / 2


@exact
def similarity(queries: Tensor, candidates: Tensor, temperature: Tensor) -> Tensor:
    """F . f / tau, (n, c), without gradient: what negatives are drawn by."""
    with torch.no_grad():
        return (queries @ candidates.T / temperature).float()
