"""Write and read checkpoints: folders of safetensors and JSON that are never left half-written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.tensor_files import check_tensors, load_tensors
from r2d2.training.distributed import ALONE, World
from r2d2.training.sharding import cut_like, gathered, load_full_state

WEIGHTS, STATE, PROGRESS = "model.safetensors", "state.safetensors", "progress.json"

_CHECKPOINT = re.compile(r"step-([0-9]+)")
_HALF_WRITTEN = re.compile(r"\.step-[0-9]+\.[0-9a-f]+\.(?:partial|old)")  # see `whole_folder`


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state by parameter name, "NAME/exp_avg" and so on; cut as it is."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
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
    fused = {p for group in optimizer.param_groups if group.get("fused") for p in group["params"]}
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters[name]
        # AdamW keeps its step counters in main memory, unless one kernel does all of its work.
        if key == "step":
            held = value.to(parameter.device) if parameter in fused else value
        else:
            held = cut_like(value, parameter)
        optimizer.state[parameter][key] = held


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    objectives: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    keep: int = 1,
    world: World = ALONE,
) -> Path:
    """Write `folder`/step-NNNNNNN, then remove all checkpoints except the newest `keep`.

    Every process calls it, the first one writes: parameters that are cut over the processes are
    gathered first.
    """
    path = folder / f"step-{progress['step']:07d}"
    state = {f"objectives/{k}": v for k, v in objectives.state_dict().items()}
    state |= {f"optimizer/{k}": v for k, v in optimizer_tensors(optimizer, model).items()}
    weights, state = (gathered(part, world.first) for part in (model.state_dict(), state))
    if world.first:
        with whole_folder(path) as work:
            save_file(weights, work / WEIGHTS)
            save_file(state, work / STATE)
            (work / PROGRESS).write_text(json.dumps(dict(progress), indent=1), encoding="utf-8")
        half_written = [p for p in folder.iterdir() if _HALF_WRITTEN.fullmatch(p.name)]
        for old in (*checkpoints(folder)[:-keep], *half_written):
            shutil.rmtree(old, ignore_errors=True)
    world.wait()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints in a folder by the number of their step, the newest last.

    Files, and folders with other names, are ignored.
    """
    steps = {
        path: int(match[1])
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _CHECKPOINT.fullmatch(path.name)) and path.is_dir()
    }
    return sorted(steps, key=lambda path: (steps[path], path.name))


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    return next(reversed(checkpoints(folder)), None)


def load_checkpoint(
    path: Path, model: nn.Module, objectives: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore everything that `save_checkpoint` wrote, and return the progress of the run.

    Raises:
        R2D2Error: the checkpoint is damaged, or of another architecture.
    """
    state = load_tensors(path / STATE)
    parts = ((model, load_tensors(path / WEIGHTS), path / WEIGHTS),
             (objectives, _under("objectives/", state), path / STATE))  # fmt: skip
    for module, tensors, file in parts:
        check_tensors(module, tensors, file)
        load_full_state(module, tensors)
    try:
        restore_optimizer(optimizer, model, _under("optimizer/", state))
    except KeyError as error:
        raise R2D2Error(
            f"{path / STATE} is of another architecture: {error} is no parameter here; "
            "use the preset, variant and settings that it was trained with"
        ) from error
    try:
        progress: dict[str, Any] = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
        progress["step"] = int(progress["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise R2D2Error(f"{path / PROGRESS} is damaged ({error}): start anew elsewhere") from error
    return progress


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
