"""The contrastive loss of a variant: TgD, GCPR or the sigmoid, at one width or at several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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
from r2d2.objectives.sigmoid import sigmoid_contrast
from r2d2.objectives.widths import NarrowQueue, QueuedFeatures, at_width

NAMES = ("tgd", "gcpr", "sigmoid")  # under which a step's losses hold it


def contrast_losses(
    config: ObjectiveConfig,
    model: R2D2,
    features: Features,
    queue: FeatureQueue | None,
    context: StepContext,
    ranks: Collectives = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """The contrast of all that the processes hold.

    With several widths it is their mean, so that it weighs as much as one; beside it stands the
    loss of each, as "tgd_32", to be watched.
    """
    name = "sigmoid" if config.contrast == "sigmoid" else "gcpr" if queue is None else "tgd"
    if not config.widths:
        return {name: _at(config, features, queue, model, context, ranks)}
    full = features.images.shape[1]
    widths = (*(width for width in config.widths if width != full), full)
    losses = []
    for width in widths:
        narrow = None if queue is None else NarrowQueue(queue, width)
        losses.append(_at(config, _narrowed(features, width), narrow, model, context, ranks))
    apart = {f"{name}_{w}": loss.detach() for w, loss in zip(widths, losses, strict=True)}
    return {name: torch.stack(losses).mean(), **apart}


def check_contrast(config: Config) -> None:
    """Refuse a contrast that the model has not the parameters or the width for; R2D2Error."""
    objectives, model = config.objectives, config.model
    if objectives.contrast == "sigmoid" and model.logit_bias is None:
        raise R2D2Error(
            "objectives.contrast=sigmoid learns a bias, and the model to start from has none: "
            "leave the setting out, or start from SigLIP's towers or from random weights"
        )
    if objectives.widths and max(objectives.widths) > model.embed_dim:
        raise R2D2Error(
            f"objectives.widths has {max(objectives.widths)}, and an embedding of this model has "
            f"{model.embed_dim} numbers: give widths up to that"
        )


def _narrowed(f: Features, width: int) -> Features:
    embeddings: dict[str, Any] = {
        name: None if (x := getattr(f, name)) is None else at_width(x, width)
        for name in ("images", "texts", "teacher_images", "teacher_texts")
    }
    return replace(f, **embeddings)


def _at(
    config: ObjectiveConfig,
    features: Features,
    queue: QueuedFeatures | None,
    model: R2D2,
    context: StepContext,
    ranks: Collectives,
) -> Tensor:
    f = features
    if queue is not None:
        assert f.teacher_images is not None
        assert f.teacher_texts is not None
        return tgd(
            f.images, f.texts, f.teacher_images, f.teacher_texts, f.keys, queue,
            model.temperature, context.alpha, ranks.gather,
        )  # fmt: skip
    if config.contrast == "sigmoid":
        assert model.logit_bias is not None
        bias = model.logit_bias
        return sigmoid_contrast(f.images, f.texts, f.keys, model.temperature, bias, ranks.gather)
    return gcpr(f.images, f.texts, f.keys, model.temperature, ranks.gather)
