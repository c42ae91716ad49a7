"""Attention weights of both cross encoders, plain and weighted by the match score's gradient.

Plain weights are the attention weights of the cross encoder, averaged over the heads. Weighted ones
are each head's weight times the positive part of the match score's gradient with respect to it,
averaged over the heads, so that attention which does not raise the match score counts as 0. This is
Grad-CAM (arXiv 1610.02391) as ALBEF applies it to cross-attention (arXiv 2107.07651). The score is
the log odds of one match head: that of p_T for the attention of the text, and that of p_I for the
attention of the picture. Log odds are used because a probability near 1 has almost no gradient.

The match score is computed from [CLS]. In the last layer only the row of [CLS] affects it, so all
other rows of the last layer have no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.model.cross import CrossEncoder
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import R2D2

FRONT = 1  # positions before the patches: [CLS], or the pooled state of towers without [CLS]


@dataclass(frozen=True)
class AttentionWeights:
    """Attention of L query positions over S positions of the other side, heads averaged."""

    plain: Tensor  # (layers, n, L, S), sums to 1 over S
    weighted: Tensor  # the same shape, 0 or more; in the last layer 0 except for [CLS]


def text_to_image(
    model: R2D2, images: EncodedStates, texts: EncodedStates, gradient: bool = True
) -> AttentionWeights:
    """Return the attention of text positions over image positions, for image i with text i.

    The S image positions include FRONT.

    Raises:
        R2D2Error: the model has no cross encoders.
    """
    check_cross(model)
    queries, context = _differentiable(texts), _differentiable(images)
    return _weights(model.text_to_image, model.match_head_text, queries, context, gradient)


def image_to_text(
    model: R2D2, images: EncodedStates, texts: EncodedStates, gradient: bool = True
) -> AttentionWeights:
    """Return the attention of image positions over text positions, for image i with text i.

    The L image positions include FRONT.

    Raises:
        R2D2Error: the model has no cross encoders.
    """
    check_cross(model)
    images, context = _differentiable(images), _differentiable(texts)
    with torch.set_grad_enabled(gradient):
        queries = EncodedStates(
            model.image_cross_projection(images.states), images.mask, images.embedding
        )
        return _weights(model.image_to_text, model.match_head_image, queries, context, gradient)


def check_cross(model: R2D2) -> None:
    """Raise R2D2Error where the model has no cross encoders."""
    if not model.has_match:
        raise no_cross_encoders()


def no_cross_encoders() -> R2D2Error:
    """Return the error for a model without cross encoders."""
    return R2D2Error(
        "there is no attention to read in this model, which has no cross encoders (variant prd2) "
        "or is an ONNX graph: explain it by dropping, or give a model of variant r2d2",
        code="no_cross_encoders",
    )


def _weights(
    encoder: CrossEncoder,
    head: torch.nn.Module,
    queries: EncodedStates,
    context: EncodedStates,
    gradient: bool,
) -> AttentionWeights:
    n, length = queries.states.shape[:2]
    positions = torch.arange(length, device=queries.states.device).expand(n, -1)
    record: list[Tensor] = []
    with torch.set_grad_enabled(gradient):
        states = encoder(
            queries.states,
            queries.mask,
            context.states,
            context.mask,
            positions=positions,
            record=record,
        )
        plain = torch.stack([weights.detach().mean(1) for weights in record])
        if not gradient:
            return AttentionWeights(plain, plain[:0])
        logits = head(states[:, 0])
        # Pairs do not depend on each other, so the sum gives each pair its own gradient.
        score = (logits[:, 1] - logits[:, 0]).sum()
        gradients = torch.autograd.grad(score, record)
    weighted = [
        (weights.detach() * change.clamp_min(0)).mean(1)
        for weights, change in zip(record, gradients, strict=True)
    ]
    return AttentionWeights(plain, torch.stack(weighted))


def _differentiable(side: EncodedStates) -> EncodedStates:
    """Return a copy that gradients can flow through; states of inference mode do not allow it."""
    mask = None if side.mask is None else side.mask.clone()
    states = side.states.detach().clone().requires_grad_()
    return EncodedStates(states, mask, side.embedding)
