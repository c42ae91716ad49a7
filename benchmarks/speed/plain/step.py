"""A training step of R2D2 as it is usually written (after the habits of ALBEF's and MoCo's code).

Texts padded to 64; clean and masked texts in passes of their own; the masked image as a mask over
all patches; negatives drawn in a loop; positive and negative pairs apart; the MLM head everywhere;
teachers updated one parameter at a time.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.plain.layers import PlainR2D2
from r2d2.config import ObjectiveConfig


@dataclass(frozen=True)
class Draws:
    """What chance decides in a step."""

    masked: Tensor  # (n, L) bool, tokens to mask
    coin: Tensor  # (n,) bool, whether FGR sees a text masked
    keep: Tensor  # (n, K) patches that FgD's student sees
    u_text: Tensor  # (n,) uniform, for the negative texts
    u_image: Tensor  # (n,) uniform, for the negative images


class PlainStep:
    """Model, teachers, queues and the losses."""

    def __init__(self, model: PlainR2D2, config: ObjectiveConfig, mask_id: int) -> None:
        self.model = model
        self.config = config
        self.mask_id = mask_id
        self.teacher = copy.deepcopy(model.towers)
        for parameter in self.teacher.parameters():
            parameter.requires_grad = False
        device = model.log_temperature.device
        dim = model.towers.image_projection.out_features
        self.image_queue = torch.zeros(config.queue_size, dim, device=device)
        self.text_queue = torch.zeros(config.queue_size, dim, device=device)
        self.queue_keys = torch.zeros(config.queue_size, 2, dtype=torch.long, device=device)
        self.queue_weights = torch.zeros(config.queue_size, device=device)
        self.pointer = 0

    def losses(
        self,
        pixels: Tensor,
        ids: Tensor,
        mask: Tensor,
        keys: Tensor,
        draws: Draws,
        alpha: float,
        uniform_share: float,
    ) -> dict[str, Tensor]:
        """The four losses and their sum; shapes as in `r2d2.objectives.batch.TrainingBatch`."""
        model, config, n = self.model, self.config, len(ids)
        tau = model.log_temperature.exp()
        image_states, image_feat = model.towers.encode_images(pixels)
        text_states, text_feat = model.towers.encode_texts(ids, mask)
        masked_ids = ids.clone()
        masked_ids[draws.masked] = self.mask_id
        masked_states, masked_text_feat = model.towers.encode_texts(masked_ids, mask)
        with torch.no_grad():
            teacher_image = self.teacher.encode_images(pixels)[1]
            teacher_text = self.teacher.encode_texts(ids, mask)[1]

        # TgD
        all_keys = torch.cat([keys, self.queue_keys.clone()])
        positive = (keys[:, None, :] == all_keys[None, :, :]).any(-1).float()
        hard = positive / positive.sum(1, keepdim=True)
        weights = torch.cat([torch.ones(n, device=ids.device), self.queue_weights.clone()])
        loss_tgd = torch.zeros((), device=ids.device)
        for feat, other, teacher, teacher_other, queue in (
            (image_feat, text_feat, teacher_image, teacher_text, self.text_queue),
            (text_feat, image_feat, teacher_text, teacher_image, self.image_queue),
        ):
            with torch.no_grad():
                candidates = torch.cat([teacher_other, queue.clone()])
                soft = F.softmax(teacher @ candidates.t() / tau, dim=1)
                target = alpha * soft + (1 - alpha) * hard
            logits = feat @ torch.cat([other, queue.clone().detach()]).t() / tau
            row = -torch.sum(weights * F.log_softmax(logits, dim=1) * target, dim=1)
            loss_tgd = loss_tgd + row.mean() / 2

        # FgD
        visible = torch.zeros(n, image_states.shape[1], dtype=torch.bool, device=ids.device)
        visible[:, 0] = True
        for i in range(n):
            visible[i, 1 + draws.keep[i]] = True
        masked_image_feat = model.towers.encode_images(pixels, visible)[1]
        loss_fgd = torch.zeros((), device=ids.device)
        for student, teacher in (
            (masked_image_feat, teacher_image),
            (masked_text_feat, teacher_text),
        ):
            target = F.softmax(teacher / config.teacher_temperature, dim=1)
            log_student = F.log_softmax(student / config.student_temperature, dim=1)
            loss_fgd = loss_fgd - torch.sum(target * log_student, dim=1).mean() / 2

        # FGR: positives first, their pass serves MLM too (ET)
        texts = torch.where(draws.coin[:, None, None], masked_states, text_states)
        text_cross, text_logits, image_logits = self._cross(image_states, texts, mask)
        with torch.no_grad():
            similarity = image_feat @ text_feat.t() / tau
        same = (keys[:, None, :] == keys[None, :, :]).any(-1)
        negative_texts = self._draw(similarity, same, uniform_share, draws.u_text)
        negative_images = self._draw(similarity.t(), same, uniform_share, draws.u_image)
        image_neg = torch.stack([image_states[i] for i in negative_images])
        text_neg = torch.stack([texts[i] for i in negative_texts])
        mask_neg = torch.stack([mask[i] for i in negative_texts])
        _, text_logits_neg, image_logits_neg = self._cross(
            torch.cat([image_states, image_neg]),
            torch.cat([text_neg, texts]),
            torch.cat([mask_neg, mask]),
        )
        labels = torch.cat([torch.ones(n), torch.zeros(2 * n)]).long().to(ids.device)
        class_weight = torch.tensor([1.0, config.positive_weight], device=ids.device)
        loss_fgr = (
            F.cross_entropy(torch.cat([text_logits, text_logits_neg]), labels, class_weight)
            + F.cross_entropy(torch.cat([image_logits, image_logits_neg]), labels, class_weight)
        ) / 2

        # MLM
        wanted = draws.masked & draws.coin[:, None]
        token_labels = ids.masked_fill(~wanted, -100)
        token_logits = model.predict_tokens(text_cross)
        loss_mlm = F.cross_entropy(
            token_logits.view(-1, token_logits.shape[-1]), token_labels.view(-1), ignore_index=-100
        )

        self._entering = (teacher_image, teacher_text, keys)
        losses = {"tgd": loss_tgd, "fgr": loss_fgr, "mlm": loss_mlm, "fgd": loss_fgd}
        return losses | {"total": loss_tgd + loss_fgr + loss_mlm + loss_fgd}

    def _cross(self, images: Tensor, texts: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of pairs: states of the text-to-image encoder, and both match heads' logits."""
        model = self.model
        text_cross = model.text_to_image(texts, mask, images, None)
        image_cross = model.image_to_text(model.image_cross_projection(images), None, texts, mask)
        return (
            text_cross,
            model.match_head_text(text_cross[:, 0]),
            model.match_head_image(image_cross[:, 0]),
        )

    @staticmethod
    def _draw(similarity: Tensor, same: Tensor, uniform_share: float, u: Tensor) -> list[int]:
        """A negative a row, one after the other."""
        chosen = []
        for i in range(len(similarity)):
            weights = F.softmax(similarity[i].masked_fill(same[i], float("-inf")), dim=0).double()
            even = (~same[i]).double() / (~same[i]).sum()
            mixed = (1 - uniform_share) * weights + uniform_share * even
            edges = mixed.cumsum(0)
            chosen.append(int((edges <= u[i].double() * edges[-1]).sum().item()))
        return chosen

    @torch.no_grad()
    def after_step(self) -> None:
        """Clamp tau, move the teachers, one parameter after the other; let features queue."""
        self.model.log_temperature.clamp_(torch.tensor(0.001).log(), torch.tensor(0.5).log())
        momentum = self.config.momentum
        for teacher, student in zip(
            self.teacher.parameters(), self.model.towers.parameters(), strict=True
        ):
            teacher.data = teacher.data * momentum + student.data * (1.0 - momentum)
        self.queue_weights *= self.config.queue_decay
        images, texts, keys = self._entering
        places = (self.pointer + torch.arange(len(images))) % len(self.queue_weights)
        self.image_queue[places] = images
        self.text_queue[places] = texts
        self.queue_keys[places] = keys
        self.queue_weights[places] = 1.0
        self.pointer = (self.pointer + len(images)) % len(self.queue_weights)
