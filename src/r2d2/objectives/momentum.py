"""Teachers: momentum copies of the towers, theta' <- m theta' + (1 - m) theta."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def teacher_of(towers: M) -> M:
    """Return a copy that has no gradient and no dropout."""
    return copy.deepcopy(towers).eval().requires_grad_(False)


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, towers: nn.Module, momentum: float, at_once: bool = True
) -> None:
    """Move the teacher towards the towers; with `at_once`, all parameters in one call."""
    tensors, targets = (_local_parameters(module) for module in (teacher, towers))
    if at_once:
        torch._foreach_lerp_(tensors, targets, 1.0 - momentum)
        return
    for tensor, target in zip(tensors, targets, strict=True):
        tensor.lerp_(target, 1.0 - momentum)


def _local_parameters(module: nn.Module) -> list[torch.Tensor]:
    """Return the parameters; of sharded parameters, the part that this process holds."""
    return [p.to_local() if hasattr(p, "to_local") else p for p in module.parameters()]
