"""Teachers: momentum copies of the towers, theta' <- m theta' + (1 - m) theta."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def teacher_of(towers: M) -> M:
    """A copy that takes no gradient and drops nothing out."""
    return copy.deepcopy(towers).eval().requires_grad_(False)


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, towers: nn.Module, momentum: float, at_once: bool = True
) -> None:
    """Move the teacher towards the towers; `at_once`: all parameters in one call."""
    ours, theirs = (_held(module) for module in (teacher, towers))
    if at_once:
        torch._foreach_lerp_(ours, theirs, 1.0 - momentum)
        return
    for tensor, target in zip(ours, theirs, strict=True):
        tensor.lerp_(target, 1.0 - momentum)


def _held(module: nn.Module) -> list[torch.Tensor]:
    """Parameters, or what this process holds of them where they are cut over several."""
    return [p.to_local() if hasattr(p, "to_local") else p for p in module.parameters()]
