"""Two-way distillation: TgD over candidates (target-guided), FgD over features."""

from __future__ import annotations

import torch
from torch import Tensor

from r2d2.objectives.gcpr import Gather, hard_targets, identity, positives
from r2d2.objectives.precision import exact
from r2d2.objectives.queue import FeatureQueue
from r2d2.objectives.unlabelled import UnlabelledCandidates, log_softmax_without


@exact
def tgd(
    images: Tensor,
    texts: Tensor,
    teacher_images: Tensor,
    teacher_texts: Tensor,
    keys: Tensor,
    queue: FeatureQueue,
    temperature: Tensor,
    alpha: float,
    gather: Gather = identity,
    unlabelled: UnlabelledCandidates | None = None,
) -> Tensor:
    """L_TgD = 1/2 mean_i [L_w(yhat^I_i, s(I_i, .)) + L_w(yhat^T_i, s(T_i, .))].

    Candidates are the global batch's features, with gradient, then the queue as it was before this
    step. yhat = alpha softmax(teacher) + (1 - alpha) y; L_w(p, s) = -sum_j w_j p_j log s_j.

    Args:
        images: (n, d) f_I.
        texts: (n, d) f_T.
        teacher_images: (n, d) f'_I.
        teacher_texts: (n, d) f'_T.
        keys: (n, 2) int64, image key and text key.
        queue: teacher features of the last steps, of d numbers or more; see `at_width`.
        temperature: tau; the targets take no gradient through it.
        alpha: share of the soft target.
        gather: joins the ranks' features, with gradient.
        unlabelled: candidates (n, N + q) that are left out of the softmax of the student and of
            that of the teacher; None: none are.
    """
    queued_images, queued_texts, queued_keys, queued_weights = queue.filled(images.shape[1])
    all_keys = gather(keys)
    y = hard_targets(positives(keys, torch.cat([all_keys, queued_keys])))
    w = torch.cat([queued_weights.new_ones(len(all_keys)), queued_weights])

    def against(query: Tensor, batch: Tensor, queued: Tensor) -> Tensor:
        # The queue is not joined to the batch: this would copy it and compute its gradient.
        return torch.cat([query @ batch.T, query @ queued.T], dim=1).float()

    def one_direction(
        query: Tensor,
        others: Tensor,
        teacher_query: Tensor,
        teacher_others: Tensor,
        queued: Tensor,
        left_out: Tensor | None,
    ) -> Tensor:
        with torch.no_grad():
            logits = against(teacher_query, gather(teacher_others), queued) / temperature
            if left_out is not None:
                logits = logits.masked_fill(left_out, -torch.inf)
            soft = logits.softmax(1)
            weighted_target = w * (alpha * soft + (1 - alpha) * y)
        logits = against(query, gather(others), queued) / temperature
        log_s = log_softmax_without(logits, left_out)
        return -(weighted_target * log_s).sum(1).mean()

    of_images, of_texts = (None, None) if unlabelled is None else unlabelled.directions
    image_to_text = one_direction(
        images, texts, teacher_images, teacher_texts, queued_texts, of_images
    )
    text_to_image = one_direction(
        texts, images, teacher_texts, teacher_images, queued_images, of_texts
    )
    return (image_to_text + text_to_image) / 2


@exact
def fgd(
    masked_images: Tensor,
    masked_texts: Tensor,
    teacher_images: Tensor,
    teacher_texts: Tensor,
    teacher_temperature: float,
    student_temperature: float,
) -> tuple[Tensor, Tensor]:
    """L_FgD = 1/2 mean_i [CE(P_t(I), P_s(I)) + CE(P_t(T), P_s(T))] over the d feature dimensions.

    Args:
        masked_images: (n, d) the student's f_I of a part of the patches.
        masked_texts: (n, d) the student's f_T of the masked text.
        teacher_images: (n, d) f'_I of the whole image.
        teacher_texts: (n, d) f'_T of the whole text.
        teacher_temperature: tau_t.
        student_temperature: tau_s.

    Returns:
        The loss, and the mean entropy of P_t in nats. An entropy near 0 or near ln d means that the
        targets carry almost no information.
    """
    loss = masked_images.new_zeros((), dtype=torch.float32)
    entropy = loss.clone()
    for student, teacher in ((masked_images, teacher_images), (masked_texts, teacher_texts)):
        log_target = (teacher.detach().float() / teacher_temperature).log_softmax(1)
        target = log_target.exp()
        log_student = (student.float() / student_temperature).log_softmax(1)
        loss = loss - (target * log_student).sum(1).mean() / 2
        entropy = entropy - (target * log_target).sum(1).mean() / 2
    return loss, entropy
