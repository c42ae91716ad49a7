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
from r2d2.model.r2d2 import R2D2
from r2d2.model.side import Side
from r2d2.model.towers import Towers
from r2d2.objectives.distill import fgd, tgd
from r2d2.objectives.fgr import fgr, pairs_to_rank
from r2d2.objectives.gcpr import Gather, gcpr, identity, positives, similarity
from r2d2.objectives.mlm import choose_masked, mlm, positions_of
from r2d2.objectives.momentum import teacher_of, update_teacher
from r2d2.objectives.queue import FeatureQueue


@dataclass(frozen=True)
class Batch:
    """n pairs, as the objectives see them."""

    pixels: Tensor  # (n, 3, H, W) normalised
    ids: Tensor  # (n, L) token ids
    mask: Tensor  # (n, L) bool, True where a token is real
    keys: Tensor  # (n, 2) int64, image key and text key
    index: Tensor  # (n,) int64, place in the global batch: the key of each pair's random draws

    def to(self, device: torch.device) -> Batch:
        """The same batch elsewhere."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dict__))


@dataclass(frozen=True)
class Moment:
    """Where a run stands: what the schedules and the draws need to know."""

    seed: int
    step: int
    alpha: float  # TgD's share of the soft target, now
    uniform_share: float  # of FGR's draws, now


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
        if config.tgd:
            self.queue = FeatureQueue(config.queue_size, model.config.embed_dim, config.queue_decay)
        self._entering: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(
        self, model: R2D2, batch: Batch, moment: Moment, gather: Gather = identity
    ) -> dict[str, Tensor]:
        """Each objective's loss as it is, and their weighted sum "total"; float32 scalars.

        "fgd_entropy" comes beside FgD's loss, to be watched, not minimised.
        """
        config = self.config
        losses: dict[str, Tensor] = {}
        images = model.encode_images(batch.pixels)
        texts, masked_texts, masked = self._encode_texts(model, batch, moment)

        teacher_images = teacher_texts = None
        if self.teacher is not None:
            assert isinstance(self.teacher, Towers)
            with torch.no_grad():
                teacher_images = self.teacher.encode_images(batch.pixels).embedding
                teacher_texts = self.teacher.encode_texts(batch.ids, batch.mask).embedding

        features = (images.embedding, texts.embedding)
        if self.queue is not None:
            assert teacher_images is not None
            assert teacher_texts is not None
            losses["tgd"] = tgd(
                *features, teacher_images, teacher_texts, batch.keys, self.queue,
                model.temperature, moment.alpha, gather,
            )  # fmt: skip
            self._entering = (gather(teacher_images), gather(teacher_texts), gather(batch.keys))
        else:
            losses["gcpr"] = gcpr(*features, batch.keys, model.temperature, gather)
        if config.fgr:
            losses |= self._rank(model, batch, moment, images, texts, masked_texts, masked)
        if config.fgd:
            assert masked_texts is not None
            assert teacher_images is not None
            assert teacher_texts is not None
            seen = model.encode_images(batch.pixels, self._kept_patches(model, batch, moment))
            loss, entropy = fgd(
                seen.embedding, masked_texts.embedding, teacher_images, teacher_texts,
                config.teacher_temperature, config.student_temperature,
            )  # fmt: skip
            losses["fgd"] = loss
            losses["fgd_entropy"] = entropy
        weights = {
            "tgd": config.weight_contrastive,
            "gcpr": config.weight_contrastive,
            "fgr": config.weight_fgr,
            "mlm": config.weight_mlm,
            "fgd": config.weight_fgd,
        }
        terms = [weights[name] * loss for name, loss in losses.items() if name in weights]
        losses["total"] = torch.stack(terms).sum()
        return losses

    def train(self, mode: bool = True) -> Objectives:
        """As every module's, but the teacher never drops anything out."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def after_step(self, model: R2D2) -> None:
        """When the optimiser has stepped: clamp tau, move the teachers, let features queue."""
        model.clamp_temperature()
        if self.teacher is not None:
            update_teacher(self.teacher, model.towers, self.config.momentum)
        if self.queue is not None and self._entering is not None:
            self.queue.push(*self._entering)
            self._entering = None

    def _encode_texts(
        self, model: R2D2, batch: Batch, moment: Moment
    ) -> tuple[Side, Side | None, Tensor | None]:
        """Clean texts, masked texts, and where they are masked (n, L); one pass over both."""
        config = self.config
        if not (config.mlm or config.fgd):
            return model.encode_texts(batch.ids, batch.mask), None, None
        u = uniform(moment.seed, moment.step, Draw.MASK, batch.index, batch.ids.shape[1])
        masked = choose_masked(batch.ids, batch.mask, self.special_ids, config.mask_share, u)
        masked_ids = batch.ids.masked_fill(masked, self.mask_id)
        both = model.encode_texts(torch.cat([batch.ids, masked_ids]), batch.mask.repeat(2, 1))
        n = len(batch.ids)
        return both[:n], both[n:], masked

    def _kept_patches(self, model: R2D2, batch: Batch, moment: Moment) -> Tensor:
        """A random subset of the patches an image, (n, K)."""
        patches = model.config.vision.patches
        kept = max(1, round(self.config.image_keep * patches))
        u = uniform(moment.seed, moment.step, Draw.PATCHES, batch.index, patches)
        return u.argsort(dim=1)[:, :kept]

    def _rank(
        self,
        model: R2D2,
        batch: Batch,
        moment: Moment,
        images: Side,
        texts: Side,
        masked_texts: Side | None,
        masked: Tensor | None,
    ) -> dict[str, Tensor]:
        """FGR, and MLM in the same pass (ET) or in one of its own.

        Under ET a coin says for each text whether FGR sees it masked, and it keeps that state as a
        positive and as a negative: were only positives masked, [MASK] itself would be the answer.
        """
        config = self.config
        ranked_texts, positions, real = texts, None, None
        if config.et:
            assert masked_texts is not None
            assert masked is not None
            coin = (
                uniform(moment.seed, moment.step, Draw.COIN, batch.index, 1)
                < config.et_masked_share
            )
            ranked_texts = Side(
                torch.where(coin[:, :, None], masked_texts.states, texts.states),
                texts.mask,
                texts.embedding,
            )
            masked = masked & coin
            positions, real = positions_of(masked)

        u_text, u_image = (
            uniform(moment.seed, moment.step, draw, batch.index, 1)[:, 0]
            for draw in (Draw.NEGATIVE_TEXT, Draw.NEGATIVE_IMAGE)
        )
        pairs, labels = pairs_to_rank(
            similarity(images.embedding, texts.embedding, model.temperature),
            positives(batch.keys, batch.keys), moment.uniform_share, u_text, u_image,
        )  # fmt: skip
        n = len(batch.ids)
        wanted = None
        if positions is not None:  # [CLS] of every pair, and the positives' masked positions
            wanted = positions.new_zeros(len(labels), 1 + positions.shape[1])
            wanted[:n, 1:] = positions
        text_states = model.cross_text(images, ranked_texts, pairs, wanted)
        image_states = model.cross_image(images, ranked_texts, pairs)
        losses = {
            "fgr": fgr(
                model.match_head_text(text_states[:, 0]),
                model.match_head_image(image_states),
                labels,
                config.positive_weight,
            )
        }
        if config.mlm:
            if positions is None:
                assert masked_texts is not None
                assert masked is not None
                positions, real = positions_of(masked)
                states = model.cross_text(images, masked_texts, None, positions)
            else:
                states = text_states[:n, 1:]
            assert real is not None
            logits = model.mlm_head(states[real], model.towers.token_embedding)
            losses["mlm"] = mlm(logits, batch.ids.gather(1, positions)[real])
        return losses
