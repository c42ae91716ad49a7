"""One step's losses: which states feed which objective.

Clean text: TgD or GCPR, the draw of negatives, and FGR where the coin says clean.
Masked text: FgD for every text; FGR and MLM where the coin says masked.
Whole image: everything but FgD's student. Masked image: FgD's student only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from r2d2.config import ObjectiveConfig
from r2d2.keyed import Draw, uniform
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.hf_towers import HfTowers
from r2d2.model.r2d2 import R2D2
from r2d2.model.towers import Towers
from r2d2.objectives.batch import CachedGradients, Features, StepContext, TrainingBatch
from r2d2.objectives.collectives import SINGLE_PROCESS, Collectives
from r2d2.objectives.contrast import NAMES, contrast_losses
from r2d2.objectives.distill import fgd
from r2d2.objectives.fgr import HardNegatives, fgr, mean_head_loss, pairs_to_rank, ranking_weight
from r2d2.objectives.gcpr import positives
from r2d2.objectives.gradient import scaled_gradient, with_scaled_gradient
from r2d2.objectives.listwise import (
    as_blocks,
    block_pairs,
    in_order,
    listwise,
    log_odds,
    negatives_of_blocks,
    pair_weights,
    similarity_of_blocks,
)
from r2d2.objectives.mlm import choose_masked, mlm, positions_of
from r2d2.objectives.momentum import teacher_of, update_teacher
from r2d2.objectives.negatives import blocked_candidates, draw, sources
from r2d2.objectives.queue import FeatureQueue

__all__ = ["Objectives", "StepContext", "TrainingBatch"]


@dataclass(frozen=True)
class _StudentOutputs:
    """The student's passes over a batch.

    FGR reads a text whole in one of its forms, clean or masked; of the other only the embedding is
    ever asked for.
    """

    images: Tensor  # (n, d) f_I
    texts: Tensor  # (n, d) f_T of the clean texts
    masked_texts: Tensor | None  # (n, d) of the masked ones
    ranked: (
        tuple[EncodedStates, EncodedStates] | None
    )  # images, and texts as FGR sees them, where it has begun
    apart: EncodedStates | None  # the masked texts whole, where MLM has a pass of its own
    masked: Tensor | None  # (n, L) where the masked texts are masked
    coin: Tensor | None  # (n, 1) bool, under ET: which texts FGR sees masked


class Objectives(nn.Module):
    """The objectives of a variant with the state they keep: teachers and queue."""

    def __init__(
        self, model: R2D2, config: ObjectiveConfig, mask_id: int, special_ids: Iterable[int]
    ) -> None:
        super().__init__()
        self.config = config
        self.mask_id = mask_id
        self.special_ids = tuple(special_ids)
        self.teacher = teacher_of(model.towers) if config.teachers else None
        self.queue: FeatureQueue | None = None
        if model.logit_bias is not None and config.contrast != "sigmoid":
            model.logit_bias.requires_grad_(False)  # it takes no part in the loss, and stays
        if config.tgd:
            self.queue = FeatureQueue(config.queue_size, model.config.embed_dim, config.queue_decay)
        self._entering: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(
        self,
        model: R2D2,
        batch: TrainingBatch,
        context: StepContext,
        ranks: Collectives = SINGLE_PROCESS,
        pull: CachedGradients | None = None,
        teacher_features: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Each objective's loss as it is, and their weighted sum "total"; float32 scalars.

        "fgd_entropy" comes beside FgD's loss, to be watched, not minimised. Where the batch is one
        chunk of a larger one, the contrast was computed over all of it (`contrast`) and comes as a
        `pull`: it is then within "total" by its gradient only, not by its value.

        Args:
            model: the student.
            batch: n pairs.
            context: of the run.
            ranks: the processes.
            pull: the contrast's gradient at this chunk's features; None: compute it here.
            teacher_features: f'_I and f'_T (n, d) of this chunk; None: compute them here.
        """
        config = self.config
        if batch.labels is not None:
            return self._labelled(model, batch, batch.labels)
        with torch.set_grad_enabled(context.towers and torch.is_grad_enabled()):
            encoded = self._encode(model, batch, context)
        teacher_images, teacher_texts = teacher_features or self._teach(batch, context)
        losses: dict[str, Tensor] = {}
        # A chunk knows of no other: what it draws negatives from is in this process.
        near = SINGLE_PROCESS if pull is not None else sources(len(batch.ids), context, ranks)
        blocked = blocked_candidates(batch, context, near) if config.fgr else None
        if pull is None:
            features = self._features(batch, blocked, encoded, teacher_images, teacher_texts)
            if context.towers:
                losses |= self.contrast(model, features, context, ranks)
            ranked, masked = ranks.average(features.ranked), ranks.average(features.masked)
        else:
            ranked, masked = pull.ranked, pull.masked
        if config.fgr and context.ranking:
            assert blocked is not None
            negatives = None
            if not config.list_size:
                negatives = draw(
                    encoded.images, encoded.texts, model.temperature, batch, blocked, context, near
                )
            losses |= self._rank(model, batch, context, encoded, negatives, near, ranked, masked)
        if config.fgd and context.towers:
            assert encoded.masked_texts is not None
            assert teacher_images is not None
            assert teacher_texts is not None
            seen = model.embed_images(batch.pixels, self._kept_patches(model, batch, context))
            loss, entropy = fgd(
                seen, encoded.masked_texts, teacher_images, teacher_texts,
                config.teacher_temperature, config.student_temperature,
            )  # fmt: skip
            losses["fgd"] = loss
            losses["fgd_entropy"] = entropy
        terms = [self.weights[name] * loss for name, loss in losses.items() if name in self.weights]
        if pull is not None and context.towers:
            images, texts = encoded.images, encoded.texts
            felt = (images * pull.images).sum() + (texts * pull.texts).sum()
            own = model.contrast_parameters
            at = [own[name] * gradient for name, gradient in pull.parameters.items()]
            terms.append(felt.float() + torch.stack(at).sum())
        losses["total"] = torch.stack(terms).sum()
        return losses

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss in "total"."""
        config = self.config
        return {
            **dict.fromkeys(NAMES, config.weight_contrastive),
            "fgr": config.weight_fgr,
            "listwise": config.weight_listwise,
            "mlm": config.weight_mlm,
            "fgd": config.weight_fgd,
        }

    def features(self, model: R2D2, batch: TrainingBatch, context: StepContext) -> Features:
        """What `contrast` needs of a batch or of a chunk."""
        blocked = blocked_candidates(batch, context, SINGLE_PROCESS) if self.config.fgr else None
        return self._features(
            batch, blocked, self._encode(model, batch, context), *self._teach(batch, context)
        )

    def contrast(
        self,
        model: R2D2,
        features: Features,
        context: StepContext,
        ranks: Collectives = SINGLE_PROCESS,
    ) -> dict[str, Tensor]:
        """The contrast over all that the processes hold; what TgD saw enters the queue afterwards.

        See `contrast_losses`.
        """
        losses = contrast_losses(self.config, model, features, self.queue, context, ranks)
        if self.queue is not None:
            teacher_features = (features.teacher_images, features.teacher_texts, features.keys)
            gathered = [ranks.gather(x.detach()) for x in teacher_features if x is not None]
            self._entering = (gathered[0], gathered[1], gathered[2])
        return losses

    def train(self, mode: bool = True) -> Objectives:
        """As every module's, but the teacher never drops anything out."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def after_step(self, model: R2D2, at_once: bool = True) -> None:
        """When the optimiser has stepped: clamp tau, move the teachers, let features queue.

        `at_once`: see `update_teacher`.
        """
        model.clamp_temperature()
        if self.teacher is not None:
            update_teacher(self.teacher, model.towers, self.config.momentum, at_once)
        if self.queue is not None and self._entering is not None:
            self.queue.push(*self._entering)
            self._entering = None

    def _labelled(self, model: R2D2, batch: TrainingBatch, labels: Tensor) -> dict[str, Tensor]:
        """FGR over the pairs themselves, whose labels people gave: both classes weigh the same."""
        images = self._to_rank(model.encode_images(batch.pixels))
        texts = self._to_rank(model.encode_texts(batch.ids, batch.mask))
        logits = model.match_logits(images, texts)
        if self.config.label_loss == "mean":
            loss = mean_head_loss(*logits, labels)
        else:
            loss = fgr(*logits, labels, 1.0)
        return {"fgr": loss, "total": self.weights["fgr"] * loss}

    def forget_step(self) -> None:
        """When the step is left out: let nothing of it queue."""
        self._entering = None

    @torch.no_grad()
    def _teach(
        self, batch: TrainingBatch, context: StepContext
    ) -> tuple[Tensor | None, Tensor | None]:
        """The teachers' features of whole images and clean texts, where someone learns by them."""
        if self.teacher is None or not context.towers:
            return None, None
        assert isinstance(self.teacher, (Towers, HfTowers))
        return (
            self.teacher.embed_images(batch.pixels),
            self.teacher.embed_texts(batch.ids, batch.mask),
        )

    def _encode(self, model: R2D2, batch: TrainingBatch, context: StepContext) -> _StudentOutputs:
        """Images, clean texts and masked texts; one pass over both kinds of text."""
        config, n = self.config, len(batch.ids)
        ranks = config.fgr and context.ranking
        own = torch.arange(n, device=batch.ids.device)
        seen = model.encode_images(batch.pixels) if ranks else None
        images = model.embed_images(batch.pixels) if seen is None else seen.embedding
        if not ((config.mlm and context.ranking) or (config.fgd and context.towers)):
            some, texts = model.encode_selected(batch.ids, batch.mask, own if ranks else own[:0])
            ranked = None if seen is None else (self._to_rank(seen), self._to_rank(some))
            return _StudentOutputs(images, texts, None, ranked, None, None, None)
        u = uniform(context.seed, context.step, Draw.MASK, batch.index, batch.ids.shape[1])
        masked = choose_masked(batch.ids, batch.mask, self.special_ids, config.mask_share, u)
        masked_ids = batch.ids.masked_fill(masked, self.mask_id)
        coin = self._coin(batch, context) if config.et else None
        if not ranks:
            whole = own[:0]
        elif coin is not None:
            whole = torch.where(coin[:, 0], own + n, own)
        else:
            whole = torch.cat([own, own + n]) if config.mlm else own
        some, both = model.encode_selected(
            torch.cat([batch.ids, masked_ids]), batch.mask.repeat(2, 1), whole
        )
        apart = self._to_rank(some[n:]) if len(whole) > n else None
        ranked = None if seen is None else (self._to_rank(seen), self._to_rank(some[:n]))
        return _StudentOutputs(images, both[:n], both[n:], ranked, apart, masked, coin)

    def _to_rank(self, side: EncodedStates) -> EncodedStates:
        """A side as the ranking losses read it: a part of their gradient goes on to the tower."""
        return with_scaled_gradient(side, self.config.ranking_gradient)

    def _features(
        self,
        batch: TrainingBatch,
        blocked: Tensor | None,
        encoded: _StudentOutputs,
        teacher_images: Tensor | None,
        teacher_texts: Tensor | None,
    ) -> Features:
        masked = encoded.masked
        if masked is not None and encoded.coin is not None:
            masked = masked & encoded.coin
        none = torch.zeros((), device=batch.ids.device)
        count = none if masked is None else masked.sum().float()
        weight = none
        if blocked is not None:
            weight = ranking_weight(blocked, self.config.positive_weight)
        return Features(
            encoded.images,
            encoded.texts,
            teacher_images,
            teacher_texts,
            batch.keys,
            weight,
            count,
        )

    def _coin(self, batch: TrainingBatch, context: StepContext) -> Tensor:
        """Which texts FGR sees masked under ET, (n, 1)."""
        u = uniform(context.seed, context.step, Draw.COIN, batch.index, 1)
        return u < self.config.et_masked_share

    def _kept_patches(self, model: R2D2, batch: TrainingBatch, context: StepContext) -> Tensor:
        """A random subset of the patches an image, (n, K)."""
        patches = model.config.vision.patches
        kept = max(1, round(self.config.image_keep * patches))
        u = uniform(context.seed, context.step, Draw.PATCHES, batch.index, patches)
        return u.argsort(dim=1)[:, :kept]

    def _rank(
        self,
        model: R2D2,
        batch: TrainingBatch,
        context: StepContext,
        encoded: _StudentOutputs,
        negatives: HardNegatives | None,
        ranks: Collectives,
        ranked_weight: Tensor,
        masked_count: Tensor,
    ) -> dict[str, Tensor]:
        """FGR and the listwise loss, and MLM in the same pass (ET) or in one of its own.

        The pairs are those that were drawn, or those of blocks with `negatives` None. Under ET a
        coin says for each text whether FGR sees it masked, and it keeps that state as a positive
        and as a negative: were only positives masked, [MASK] itself would be the answer.
        """
        config = self.config
        assert encoded.ranked is not None
        (images, texts), masked = encoded.ranked, encoded.masked
        positions, real = None, None
        if encoded.coin is not None:
            assert masked is not None
            positions, real = positions_of(masked & encoded.coin)

        n = len(batch.ids)
        weights: float | Tensor = config.positive_weight
        blocks: Tensor | None = None  # which pairs of blocks are wrong ones
        if negatives is None:
            pairs = block_pairs(n, config.list_size, batch.ids.device)
            labels = (pairs[0] == pairs[1]).long()
            blocks = negatives_of_blocks(positives(batch.keys, batch.keys), config.list_size)
            weights = in_order(pair_weights(blocks, config.positive_weight), *pairs)
        else:
            (images, texts), places = ranks.fetch(
                (images, texts), (negatives.images, negatives.texts)
            )
            pairs, labels = pairs_to_rank(HardNegatives(*places, negatives.valid))
        wanted, read = None, None
        if positions is not None and real is not None:
            # [CLS] of every pair, and the positives' masked positions
            wanted = positions.new_zeros(len(labels), 1 + positions.shape[1])
            wanted[:n, 1:] = positions + model.towers.text_offset
            read = torch.zeros_like(wanted, dtype=torch.bool)
            read[:, 0] = True
            read[:n, 1:] = real
        text_states = model.cross_text(images, texts, pairs, wanted, read)
        image_states = model.cross_image(images, texts, pairs)
        text_logits = model.match_head_text(text_states[:, 0])
        image_logits = model.match_head_image(image_states)
        losses = {"fgr": fgr(text_logits, image_logits, labels, weights, ranked_weight)}
        if blocks is not None:
            scores = as_blocks(
                (log_odds(text_logits) + log_odds(image_logits)) / 2, config.list_size
            ) + similarity_of_blocks(
                encoded.images, encoded.texts, model.temperature, config.list_size
            )
            losses["listwise"] = listwise(scores, blocks)
        if config.mlm:
            if positions is None:
                assert encoded.apart is not None
                assert masked is not None
                positions, real = positions_of(masked)
                offset = model.towers.text_offset
                # [CLS] as well, so that each pair has one position at least
                states = model.cross_text(
                    encoded.ranked[0], encoded.apart, None,
                    torch.cat([torch.zeros_like(positions[:, :1]), positions + offset], 1),
                    torch.cat([torch.ones_like(real[:, :1]), real], 1),
                )[:, 1:]  # fmt: skip
            else:
                states = text_states[:n, 1:]
            assert real is not None
            scale = config.ranking_gradient if context.towers else 0.0
            embedding = scaled_gradient(model.towers.token_embedding, scale)
            logits = model.mlm_head(states[real], embedding)
            losses["mlm"] = mlm(logits, batch.ids.gather(1, positions)[real], masked_count)
        return losses
