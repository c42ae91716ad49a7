"""The student's passes over a batch: which form of an image or text each objective reads.

Clean text: the contrast, the draw of negatives, and FGR where the coin says clean.
Masked text: FgD for every text; FGR and MLM where the coin says masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from r2d2.config import ObjectiveConfig
from r2d2.keyed import Draw, uniform
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import StepContext, TrainingBatch
from r2d2.objectives.gradient import with_scaled_gradient
from r2d2.objectives.mlm import choose_masked, positions_of


@dataclass(frozen=True)
class MaskedTokens:
    """The tokens that MLM predicts."""

    predicted: Tensor  # (n, L) bool
    texts: EncodedStates | None  # the masked texts for MLM's own pass; None: it uses FGR's (ET)

    @cached_property
    def positions(self) -> tuple[Tensor, Tensor]:
        """See `positions_of`."""
        return positions_of(self.predicted)

    def reading(self, pairs: int, offset: int) -> tuple[Tensor, Tensor]:
        """[CLS] of every pair, and of the first n the masked tokens.

        Args:
            pairs: m.
            offset: states in front of a text's tokens.

        Returns:
            Positions (m, 1 + K) in the text's states, and which of them are read, (m, 1 + K) bool.
        """
        tokens, real = self.positions
        n, most = tokens.shape
        positions = tokens.new_zeros(pairs, 1 + most)
        positions[:n, 1:] = tokens + offset
        read = torch.zeros_like(positions, dtype=torch.bool)
        read[:, 0] = True
        read[:n, 1:] = real
        return positions, read


@dataclass(frozen=True)
class RankingInputs:
    """What the cross encoders read."""

    images: EncodedStates
    texts: EncodedStates  # in the form in which FGR sees them
    masked: MaskedTokens | None  # None: without MLM

    @property
    def masked_texts(self) -> Tensor:
        """Which of `texts` lack tokens that MLM predicts, (n,) bool: under ET some, else none."""
        if self.masked is None or self.masked.texts is not None:
            n, device = len(self.texts), self.texts.states.device
            return torch.zeros(n, dtype=torch.bool, device=device)
        return self.masked.predicted.any(1)


@dataclass(frozen=True)
class StudentFeatures:
    """The student's passes over a batch of n pairs."""

    images: Tensor  # (n, d) f_I
    texts: Tensor  # (n, d) f_T of the clean texts
    masked_texts: Tensor | None  # (n, d) of the masked ones, where an objective needs them
    ranking: RankingInputs | None  # None: FGR is off, or has not begun
    second_texts: Tensor | None  # (n, d) f_T of the second texts; None: no second contrast


def encode_student(
    model: R2D2,
    batch: TrainingBatch,
    context: StepContext,
    config: ObjectiveConfig,
    mask_id: int,
    special_ids: Sequence[int],
) -> StudentFeatures:
    """Images, clean texts and masked texts, with one pass over both kinds of text.

    FGR reads the states of a text in one of its forms; of the other only the embedding is needed.
    """
    n, own = len(batch.ids), torch.arange(len(batch.ids), device=batch.ids.device)
    ranks, mlm = config.fgr and context.ranking, config.mlm and context.ranking

    def to_rank(states: EncodedStates) -> EncodedStates:
        return with_scaled_gradient(states, config.ranking_gradient)

    image_states = model.encode_images(batch.pixels) if ranks else None
    images = image_states.embedding if image_states else model.embed_images(batch.pixels)
    second_texts = None
    if batch.second is not None and context.towers:
        second_texts = model.encode_selected(batch.second.ids, batch.second.mask, own[:0])[1]
    if not (mlm or (config.fgd and context.towers)):
        states, texts = model.encode_selected(batch.ids, batch.mask, own if ranks else own[:0])
        ranking = None
        if image_states is not None:
            ranking = RankingInputs(to_rank(image_states), to_rank(states), None)
        return StudentFeatures(images, texts, None, ranking, second_texts)
    u = uniform(context.seed, context.step, Draw.MASK, batch.index, batch.ids.shape[1])
    masked = choose_masked(batch.ids, batch.mask, special_ids, config.mask_share, u)
    shown_masked = torch.zeros_like(own, dtype=torch.bool)  # which texts FGR sees masked
    if config.et:
        coin = uniform(context.seed, context.step, Draw.COIN, batch.index, 1)[:, 0]
        shown_masked = coin < config.et_masked_share
    whole = torch.where(shown_masked, own + n, own) if ranks else own[:0]
    if mlm and not config.et:
        whole = torch.cat([whole, own + n])
    states, embeddings = model.encode_selected(
        torch.cat([batch.ids, batch.ids.masked_fill(masked, mask_id)]),
        batch.mask.repeat(2, 1),
        whole,
    )
    ranking = None
    if image_states is not None:
        tokens = None
        if config.et:
            tokens = MaskedTokens(masked & shown_masked[:, None], None)
        elif mlm:
            tokens = MaskedTokens(masked, to_rank(states[n:]))
        ranking = RankingInputs(to_rank(image_states), to_rank(states[:n]), tokens)
    return StudentFeatures(images, embeddings[:n], embeddings[n:], ranking, second_texts)
