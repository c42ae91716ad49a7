"""The losses over the cross encoders: FGR, over lists, and MLM, with their shared passes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from r2d2.config import ObjectiveConfig
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2, Pairs
from r2d2.objectives.batch import Denominators, StepContext, TrainingBatch
from r2d2.objectives.collectives import Collectives
from r2d2.objectives.fgr import BlockedCandidates, HardNegatives, fgr, pairs_to_rank
from r2d2.objectives.gcpr import positives
from r2d2.objectives.gradient import scaled_gradient
from r2d2.objectives.listwise import (
    BlockNegatives,
    as_blocks,
    block_pairs,
    diagonal_blocks,
    in_order,
    listwise,
    log_odds,
    negatives_of_blocks,
    pair_weights,
    similarity_of_blocks,
)
from r2d2.objectives.mlm import mlm
from r2d2.objectives.negatives import draw_hard_negatives
from r2d2.objectives.rerank import judged_pairs, rerank
from r2d2.objectives.student import RankingInputs, StudentFeatures


@dataclass(frozen=True)
class RankedPairs:
    """The m pairs that the cross encoders score; the n right ones come first."""

    images: EncodedStates
    texts: EncodedStates
    index: Pairs
    labels: Tensor  # (m,) int64, 1 for match
    weights: float | Tensor  # see `fgr`


@dataclass(frozen=True)
class RankingScope:
    """Among which pairs the ranking draws its negatives, and what its losses divide by."""

    collectives: Collectives  # of `candidate_processes`; together they hold c pairs
    blocked: BlockedCandidates
    denominators: Denominators  # averaged over the processes


def ranking_losses(
    model: R2D2,
    batch: TrainingBatch,
    context: StepContext,
    config: ObjectiveConfig,
    student: StudentFeatures,
    inputs: RankingInputs,
    scope: RankingScope,
) -> dict[str, Tensor]:
    """FGR, the losses over lists, and MLM in the same pass (ET) or in one of its own.

    Under ET a coin decides for each text whether FGR sees it masked. The text keeps that form as a
    positive and as a negative: if only positives were masked, [MASK] itself would give the answer.

    Args:
        model: the student.
        batch: n pairs.
        context: of the step.
        config: of the objectives.
        student: of `encode_student`; `inputs` is its `ranking`.
        inputs: what the cross encoders read.
        scope: of the draw of negatives and of the means.
    """
    n, tokens, offset = len(batch.ids), inputs.masked, model.towers.text_offset
    if config.list_size:
        wrong = negatives_of_blocks(scope.blocked, config.list_size)
        pairs = _pairs_of_blocks(inputs, wrong, config)
    else:
        drawn = draw_hard_negatives(
            student.images, student.texts, model.temperature, batch, scope.blocked, context,
            scope.collectives,
        )  # fmt: skip
        pairs = _drawn_pairs(inputs, drawn, config, scope.collectives)
    if tokens is None or tokens.texts is not None:
        text_states = model.cross_text(pairs.images, pairs.texts, pairs.index)
    else:
        reading = tokens.reading(len(pairs.labels), offset)
        text_states = model.cross_text(pairs.images, pairs.texts, pairs.index, *reading)
    image_states = model.cross_image(pairs.images, pairs.texts, pairs.index)
    text_logits = model.match_head_text(text_states[:, 0])
    image_logits = model.match_head_image(image_states)
    total = scope.denominators.pair_weight
    losses = {"fgr": fgr(text_logits, image_logits, pairs.labels, pairs.weights, total)}
    if config.list_size:
        match = as_blocks((log_odds(text_logits) + log_odds(image_logits)) / 2, config.list_size)
        towers = similarity_of_blocks(
            student.images, student.texts, model.temperature, config.list_size
        )
        both = match + towers.detach()
        losses["listwise"] = listwise(both, wrong)
        if config.weight_rerank and context.towers:
            matches = diagonal_blocks(positives(batch.keys, batch.keys), config.list_size)
            judged = judged_pairs(matches, inputs.masked_texts)
            losses["rerank"] = rerank(towers, both.detach(), judged, config.rerank_loss)
    if tokens is not None:
        if tokens.texts is None:
            token_states = text_states[:n, 1:]
        else:
            own_pass = model.cross_text(
                inputs.images, tokens.texts, None, *tokens.reading(n, offset)
            )
            token_states = own_pass[:, 1:]
        positions, real = tokens.positions
        scale = config.ranking_gradient if context.towers else 0.0
        embedding = scaled_gradient(model.towers.token_embedding, scale)
        logits = model.mlm_head(token_states[real], embedding)
        targets = batch.ids.gather(1, positions)[real]
        losses["mlm"] = mlm(logits, targets, scope.denominators.masked_tokens)
    return losses


def _pairs_of_blocks(
    inputs: RankingInputs, wrong: BlockNegatives, config: ObjectiveConfig
) -> RankedPairs:
    """Every image of a block with every text of it."""
    index = block_pairs(len(inputs.images), config.list_size, wrong.texts.device)
    weights = in_order(pair_weights(wrong, config.positive_weight), *index)
    labels = (index[0] == index[1]).long()
    return RankedPairs(inputs.images, inputs.texts, index, labels, weights)


def _drawn_pairs(
    inputs: RankingInputs,
    drawn: HardNegatives,
    config: ObjectiveConfig,
    collectives: Collectives,
) -> RankedPairs:
    """The right pairs, and one hard negative for each image and for each text."""
    (images, texts), rows = collectives.fetch(
        (inputs.images, inputs.texts), (drawn.images, drawn.texts)
    )
    index, labels = pairs_to_rank(replace(drawn, images=rows[0], texts=rows[1]))
    return RankedPairs(images, texts, index, labels, config.positive_weight)
