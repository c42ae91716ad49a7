"""GCPR: global contrastive pre-ranking, and the definition of a positive."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from r2d2.objectives.precision import exact
from r2d2.objectives.unlabelled import UnlabelledCandidates, log_softmax_without

# Joins a tensor (n, ...) over ranks to (N, ...), with gradient; the identity on one process.
Gather = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """Return the tensor itself: the `Gather` of one process."""
    return x


def positives(keys: Tensor, candidate_keys: Tensor) -> Tensor:
    """Return m_ij: whether candidate j is a positive of row i.

    Short queries and labels occur in many pairs, and an image can have several texts. A pair with
    the same image, or with the same text after normalising, must not be a negative.

    Args:
        keys: (n, k) int64, the image key and the text keys of each pair.
        candidate_keys: (N, k) int64, those of the candidates.

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
    images: Tensor,
    texts: Tensor,
    keys: Tensor,
    temperature: Tensor,
    gather: Gather = identity,
    unlabelled: UnlabelledCandidates | None = None,
) -> Tensor:
    """L_GCPR = 1/2 mean_i [CE(y_i, s(I_i, .)) + CE(y_i, s(T_i, .))].

    Args:
        images: (n, d) f_I.
        texts: (n, d) f_T.
        keys: (n, 2) int64, image key and text key.
        temperature: tau.
        gather: joins the ranks' features, with gradient.
        unlabelled: candidates (n, N) that are left out of the softmax; None: none are.
    """
    y = hard_targets(positives(keys, gather(keys)))
    of_images, of_texts = (None, None) if unlabelled is None else unlabelled.directions
    image_to_text = (images @ gather(texts).T / temperature).float()
    text_to_image = (texts @ gather(images).T / temperature).float()
    image_to_text = log_softmax_without(image_to_text, of_images)
    text_to_image = log_softmax_without(text_to_image, of_texts)
    return -(y * (image_to_text + text_to_image)).sum(1).mean() / 2


@exact
def similarity(queries: Tensor, candidates: Tensor, temperature: Tensor) -> Tensor:
    """Return f . f / tau, (n, c), without gradient; negatives are drawn by it."""
    with torch.no_grad():
        return (queries @ candidates.T / temperature).float()
