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
from r2d2.objectives.gcpr import gcpr
from r2d2.objectives.queue import FeatureQueue
from r2d2.objectives.second_text import PresentPairs, softmax_contrast
from r2d2.objectives.sigmoid import sigmoid_contrast
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
    contrast with second texts is named "second_text"; it has no teacher and no queue.
    """

    def at(width: int) -> Tensor:
        images, texts = at_width(features.images, width), at_width(features.texts, width)
        keys, tau, gather = features.keys, model.temperature, collectives.gather
        if config.contrast == "sigmoid":
            if model.logit_bias is None:
                raise R2D2Error(NO_BIAS)
            return sigmoid_contrast(images, texts, keys, tau, model.logit_bias, gather)
        if queue is None or features.teacher is None:
            return gcpr(images, texts, keys, tau, gather)
        teacher_images = at_width(features.teacher.images, width)
        teacher_texts = at_width(features.teacher.texts, width)
        return tgd(
            images, texts, teacher_images, teacher_texts, keys, queue, tau, context.alpha, gather
        )

    name = "sigmoid" if config.contrast == "sigmoid" else "gcpr" if queue is None else "tgd"
    full = features.images.shape[1]
    losses = _over_widths(name, config, full, at)
    if features.second is None:
        return losses
    pairs = PresentPairs(features.images, features.keys[:, 0], features.keys[:, 1],
                         features.second, collectives)  # fmt: skip

    def with_second_texts(width: int) -> Tensor:
        images, texts = at_width(pairs.images, width), at_width(pairs.texts, width)
        keys, text_keys, tau = pairs.image_keys, pairs.text_keys, model.temperature
        if config.contrast == "sigmoid" and model.logit_bias is not None:
            bias = model.logit_bias
            loss = sigmoid_contrast(images, texts, keys, tau, bias, pairs.gather, text_keys)
        else:
            loss = softmax_contrast(images, texts, keys, text_keys, tau, pairs.gather)
        return pairs.share * loss

    return losses | _over_widths("second_text", config, full, with_second_texts)


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
