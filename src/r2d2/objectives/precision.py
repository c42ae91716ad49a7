"""Compute a loss in float32 under autocast, because it has a softmax over many candidates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

_HALF = (torch.bfloat16, torch.float16)


def exact(function: Callable[P, T]) -> Callable[P, T]:
    """Make a loss run in float32, with the half-precision features of autocast converted to it."""

    @functools.wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> T:
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        device = tensors[0].device.type
        has_autocast = torch.amp.is_autocast_available(device)  # the device "meta" has none
        if not (has_autocast and torch.is_autocast_enabled(device)):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            float_args: Any = [_as_float32(x) for x in args]
            float_kwargs: Any = {name: _as_float32(x) for name, x in kwargs.items()}
            return function(*float_args, **float_kwargs)

    return computed


def _as_float32(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.dtype in _HALF else x
