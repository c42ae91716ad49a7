"""Draw the hard negatives of FGR, from the whole global batch or from groups of its pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from r2d2.keyed import Draw, uniform
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.objectives.collectives import SINGLE_PROCESS, Collectives
from r2d2.objectives.fgr import BlockedCandidates, HardNegatives, negatives_of
from r2d2.objectives.gcpr import positives, similarity
from r2d2.objectives.unlabelled import UnlabelledCandidates, nearer_than_own


def candidate_processes(pairs: int, context: StepContext, collectives: Collectives) -> Collectives:
    """Return the processes from whose pairs negatives are drawn.

    Where each group of pairs lies within one process, this is only the process itself, and no data
    is sent between processes.

    Args:
        pairs: the number of pairs in a forward pass of this process.
        context: of the step; it has the size of a group.
        collectives: all processes of the run.
    """
    size = context.group_size
    return SINGLE_PROCESS if size and pairs % size == 0 else collectives


def blocked_candidates(
    batch: TrainingBatch, context: StepContext, collectives: Collectives
) -> Tensor:
    """Return which candidates FGR may not draw: positives, and pairs of another group.

    Args:
        batch: the n pairs of this process.
        context: of the step.
        collectives: from `candidate_processes`; together they hold c pairs.

    Returns:
        (n, c) bool.
    """
    candidates = collectives.gather(torch.cat([batch.keys, batch.index[:, None]], dim=1))
    blocked = positives(batch.keys, candidates[:, :2])
    if context.group_size:
        group, groups = batch.index // context.group_size, candidates[:, 2] // context.group_size
        blocked = blocked | (group[:, None] != groups[None, :])
    return blocked


def block_unlabelled(
    blocked: Tensor,
    images: Tensor,
    texts: Tensor,
    margin: float,
    context: StepContext,
    collectives: Collectives,
) -> BlockedCandidates:
    """Block unlabelled candidates besides those that are blocked already.

    Args:
        blocked: (n, c), from `blocked_candidates`.
        images: (n, d) f_I of the batch.
        texts: (n, d) f_T of its unmasked texts.
        margin: see `nearer_than_own`.
        context: of the step.
        collectives: from `candidate_processes`.
    """
    images, texts = images.detach(), texts.detach()
    unlabelled = UnlabelledCandidates(
        nearer_than_own(images, texts, collectives.gather(texts), blocked, margin),
        nearer_than_own(texts, images, collectives.gather(images), blocked, margin),
    )
    count = blocked.shape[1]
    share = unlabelled.share * (count / (context.group_size or count))  # of the pairs of a group
    return BlockedCandidates(blocked | unlabelled.texts, blocked | unlabelled.images, share)


def draw_hard_negatives(
    images: Tensor,
    texts: Tensor,
    temperature: Tensor,
    batch: TrainingBatch,
    blocked: BlockedCandidates,
    context: StepContext,
    collectives: Collectives,
) -> HardNegatives:
    """Draw the hard negatives of a batch, as positions among the pairs of `collectives`.

    Args:
        images: (n, d) f_I of the batch.
        texts: (n, d) f_T of its unmasked texts.
        temperature: tau.
        batch: n pairs.
        blocked: candidates that may not be drawn.
        context: of the step.
        collectives: from `candidate_processes`.
    """
    u_text, u_image = (
        uniform(context.seed, context.step, kind, batch.index, 1)[:, 0]
        for kind in (Draw.NEGATIVE_TEXT, Draw.NEGATIVE_IMAGE)
    )
    images, texts = images.detach(), texts.detach()
    n = len(batch.index)
    pair_index = torch.arange(n, device=batch.index.device) + collectives.rank * n
    return negatives_of(
        similarity(images, collectives.gather(texts), temperature),
        similarity(texts, collectives.gather(images), temperature),
        blocked, pair_index, context.uniform_share, u_text, u_image,
    )  # fmt: skip
