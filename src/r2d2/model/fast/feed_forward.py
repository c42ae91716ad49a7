"""The feed-forward, keeping one large tensor for the backward pass where autograd keeps three.

For each token autograd would keep three tensors four times as wide as the model: the activation's
input, its output, and for QuickGELU the sigmoid. All are computed again from the first, by work
that is nothing beside the two matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from r2d2.model.activations import QUICK, QuickGELU
from r2d2.model.fast.onednn import linear
from r2d2.model.fast.packing import exporting


def feed_forward(x: Tensor, first: nn.Linear, act: nn.Module, second: nn.Linear) -> Tensor:
    """Return second(act(first(x))), in the shape of x (..., width)."""
    if torch.compiler.is_compiling():
        return second(act(first(x)))  # type: ignore[no-any-return]
    if not torch.is_grad_enabled():
        inner = act(first(x)) if exporting() else _inner(first, act, x)
        return second(inner)  # type: ignore[no-any-return]
    pair = _with_gradient(act)
    if pair is None:
        return second(act(first(x)))  # type: ignore[no-any-return]
    return _FeedForward.apply(  # type: ignore[no-any-return, no-untyped-call]
        x, first.weight, first.bias, second.weight, second.bias, pair, _half(x)
    )


def _inner(first: nn.Linear, act: nn.Module, x: Tensor) -> Tensor:
    """Return the input of the second map, computed in place because no gradient is needed."""
    if type(act) is nn.GELU and act.approximate == "none":
        return linear(x, first.weight, first.bias, gelu=True)
    if type(act) is QuickGELU:
        return torch.nn.functional.silu(first(x).mul_(QUICK), inplace=True).mul_(1 / QUICK)
    return act(first(x))  # type: ignore[no-any-return]


# An activation, and the gradient at its input from that at its output and from that input.
_Activation = tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]


def _quick(x: Tensor) -> Tensor:
    return torch.nn.functional.silu(QUICK * x).mul_(1 / QUICK)


def _quick_back(grad: Tensor, x: Tensor) -> Tensor:
    gradient: Tensor = torch.ops.aten.silu_backward(grad, QUICK * x)
    return gradient


def _with_gradient(act: nn.Module) -> _Activation | None:
    if type(act) is QuickGELU:
        return _quick, _quick_back
    if type(act) is nn.GELU:
        kind, back = act.approximate, torch.ops.aten.gelu_backward
        return act.forward, lambda grad, x: back(grad, x, approximate=kind)
    return None


def _half(x: Tensor) -> torch.dtype | None:
    """Return the precision of autocast; None where it is off."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return None


def _without_autocast(x: Tensor) -> AbstractContextManager[object]:
    kind = x.device.type  # not on "meta"
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known else nullcontext()


class _FeedForward(torch.autograd.Function):
    """act(x W1^T + b1) W2^T + b2; in half precision, if autocast asks for it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, weight2: Tensor, bias2: Tensor,
        pair: _Activation, half: torch.dtype | None,
    ) -> Tensor:  # fmt: skip
        kind = half or x.dtype
        with _without_autocast(x):
            flat = x.reshape(-1, x.shape[-1]).to(kind)
            inner = linear(flat, weight.to(kind), bias.to(kind))
            out = linear(pair[0](inner), weight2.to(kind), bias2.to(kind))
        ctx.save_for_backward(flat, inner, weight, weight2)
        ctx.pair, ctx.shape, ctx.kinds = pair, x.shape, (x.dtype, bias.dtype)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, weight2 = ctx.saved_tensors
        (act, back), (kind_x, kind_bias), kind = ctx.pair, ctx.kinds, inner.dtype
        gradients: list[Tensor | None] = [None] * 7
        with _without_autocast(grad):
            grad = grad.reshape(-1, grad.shape[-1]).to(kind)
            if ctx.needs_input_grad[3]:
                gradients[3] = linear(grad.t(), act(inner).t()).to(weight2.dtype)
            if ctx.needs_input_grad[4]:
                gradients[4] = grad.sum(0).to(kind_bias)
            at = back(linear(grad, weight2.to(kind).t()), inner)
            if ctx.needs_input_grad[1]:
                gradients[1] = linear(at.t(), flat.t()).to(weight.dtype)
            if ctx.needs_input_grad[2]:
                gradients[2] = at.sum(0).to(kind_bias)
            if ctx.needs_input_grad[0]:
                gradients[0] = linear(at, weight.to(kind).t()).view(ctx.shape).to(kind_x)
        return tuple(gradients)
