"""Checkpoints: safetensors and JSON in a folder that appears whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from r2d2.errors import R2D2Error

MODEL, STATE, PROGRESS = "model.safetensors", "state.safetensors", "progress.json"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that is renamed to `path` when all is on disk, and removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        work.mkdir()
        yield work
        for file in work.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        if path.exists():
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            path.rename(old)
            work.rename(path)
            shutil.rmtree(old)
        else:
            work.rename(path)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if full:
            raise R2D2Error(f"the disk is full: cannot write {path}; free some space") from error
        raise R2D2Error(f"cannot write {path}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work.write_text(text, encoding="utf-8")
        work.replace(path)
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "check the path and its rights"
        raise R2D2Error(f"cannot write {path}: {error.strerror}; {remedy}") from error
    finally:
        work.unlink(missing_ok=True)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; no pickle is ever read."""
    if not path.is_file():
        raise R2D2Error(f"{path} is missing: is {path.parent} a checkpoint?")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise R2D2Error(f"{path} is not a readable safetensors file ({error})") from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Put a file's tensors into a module; every name and shape must agree.

    Raises:
        R2D2Error: the checkpoint is of another architecture.
    """
    tensors, own = load_tensors(path), module.state_dict()
    lacking, foreign = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape]
    if lacking or foreign or shapes:
        first = (
            f"{shapes[0]} is {tuple(tensors[shapes[0]].shape)} there and {tuple(own[shapes[0]].shape)} here"
            if shapes
            else f"it lacks {lacking[0]}" if lacking else f"it holds {foreign[0]}, unknown here"
        )  # fmt: skip
        raise R2D2Error(
            f"{path} is of another architecture: {first} "
            f"({len(lacking)} missing, {len(foreign)} unknown, {len(shapes)} of another shape); "
            "use the preset, variant and settings that it was trained with"
        )
    module.load_state_dict(tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state by parameter name, "NAME/exp_avg" and so on."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = dict(model.named_parameters())
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters[name]
        # AdamW keeps its step counters where it made them, the rest beside the parameter.
        device = torch.device("cpu") if value.dim() == 0 else parameter.device
        optimizer.state[parameter][key] = value.to(device)


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    objectives: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
) -> Path:
    """Write `folder`/step-NNNNNNN whole, then remove the older ones."""
    path = folder / f"step-{progress['step']:07d}"
    with whole_folder(path) as work:
        save_file(_contiguous(model.state_dict()), work / MODEL)
        state = {f"objectives/{k}": v for k, v in objectives.state_dict().items()}
        state |= {f"optimizer/{k}": v for k, v in optimizer_tensors(optimizer, model).items()}
        save_file(_contiguous(state), work / STATE)
        (work / PROGRESS).write_text(json.dumps(dict(progress), indent=1), encoding="utf-8")
    for old in folder.glob("step-*"):
        if old != path:
            shutil.rmtree(old, ignore_errors=True)
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    return max(folder.glob("step-*"), default=None, key=lambda path: path.name)


def load_checkpoint(
    path: Path, model: nn.Module, objectives: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore everything `save_checkpoint` wrote; gives its progress."""
    load_weights(model, path / MODEL)
    state = load_tensors(path / STATE)
    objectives.load_state_dict(_under("objectives/", state))
    restore_optimizer(optimizer, model, _under("optimizer/", state))
    progress: dict[str, Any] = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
    return progress


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
