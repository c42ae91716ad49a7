"""The share of the ranking losses' gradient that the towers receive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from r2d2.model.encoded_states import EncodedStates


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """The tensor itself; in the backward pass its gradient is multiplied by `scale`.

    0 detaches: then nothing behind it is computed in the backward pass.
    """
    if scale == 1.0:
        return x
    if scale == 0.0:
        return x.detach()
    scaled: Tensor = _ScaledGradient.apply(x, scale)  # type: ignore[no-untyped-call]
    return scaled


def with_scaled_gradient(encoded: EncodedStates, scale: float) -> EncodedStates:
    """The same with `scaled_gradient` of its states."""
    return replace(encoded, states=scaled_gradient(encoded.states, scale))


class _ScaledGradient(torch.autograd.Function):
    """The identity forwards, a factor backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None
