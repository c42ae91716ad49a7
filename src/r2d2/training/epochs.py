"""Read and write epochs.jsonl, which has what a run measured on `val` after each epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.files import write_text

EPOCHS = "epochs.jsonl"


@dataclass(frozen=True)
class Epoch:
    """One line of epochs.jsonl."""

    epoch: int
    step: int
    figure: float  # R@M of retrieval, or AUC of matching, on `val`, in %
    chance: float


def read_epochs(out: Path) -> list[Epoch]:
    """Read all measurements so far."""
    path = out / EPOCHS
    if not path.exists():
        return []
    return [Epoch(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def write_epochs(out: Path, epochs: Sequence[Epoch]) -> None:
    """Write all measurements so far."""
    write_text(out / EPOCHS, "".join(json.dumps(e.__dict__) + "\n" for e in epochs))


def still_rising(epochs: Sequence[Epoch]) -> bool:
    """Return whether the last epoch was better than all earlier ones; False if there are none."""
    return len(epochs) > 1 and all(epochs[-1].figure > e.figure for e in epochs[:-1])
