"""Settings that trade time for memory, put onto a model layer by layer; names stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from r2d2.model.r2d2 import R2D2
from r2d2.model.towers import layers_of as tower_layers


def layers_of(model: R2D2) -> Iterator[nn.Module]:
    """The transformer layers of the towers, and the cross encoders whole."""
    for side in (model.towers.vision, model.towers.text):
        yield from tower_layers(side)
    if model.has_match:
        yield model.text_to_image
        yield model.image_to_text


def checkpoint_activations(model: R2D2) -> None:
    """Keep only what enters each layer, and compute the rest again in the backward pass."""
    for layer in layers_of(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def compile_layers(model: R2D2) -> None:
    """torch.compile, in place: one graph a kind of layer, shapes dynamic since texts vary."""
    for layer in layers_of(model):
        layer.compile(dynamic=True)
