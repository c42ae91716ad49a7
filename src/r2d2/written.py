"""The outputs that this process has finished; a command that is stopped reports them."""

from __future__ import annotations

from pathlib import Path

NAMED = 3  # paths that are kept, so that a build of a million parts holds no list of them

written: list[Path] = []


def note_written(path: Path) -> None:
    """Remember an output that is complete."""
    if path not in written and len(written) < NAMED:
        written.append(path)
