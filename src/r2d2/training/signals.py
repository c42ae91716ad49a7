"""Signals that stop a run: the step in hand ends first, a second signal stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list that it gives."""
    came: list[int] = []
    old: dict[signal.Signals, Any] = {}

    def note(signum: int, _frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(signum)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: signals are somebody else's there
        pass
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
