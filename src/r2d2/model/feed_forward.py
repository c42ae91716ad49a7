"""The feed-forward of every transformer here, and how it keeps one large tensor of three.

What autograd would keep of each token, four times as wide as the model: what enters the activation,
what leaves it, and for QuickGELU its sigmoid. All follow from the first, by work that is nothing
beside the two matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from r2d2.model.linear import Linear, linear
from r2d2.model.packing import exporting

QUICK = 1.702  # CLIP's


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), CLIP's activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape, element by element."""
        return x * torch.sigmoid(QUICK * x)


def activation(name: str) -> nn.Module:
    """One of `config.ACTIVATIONS`."""
    if name == "quick_gelu":
        return QuickGELU()
    if name == "relu":
        return nn.ReLU()
    return nn.GELU(approximate="tanh" if name == "gelu_new" else "none")


class FeedForward(nn.Sequential):
    """Two linear maps, four times the width between them unless `inner_width` is given."""

    def __init__(self, width: int, activation: nn.Module, inner_width: int = 0) -> None:
        inner = inner_width or 4 * width
        super().__init__(Linear(width, inner), activation, Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of x (..., width)."""
        first, act, second = self
        both = _pair_of(act)
        if not (isinstance(first, Linear) and isinstance(second, Linear)):
            return second(act(first(x)))  # type: ignore[no-any-return]  # LoRA around a matrix
        if not torch.is_grad_enabled() and not torch.compiler.is_compiling() and not exporting():
            return second(_inner(first, act, x))  # type: ignore[no-any-return]
        if both is None or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return second(act(first(x)))  # type: ignore[no-any-return]
        return _FeedForward.apply(  # type: ignore[no-any-return, no-untyped-call]
            x, first.weight, first.bias, second.weight, second.bias, both, _half(x)
        )


def _inner(first: Linear, act: nn.Module, x: Tensor) -> Tensor:
    """What enters the second map, with no second tensor of this size: nothing is learnt from it."""
    if type(act) is nn.GELU and act.approximate == "none":
        return linear(x, first.weight, first.bias, gelu=True)
    if type(act) is QuickGELU:
        return torch.nn.functional.silu(first(x).mul_(QUICK), inplace=True).mul_(1 / QUICK)
    return act(first(x))  # type: ignore[no-any-return]


# An activation, and the gradient at its input from that at its output and from that input.
_Pair = tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]


def _quick(x: Tensor) -> Tensor:
    return torch.nn.functional.silu(QUICK * x).mul_(1 / QUICK)


def _quick_back(grad: Tensor, x: Tensor) -> Tensor:
    found: Tensor = torch.ops.aten.silu_backward(grad, QUICK * x)
    return found


def _pair_of(act: nn.Module) -> _Pair | None:
    if type(act) is QuickGELU:
        return _quick, _quick_back
    if type(act) is nn.GELU:
        way, back = act.approximate, torch.ops.aten.gelu_backward
        return act.forward, lambda grad, x: back(grad, x, approximate=way)
    return None


def _half(x: Tensor) -> torch.dtype | None:
    """What autocast computes in; None where it is off."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return None


def _as_it_is(x: Tensor) -> AbstractContextManager[object]:
    """Without autocast."""
    kind = x.device.type  # not on "meta"
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known else nullcontext()


class _FeedForward(torch.autograd.Function):
    """act(x W1^T + b1) W2^T + b2; in half precision, if autocast asks for it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, weight2: Tensor, bias2: Tensor,
        both: _Pair, half: torch.dtype | None,
    ) -> Tensor:  # fmt: skip
        kind = half or x.dtype
        with _as_it_is(x):
            flat = x.reshape(-1, x.shape[-1]).to(kind)
            inner = linear(flat, weight.to(kind), bias.to(kind))
            out = linear(both[0](inner), weight2.to(kind), bias2.to(kind))
        ctx.save_for_backward(flat, inner, weight, weight2)
        ctx.both, ctx.shape, ctx.kinds = both, x.shape, (x.dtype, bias.dtype)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, weight2 = ctx.saved_tensors
        (act, back), (kind_x, kind_bias), kind = ctx.both, ctx.kinds, inner.dtype
        found: list[Tensor | None] = [None] * 7
        with _as_it_is(grad):
            grad = grad.reshape(-1, grad.shape[-1]).to(kind)
            if ctx.needs_input_grad[3]:
                found[3] = linear(grad.t(), act(inner).t()).to(weight2.dtype)
            if ctx.needs_input_grad[4]:
                found[4] = grad.sum(0).to(kind_bias)
            at = back(linear(grad, weight2.to(kind).t()), inner)
            if ctx.needs_input_grad[1]:
                found[1] = linear(at.t(), flat.t()).to(weight.dtype)
            if ctx.needs_input_grad[2]:
                found[2] = at.sum(0).to(kind_bias)
            if ctx.needs_input_grad[0]:
                found[0] = linear(at, weight.to(kind).t()).view(ctx.shape).to(kind_x)
        return tuple(found)
