"""What this process has written whole so far: a stopped command says what it leaves behind."""

from __future__ import annotations

from pathlib import Path

NAMED = 3  # paths that are kept, so that a build of a million parts holds no list of them

written: list[Path] = []


def note_written(path: Path) -> None:
    """Remember a path that stands in its place."""
    if path not in written and len(written) < NAMED:
        written.append(path)
