"""What a run says of itself: history.jsonl, and the same scalars for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

HISTORY = "history.jsonl"


class RunLog:
    """Scalars by step, to a line of JSON and to TensorBoard; a resumed run goes on where it was."""

    def __init__(self, out: Path, first_step: int = 0) -> None:
        self._path = out / HISTORY
        kept = [row for row in read_history(out) if row["step"] < first_step]
        self._path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """One line, on disk at once."""
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()


def read_history(out: Path) -> list[dict[str, float]]:
    """The lines of a run's history; a last line cut short by a crash is left out."""
    path = out / HISTORY
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows
