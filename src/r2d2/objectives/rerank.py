"""The second stage teaches the towers: its scores of a block's pairs are a target for theirs.

The teacher is the score of both stages that `listwise` uses, f_I . f_T / tau plus the log odds of
the match heads, without gradient. What learns is f_I . f_T / tau of the same pairs, by its
embeddings alone. `kl` hands over the distribution (arXiv 2601.04720). `order` hands over the order
alone, for the scores of a cross encoder are distributed otherwise than cosines (arXiv 2407.07479).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def judged_pairs(matches: Tensor, masked_texts: Tensor) -> Tensor:
    """Which pairs of blocks the teacher judges, (b, m, m) bool: the right ones and the wrong ones.

    A candidate that is a positive of the row, but not its own, is not judged, as in `listwise`. Nor
    is a text that the second stage reads masked: there the teacher would know less than the towers.

    Args:
        matches: (b, m, m) bool, the positives among the pairs of blocks.
        masked_texts: (b * m,) bool.
    """
    own = torch.eye(matches.shape[-1], dtype=torch.bool, device=matches.device)
    read_whole = ~masked_texts.view(-1, 1, matches.shape[-1])
    return (~matches | own) & read_whole


def rerank(student: Tensor, teacher: Tensor, judged: Tensor, loss: str) -> Tensor:
    """L = 1/2 mean_i [l(I_i, .) + l(T_i, .)] over the candidates of each block, ().

    A row with fewer than two judged candidates adds 0.

    Args:
        student: (b, m, m) f_I . f_T / tau of image i with text j; the right pairs on the diagonal.
        teacher: (b, m, m) of both stages, without gradient.
        judged: (b, m, m) bool, of `judged_pairs`.
        loss: kl or order.
    """
    of_rows = _divergence if loss == "kl" else _order
    images = of_rows(student.float(), teacher.float(), judged)
    texts = of_rows(student.float().mT, teacher.float().mT, judged.mT)
    return (images + texts).mean() / 2


def _divergence(student: Tensor, teacher: Tensor, judged: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) of each row, (b, m)."""
    log_p, log_q = _log_softmax(teacher, judged), _log_softmax(student, judged)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def _log_softmax(scores: Tensor, judged: Tensor) -> Tensor:
    """Of each row over its judged candidates; 0 at the others, which then add nothing."""
    left_out = ~judged & judged.any(-1, keepdim=True)  # a row without any is finite, too
    return scores.masked_fill(left_out, -torch.inf).log_softmax(-1).masked_fill(~judged, 0.0)


def _order(student: Tensor, teacher: Tensor, judged: Tensor) -> Tensor:
    """The pairwise logistic loss (RankNet's) of each row, (b, m).

    The mean of log(1 + exp(s_k - s_j)) over the candidates j and k of which the teacher puts j
    before k. Where it puts a wrong one before the right one it is not followed: the contrast, which
    knows the right one, would pull the other way.
    """
    own = torch.eye(judged.shape[-1], dtype=torch.bool, device=judged.device)[:, None, :]
    before = teacher[..., :, None] > teacher[..., None, :]  # (b, m, j, k)
    before = before & judged[..., :, None] & (judged[..., None, :] & ~own)
    gaps = student[..., :, None] - student[..., None, :]
    losses = F.softplus(-gaps).masked_fill(~before, 0.0)
    return losses.sum((-2, -1)) / before.sum((-2, -1)).clamp_min(1)
