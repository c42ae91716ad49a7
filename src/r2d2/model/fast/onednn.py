"""Linear maps through oneDNN on processors with AVX-512: up to twice as fast.

For float32 on a CPU, PyTorch multiplies matrices by MKL, which uses AVX-512 on Intel's processors
only. oneDNN, which every PyTorch for x86 has too, uses it on every processor that has it. On other
devices, and for small products, this is `torch.nn.functional.linear`. docs/performance.md has the
figures.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import register_flop_formula

from r2d2.model.fast import enabled

LEAST = 1 << 21  # multiplications; for fewer, the call takes as long as the product


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """Apply x weight^T + bias, (..., out), to x (..., in); weight (out, in), bias (out,) or None.

    With `gelu`, its GELU: in the same kernel where no gradient is needed.
    """
    if not _by_onednn(x, weight):
        product = F.linear(x, weight, bias)
    elif torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        product = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    else:
        return _product(x, weight, bias, gelu)
    return F.gelu(product) if gelu else product


class _Linear(torch.autograd.Function):
    """The same with its gradients, which are two more products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        flat = grad.reshape(-1, grad.shape[-1])
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_x = _product(flat, weight.t(), None).view(x.shape)
        if ctx.needs_input_grad[1]:
            for_weight = _product(flat.t(), x.reshape(-1, x.shape[-1]).t(), None)
        if ctx.biased and ctx.needs_input_grad[2]:
            for_bias = flat.sum(0)
        return for_x, for_weight, for_bias


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    act, kind = ("gelu", "none") if gelu else ("none", "")
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, act, [], kind)
    return product


def _by_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        enabled()
        and not torch.compiler.is_compiling()  # nor exporting: shapes are symbols there
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= LEAST
        and _available()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and type(x) in (Tensor, nn.Parameter)  # no subclass that stands for shapes, or for shards
        and type(weight) in (Tensor, nn.Parameter)
    )


@functools.cache
def _available() -> bool:
    return (
        hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )


def _flops(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    rows = 1
    for size in x[:-1]:
        rows *= size
    return int(2 * rows * weight[0] * weight[1])


if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # so that FlopCounterMode sees it
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_flops)
