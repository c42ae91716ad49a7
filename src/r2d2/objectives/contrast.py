"""Compute the contrastive loss of a variant: TgD, GCPR or sigmoid, at one or several widths.

Where pictures have second texts, a contrast of the pictures with these is computed as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from r2d2.config import Config, ObjectiveConfig
from r2d2.errors import R2D2Error
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import Features, StepContext
from r2d2.objectives.collectives import SINGLE_PROCESS, Collectives
from r2d2.objectives.distill import tgd
from r2d2.objectives.gcpr import gcpr, positives
from r2d2.objectives.queue import FeatureQueue
from r2d2.objectives.second_text import PresentPairs, softmax_contrast
from r2d2.objectives.sigmoid import sigmoid_contrast
from r2d2.objectives.unlabelled import UnlabelledCandidates, nearer_than_own
from r2d2.objectives.widths import at_width

NO_BIAS = (
    "objectives.contrast=sigmoid learns a bias, and the model to start from has none: "
    "leave the setting out, or start from SigLIP's towers or from random weights"
)
NAMES = ("tgd", "gcpr", "sigmoid")  # the names that the contrast has among the losses of a step


def contrast_losses(
    config: ObjectiveConfig,
    model: R2D2,
    features: Features,
    queue: FeatureQueue | None,
    context: StepContext,
    collectives: Collectives = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """Compute the contrast over the pairs of all processes, and that with second texts, if any.

    With several widths, a contrast is the mean over the widths, so that its weight in the total
    loss does not change. The loss of each width is reported too, under a name such as "tgd_32". The
    contrast with second texts is named "second_text"; it has no teacher and no queue. Candidates
    that are unlabelled at the full width are left out at all widths; "unlabelled_contrast" is their
    share of all candidates.
    """
    margin = config.unlabelled_margin if context.unlabelled else None
    unlabelled = None
    if margin is not None:
        unlabelled = _unlabelled(features, queue, margin, collectives)

    def at(width: int) -> Tensor:
        images, texts = at_width(features.images, width), at_width(features.texts, width)
        keys, tau, gather = features.keys, model.temperature, collectives.gather
        if config.contrast == "sigmoid":
            if model.logit_bias is None:
                raise R2D2Error(NO_BIAS)
            return sigmoid_contrast(images, texts, keys, tau, model.logit_bias, gather)
        if queue is None or features.teacher is None:
            return gcpr(images, texts, keys, tau, gather, unlabelled)
        teacher_images = at_width(features.teacher.images, width)
        teacher_texts = at_width(features.teacher.texts, width)
        return tgd(
            images, texts, teacher_images, teacher_texts, keys, queue, tau, context.alpha, gather,
            unlabelled,
        )  # fmt: skip

    name = "sigmoid" if config.contrast == "sigmoid" else "gcpr" if queue is None else "tgd"
    full = features.images.shape[1]
    losses = _over_widths(name, config, full, at)
    if unlabelled is not None:
        losses["unlabelled_contrast"] = unlabelled.share
    if features.second is None:
        return losses
    pairs = PresentPairs(features.images, features.keys[:, 0], features.keys[:, 1],
                         features.second, collectives)  # fmt: skip
    of_second = None if margin is None else pairs.unlabelled(margin)

    def with_second_texts(width: int) -> Tensor:
        images, texts = at_width(pairs.images, width), at_width(pairs.texts, width)
        keys, text_keys, tau = pairs.image_keys, pairs.text_keys, model.temperature
        if config.contrast == "sigmoid" and model.logit_bias is not None:
            bias = model.logit_bias
            loss = sigmoid_contrast(images, texts, keys, tau, bias, pairs.gather, text_keys)
        else:
            loss = softmax_contrast(images, texts, keys, text_keys, tau, pairs.gather, of_second)
        return pairs.share * loss

    return losses | _over_widths("second_text", config, full, with_second_texts)


def _unlabelled(
    features: Features, queue: FeatureQueue | None, margin: float, collectives: Collectives
) -> UnlabelledCandidates:
    """Find unlabelled candidates among the pairs of all processes, followed by the queue."""
    images, texts, keys = features.images.detach(), features.texts.detach(), features.keys
    candidates = [tuple(collectives.gather(x) for x in (images, texts, keys))]
    if queue is not None and features.teacher is not None:
        candidates.append(queue.filled()[:3])
    of_images, of_texts = [], []
    for other_images, other_texts, other_keys in candidates:
        matches = positives(keys, other_keys)
        of_images.append(nearer_than_own(images, texts, other_texts, matches, margin))
        of_texts.append(nearer_than_own(texts, images, other_images, matches, margin))
    return UnlabelledCandidates(torch.cat(of_images, dim=1), torch.cat(of_texts, dim=1))


def _over_widths(
    name: str, config: ObjectiveConfig, full: int, at: Callable[[int], Tensor]
) -> dict[str, Tensor]:
    """Return the mean of the loss over the widths, and the loss of each width by itself.

    Args:
        name: of the loss.
        config: names the widths; the `full` width is always one of them.
        full: the number of values in an embedding.
        at: computes the loss at one width.
    """
    widths = (*(width for width in config.widths if width != full), full)
    losses = [at(width) for width in widths]
    if not config.widths:
        return {name: losses[0]}
    apart = {f"{name}_{w}": loss.detach() for w, loss in zip(widths, losses, strict=True)}
    return {name: torch.stack(losses).mean(), **apart}


def check_contrast(config: Config) -> None:
    """Raise R2D2Error where the model lacks the parameters or the width that the contrast needs."""
    objectives, model = config.objectives, config.model
    if objectives.contrast == "sigmoid" and model.logit_bias is None:
        raise R2D2Error(NO_BIAS)
    if objectives.widths and max(objectives.widths) > model.embed_dim:
        raise R2D2Error(
            f"objectives.widths has {max(objectives.widths)}, and an embedding of this model has "
            f"{model.embed_dim} numbers: give widths up to that"
        )
