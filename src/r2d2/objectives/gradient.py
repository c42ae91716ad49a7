"""How much of the ranking losses' gradient goes on into the towers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from r2d2.model.encoded_states import EncodedStates


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """The tensor itself; the gradient that comes back through it is multiplied by `scale`.

    0 detaches: then nothing behind it is computed in the backward pass.
    """
    if scale == 1.0:
        return x
    if scale == 0.0:
        return x.detach()
    scaled: Tensor = _ScaledGradient.apply(x, scale)  # type: ignore[no-untyped-call]
    return scaled


def with_scaled_gradient(side: EncodedStates, scale: float) -> EncodedStates:
    """A side whose states pass `scale` of their gradient on; see `scaled_gradient`."""
    return replace(side, states=scaled_gradient(side.states, scale))


class _ScaledGradient(torch.autograd.Function):
    """The identity forwards, a factor backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None
