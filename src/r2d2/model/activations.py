"""The activations of feed-forwards and heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
