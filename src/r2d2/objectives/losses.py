"""The objectives of a variant: one step's losses, and the teachers and the queue between steps.

To add a loss NAME: write it in a file of its own, call it in `Objectives.forward`, or in ranking.py
if it reads the cross encoders, and add `weight_NAME` to `ObjectiveConfig`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from r2d2.config import ObjectiveConfig
from r2d2.keyed import Draw, uniform
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import (
    CachedGradients,
    Denominators,
    Features,
    QueueEntries,
    SecondTextFeatures,
    StepContext,
    StepOutput,
    TeacherFeatures,
    TrainingBatch,
)
from r2d2.objectives.collectives import SINGLE_PROCESS, Collectives
from r2d2.objectives.contrast import NAMES, contrast_losses
from r2d2.objectives.distill import fgd
from r2d2.objectives.fgr import BlockedCandidates, fgr, mean_head_loss, ranking_weight
from r2d2.objectives.gradient import with_scaled_gradient
from r2d2.objectives.momentum import teacher_of, update_teacher
from r2d2.objectives.negatives import (
    block_unlabelled,
    blocked_candidates,
    candidate_processes,
)
from r2d2.objectives.queue import FeatureQueue
from r2d2.objectives.ranking import RankingScope, ranking_losses
from r2d2.objectives.student import StudentFeatures, encode_student

__all__ = ["Objectives", "StepContext", "TrainingBatch"]


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
            model.logit_bias.requires_grad_(False)  # no loss uses it
        if config.tgd:
            self.queue = FeatureQueue(config.queue_size, model.config.embed_dim, config.queue_decay)

    def forward(
        self,
        model: R2D2,
        batch: TrainingBatch,
        context: StepContext,
        collectives: Collectives = SINGLE_PROCESS,
        cached: CachedGradients | None = None,
    ) -> StepOutput:
        """Each objective's loss without its weight, and their weighted sum "total".

        "fgd_entropy", and the shares of candidates that are unlabelled, are reported beside the
        losses and are not minimised. Where the batch is one chunk of a larger one, the contrast
        over all chunks was computed before (`contrast`): its gradient is then part of "total", and
        its value is not.

        Args:
            model: the student.
            batch: n pairs.
            context: of the step.
            collectives: the processes.
            cached: of the first pass over all chunks; None: the batch is whole.
        """
        config = self.config
        if batch.labels is not None:
            return StepOutput(self._labelled(model, batch, batch.labels))
        student = self._encode(model, batch, context)
        losses: dict[str, Tensor] = {}
        entries: QueueEntries | None = None
        if cached is None:
            candidates = candidate_processes(len(batch.ids), context, collectives)
            blocked = self._blocked(batch, context, student, candidates)
            teacher = self._teach(batch, context)
            denominators = self._denominators(student, blocked)
            if context.towers:
                features = _features(student, teacher, batch, denominators)
                contrast = self.contrast(model, features, context, collectives)
                losses, entries = contrast.losses, contrast.queue_entries
            denominators = denominators.average(collectives)
        else:  # a chunk draws negatives from itself
            candidates = SINGLE_PROCESS
            blocked = self._blocked(batch, context, student, candidates)
            teacher, denominators = cached.teacher, cached.denominators
        if student.ranking is not None:
            losses |= ranking_losses(
                model, batch, context, config, student, student.ranking,
                RankingScope(candidates, blocked, denominators),
            )  # fmt: skip
            if blocked.unlabelled is not None:
                losses["unlabelled_ranking"] = blocked.unlabelled
        if config.fgd and teacher is not None and student.masked_texts is not None:
            patches = model.embed_images(batch.pixels, self._kept_patches(model, batch, context))
            losses["fgd"], losses["fgd_entropy"] = fgd(
                patches, student.masked_texts, teacher.images, teacher.texts,
                config.teacher_temperature, config.student_temperature,
            )  # fmt: skip
        terms = self._terms(losses)
        if cached is not None and context.towers:
            own = model.contrast_parameters
            scalars = [own[name] * gradient for name, gradient in cached.parameters.items()]
            at_features = (student.images * cached.images).sum() + (
                student.texts * cached.texts
            ).sum()
            if student.second_texts is not None and cached.second_texts is not None:
                at_features = at_features + (student.second_texts * cached.second_texts).sum()
            terms.append(at_features.float() + torch.stack(scalars).sum())
        return StepOutput(losses | {"total": torch.stack(terms).sum()}, entries)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the losses, ()."""
        return torch.stack(self._terms(losses)).sum()

    def _terms(self, losses: Mapping[str, Tensor]) -> list[Tensor]:
        settings = vars(self.config).items()
        weights = {n.removeprefix("weight_"): w for n, w in settings if n.startswith("weight_")}
        weights |= dict.fromkeys(NAMES, self.config.weight_contrastive)
        return [weights[name] * loss for name, loss in losses.items() if name in weights]

    def features(self, model: R2D2, batch: TrainingBatch, context: StepContext) -> Features:
        """What `contrast` needs of a chunk."""
        student = self._encode(model, batch, context)
        blocked = self._blocked(batch, context, student, SINGLE_PROCESS)
        denominators = self._denominators(student, blocked)
        return _features(student, self._teach(batch, context), batch, denominators)

    def contrast(
        self,
        model: R2D2,
        features: Features,
        context: StepContext,
        collectives: Collectives = SINGLE_PROCESS,
    ) -> StepOutput:
        """The contrast over the features of all processes; see `contrast_losses`."""
        losses = contrast_losses(self.config, model, features, self.queue, context, collectives)
        if self.queue is None or features.teacher is None:
            return StepOutput(losses)
        teacher = features.teacher
        images, texts, keys = (
            collectives.gather(x.detach()) for x in (teacher.images, teacher.texts, features.keys)
        )
        return StepOutput(losses, QueueEntries(images, texts, keys))

    def train(self, mode: bool = True) -> Objectives:
        """As for every module, but the teacher never drops anything out."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def after_step(
        self, model: R2D2, entries: QueueEntries | None = None, at_once: bool = True
    ) -> None:
        """Clamp tau, move the teachers and fill the queue, after a step of the optimiser.

        Args:
            model: the student.
            entries: of the step's output.
            at_once: see `update_teacher`.
        """
        model.clamp_temperature()
        if self.teacher is not None:
            update_teacher(self.teacher, model.towers, self.config.momentum, at_once)
        if self.queue is not None and entries is not None:
            self.queue.push(entries.images, entries.texts, entries.keys)

    def _labelled(self, model: R2D2, batch: TrainingBatch, labels: Tensor) -> dict[str, Tensor]:
        """FGR over the pairs themselves, which people labelled: both classes weigh the same."""
        scale = self.config.ranking_gradient
        images = with_scaled_gradient(model.encode_images(batch.pixels), scale)
        texts = with_scaled_gradient(model.encode_texts(batch.ids, batch.mask), scale)
        logits = model.match_logits(images, texts)
        if self.config.label_loss == "mean":
            loss = mean_head_loss(*logits, labels)
        else:
            loss = fgr(*logits, labels, 1.0)
        return {"fgr": loss, "total": self.config.weight_fgr * loss}

    def _encode(self, model: R2D2, batch: TrainingBatch, context: StepContext) -> StudentFeatures:
        with torch.set_grad_enabled(context.towers and torch.is_grad_enabled()):
            return encode_student(
                model, batch, context, self.config, self.mask_id, self.special_ids
            )

    @torch.no_grad()
    def _teach(self, batch: TrainingBatch, context: StepContext) -> TeacherFeatures | None:
        if self.teacher is None or not context.towers:
            return None
        return TeacherFeatures(
            self.teacher.embed_images(batch.pixels),
            self.teacher.embed_texts(batch.ids, batch.mask),
        )

    def _blocked(
        self,
        batch: TrainingBatch,
        context: StepContext,
        student: StudentFeatures,
        candidates: Collectives,
    ) -> BlockedCandidates:
        """See `blocked_candidates`; (n, 0) without FGR, which alone uses it."""
        if not self.config.fgr:
            none = torch.empty(len(batch.ids), 0, dtype=torch.bool, device=batch.ids.device)
            return BlockedCandidates(none, none)
        blocked = blocked_candidates(batch, context, candidates)
        margin = self.config.unlabelled_margin if context.unlabelled else None
        if margin is None or student.ranking is None:
            return BlockedCandidates(blocked, blocked)
        images, texts = student.images, student.texts
        return block_unlabelled(blocked, images, texts, margin, context, candidates)

    def _denominators(self, student: StudentFeatures, blocked: BlockedCandidates) -> Denominators:
        count = torch.zeros((), device=blocked.texts.device)
        if student.ranking is not None and student.ranking.masked is not None:
            count = student.ranking.masked.predicted.sum().float()
        return Denominators(ranking_weight(blocked, self.config.positive_weight), count)

    def _kept_patches(self, model: R2D2, batch: TrainingBatch, context: StepContext) -> Tensor:
        """A random subset of the patches an image, (n, K)."""
        patches = model.config.vision.patches
        kept = max(1, round(self.config.image_keep * patches))
        u = uniform(context.seed, context.step, Draw.PATCHES, batch.index, patches)
        return u.argsort(dim=1)[:, :kept]


def _features(
    student: StudentFeatures,
    teacher: TeacherFeatures | None,
    batch: TrainingBatch,
    denominators: Denominators,
) -> Features:
    """What the contrast needs of a batch."""
    second = None
    if batch.second is not None and student.second_texts is not None:
        second = SecondTextFeatures(student.second_texts, batch.second.keys, batch.second.present)
    return Features(student.images, student.texts, teacher, batch.keys, denominators, second)
