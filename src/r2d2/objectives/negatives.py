"""Among which pairs FGR draws its negatives: the whole global batch, or groups of it."""

from __future__ import annotations

import torch
from torch import Tensor

from r2d2.keyed import Draw, uniform
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.objectives.collectives import SINGLE_PROCESS, Collectives
from r2d2.objectives.fgr import HardNegatives, negatives_of
from r2d2.objectives.gcpr import positives, similarity


def sources(pairs: int, context: StepContext, ranks: Collectives) -> Collectives:
    """The processes whose pairs are the candidates of a forward pass over so many pairs.

    Where each group of negatives lies within one process, that process alone: nothing is sent.
    """
    size = context.group_size
    return SINGLE_PROCESS if size and pairs % size == 0 else ranks


def blocked_candidates(batch: TrainingBatch, context: StepContext, ranks: Collectives) -> Tensor:
    """What FGR may not draw as a negative: positives, and pairs of another group.

    Args:
        batch: n pairs, of this process.
        context: of the run.
        ranks: of `sources`; together they hold c pairs.

    Returns:
        (n, c) bool.
    """
    known = ranks.gather(torch.cat([batch.keys, batch.index[:, None]], dim=1))
    blocked = positives(batch.keys, known[:, :2])
    if context.group_size:
        group, groups = batch.index // context.group_size, known[:, 2] // context.group_size
        blocked = blocked | (group[:, None] != groups[None, :])
    return blocked


def draw(
    images: Tensor,
    texts: Tensor,
    temperature: Tensor,
    batch: TrainingBatch,
    blocked: Tensor,
    context: StepContext,
    ranks: Collectives,
) -> HardNegatives:
    """The hard negatives of a batch, as places among the pairs of all processes in `ranks`.

    Args:
        images: (n, d) f_I of the batch.
        texts: (n, d) f_T of its clean texts.
        temperature: tau.
        batch: n pairs.
        blocked: (n, c) of `blocked_candidates`.
        context: of the run.
        ranks: of `sources`.
    """
    u_text, u_image = (
        uniform(context.seed, context.step, draw, batch.index, 1)[:, 0]
        for draw in (Draw.NEGATIVE_TEXT, Draw.NEGATIVE_IMAGE)
    )
    images, texts = images.detach(), texts.detach()
    n = len(batch.index)
    own = torch.arange(n, device=batch.index.device) + ranks.rank * n
    return negatives_of(
        similarity(images, ranks.gather(texts), temperature),
        similarity(texts, ranks.gather(images), temperature),
        blocked, own, context.uniform_share, u_text, u_image,
    )  # fmt: skip
