"""AdamW with decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from r2d2.config import TrainConfig

# Matrices by shape, not by role: a decay would pull places towards one another.
_NEVER_DECAYED = ("position_embedding",)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; no decay on norms, biases, position, class and segment embeddings, temperature."""
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.dim() >= 2 and not name.endswith(_NEVER_DECAYED)
        (decayed if matrix else others).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)
