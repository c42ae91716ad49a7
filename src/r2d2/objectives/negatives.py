"""Among which pairs FGR draws its negatives: the whole global batch, or groups of it."""

from __future__ import annotations

import torch
from torch import Tensor

from r2d2.keyed import Draw, uniform
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.objectives.collectives import SINGLE_PROCESS, Collectives
from r2d2.objectives.fgr import HardNegatives, negatives_of
from r2d2.objectives.gcpr import positives, similarity


def candidate_processes(pairs: int, context: StepContext, collectives: Collectives) -> Collectives:
    """The processes among whose pairs negatives are drawn, in a forward pass over `pairs` pairs.

    Where each group of negatives lies within one process, only this process: nothing is sent.
    """
    size = context.group_size
    return SINGLE_PROCESS if size and pairs % size == 0 else collectives


def blocked_candidates(
    batch: TrainingBatch, context: StepContext, collectives: Collectives
) -> Tensor:
    """What FGR may not draw as a negative: positives, and pairs of another group.

    Args:
        batch: n pairs, of this process.
        context: of the step.
        collectives: of `candidate_processes`; together they hold c pairs.

    Returns:
        (n, c) bool.
    """
    known = collectives.gather(torch.cat([batch.keys, batch.index[:, None]], dim=1))
    blocked = positives(batch.keys, known[:, :2])
    if context.group_size:
        group, groups = batch.index // context.group_size, known[:, 2] // context.group_size
        blocked = blocked | (group[:, None] != groups[None, :])
    return blocked


def draw_hard_negatives(
    images: Tensor,
    texts: Tensor,
    temperature: Tensor,
    batch: TrainingBatch,
    blocked: Tensor,
    context: StepContext,
    collectives: Collectives,
) -> HardNegatives:
    """The hard negatives of a batch, by their positions among the pairs of `collectives`.

    Args:
        images: (n, d) f_I of the batch.
        texts: (n, d) f_T of its clean texts.
        temperature: tau.
        batch: n pairs.
        blocked: (n, c) of `blocked_candidates`.
        context: of the step.
        collectives: of `candidate_processes`.
    """
    u_text, u_image = (
        uniform(context.seed, context.step, kind, batch.index, 1)[:, 0]
        for kind in (Draw.NEGATIVE_TEXT, Draw.NEGATIVE_IMAGE)
    )
    images, texts = images.detach(), texts.detach()
    n = len(batch.index)
    own = torch.arange(n, device=batch.index.device) + collectives.rank * n
    return negatives_of(
        similarity(images, collectives.gather(texts), temperature),
        similarity(texts, collectives.gather(images), temperature),
        blocked, own, context.uniform_share, u_text, u_image,
    )  # fmt: skip
