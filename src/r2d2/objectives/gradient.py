"""Scale the part of the ranking losses' gradient that reaches the towers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from r2d2.model.encoded_states import EncodedStates


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """Return the tensor itself; the backward pass multiplies its gradient by `scale`.

    With a scale of 0 the tensor is detached, so the backward pass stops here.
    """
    if scale == 1.0:
        return x
    if scale == 0.0:
        return x.detach()
    scaled: Tensor = _ScaledGradient.apply(x, scale)  # type: ignore[no-untyped-call]
    return scaled


def with_scaled_gradient(encoded: EncodedStates, scale: float) -> EncodedStates:
    """Return a copy whose states have a scaled gradient; see `scaled_gradient`."""
    return replace(encoded, states=scaled_gradient(encoded.states, scale))


class _ScaledGradient(torch.autograd.Function):
    """The identity in the forward pass, and a factor in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None
