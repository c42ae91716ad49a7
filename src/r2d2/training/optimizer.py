"""Set up AdamW: which parameters decay, and which have another learning rate."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from r2d2.config import TrainConfig
from r2d2.model.towers import layers_of

# Matrices by shape, not by role: a decay would pull places towards one another.
_NEVER_DECAYED = ("position_embedding", "cls_token", "register_tokens", "token_type_embedding")
_SCALARS = ("log_temperature", "logit_bias")  # of the contrast: no reason to be near 0
_LAYER = re.compile(r"towers\.(?:vision|text)\.(?:encoder\.|model\.)?(?:layers?|stages)\.(\d+)\.")
# Modules above a tower's layers, here and in Hugging Face's classes.
_TOP = (
    "output_norm", "post_norm", "post_layernorm", "final_layer_norm", ".head.",
    "vision.layernorm.", "vision.norm.", "text.norm.",
)  # fmt: skip


def make_optimizer(
    model: nn.Module, config: TrainConfig, updates: str = "auto"
) -> torch.optim.AdamW:
    """Return AdamW; `TrainConfig.decay` says what decays, by default no norms, biases or positions.

    Each group's `scale` is its share of the learning rate: `layer_decay` to the power of how far a
    tower's layer lies below its top, the embeddings one below the lowest; times `bias_rate` for
    biases. `updates`: see `SystemConfig`; cut weights take no fused kernel.
    """
    groups: dict[tuple[bool, float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = _decays(name, parameter, config.decay)
        scale = config.layer_decay ** _depth(model, name) if config.layer_decay < 1 else 1.0
        scale *= config.bias_rate if name.endswith("bias") and not name.endswith(_SCALARS) else 1.0
        cut = hasattr(parameter, "to_local")  # cut and uncut tensors do not go into one call
        group = groups.setdefault((decayed, scale, cut), {"params": [], "scale": scale})
        group["weight_decay"] = config.weight_decay if decayed else 0.0
        group["params"].append(parameter)
    whole = not any(cut for _, _, cut in groups)
    # Decayed ones first: the order of a list of groups is part of what a checkpoint relies on.
    ordered = [groups[key] for key in sorted(groups, key=lambda k: (not k[0], -k[1], k[2]))]
    fused = whole and updates in ("auto", "fused")
    return torch.optim.AdamW(
        ordered,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=fused,
        foreach=not fused and updates != "single",
    )


def _decays(name: str, parameter: nn.Parameter, decay: str) -> bool:
    if name.endswith(_SCALARS):
        return False
    if decay == "matrices":
        return parameter.dim() >= 2 and not any(part in name for part in _NEVER_DECAYED)
    return decay == "all" or not name.endswith("bias")


def _depth(model: nn.Module, name: str) -> int:
    """Return how many layers of its tower are above a parameter; 0 for the heads."""
    if not name.startswith(("towers.vision.", "towers.text.")):
        return 0
    layers = len(layers_of(model.get_submodule(".".join(name.split(".")[:2]))))
    layer = _LAYER.match(name)
    if layer:
        return layers - 1 - int(layer[1])
    return 0 if any(top in name for top in _TOP) else layers
