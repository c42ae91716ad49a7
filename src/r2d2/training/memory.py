"""Apply settings that trade time for memory to the layers of a model; parameter names are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from r2d2.errors import R2D2Error
from r2d2.model.r2d2 import R2D2
from r2d2.model.towers import layers_of as tower_layers


def layers_of(model: R2D2) -> Iterator[nn.Module]:
    """Yield the transformer layers of the towers, and the whole cross encoders."""
    yield from _tower_layers(model.towers)
    if model.has_match:
        yield model.text_to_image
        yield model.image_to_text


def checkpoint_activations(model: R2D2) -> None:
    """Store only the input of each layer, and compute the rest again in the backward pass."""
    for layer in layers_of(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def compile_layers(model: R2D2, teacher: nn.Module | None = None) -> None:
    """Apply torch.compile in place, with dynamic shapes, because the lengths of texts vary.

    Call it before `checkpoint_activations`, because nothing is compiled within a checkpoint.
    """
    for layer in (*layers_of(model), *(_tower_layers(teacher) if teacher is not None else ())):
        layer.forward = torch.compile(layer.forward, dynamic=True)


def _tower_layers(towers: nn.Module) -> Iterator[nn.Module]:
    for side in (towers.get_submodule("vision"), towers.get_submodule("text")):
        yield from tower_layers(side)


@contextmanager
def memory_errors(contents: str) -> Iterator[None]:
    """Turn an out-of-memory error of a GPU into one line that names the settings that help."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise R2D2Error(
            f"the GPU's memory does not hold {contents}: --set system.accumulate=2 or more, "
            "system.checkpoint_activations=true, or with several GPUs system.parallel=fsdp; "
            "`r2d2 flops` tells what each of them needs. Where an epoch was being measured: --set "
            "evaluation.batch_size=64 or less. Go on with --resume"
        ) from error
