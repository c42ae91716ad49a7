"""Our own weights: safetensors, every name and shape accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from r2d2.errors import R2D2Error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; no pickle is ever read."""
    if not path.is_file():
        raise R2D2Error(f"{path} is missing: is {path.parent} a checkpoint?")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise R2D2Error(
            f"{path} is not a readable safetensors file ({error}): give the file as it was saved"
        ) from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Put a file's tensors into a module; every name and shape must agree.

    Raises:
        R2D2Error: the checkpoint is of another architecture.
    """
    fit_tensors(module, load_tensors(path), path)


def fit_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """`load_weights` for tensors that were read from `path` already."""
    check_tensors(module, tensors, path)
    module.load_state_dict(tensors)


def check_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise R2D2Error unless every name and shape agrees with the module's."""
    own = module.state_dict()
    lacking, foreign = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    both = sorted(own.keys() & tensors.keys())
    shapes = [name for name in both if own[name].shape != tensors[name].shape]
    if lacking or foreign or shapes:
        if shapes:
            name = shapes[0]
            there, here = tuple(tensors[name].shape), tuple(own[name].shape)
            first = f"{name} is {there} there and {here} here"
        else:
            first = f"it lacks {lacking[0]}" if lacking else f"it holds {foreign[0]}, unknown here"
        raise R2D2Error(
            f"{path} is of another architecture: {first} "
            f"({len(lacking)} missing, {len(foreign)} unknown, {len(shapes)} of another shape); "
            "use the preset, variant and settings that it was trained with"
        )
