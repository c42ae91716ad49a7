"""Losses that are computed in float32 under autocast, for a softmax over many candidates."""

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
    """Compute a loss in float32, and convert the half-precision features of autocast to it."""

    @functools.wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> T:
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        device = tensors[0].device.type
        known = torch.amp.is_autocast_available(device)  # not on "meta"
        if not (known and torch.is_autocast_enabled(device)):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            raised: Any = [_raised(x) for x in args]
            named: Any = {name: _raised(x) for name, x in kwargs.items()}
            return function(*raised, **named)

    return computed


def _raised(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.dtype in _HALF else x
