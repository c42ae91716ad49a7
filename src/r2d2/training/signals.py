"""Signals that stop a run: the step in hand ends first, a second wish stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from r2d2.errors import TerminatedError


@contextmanager
def signals(several: bool = False) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list that it gives.

    `several`: of a run of several processes. A scheduler may send SIGTERM to each of them and to
    the one that started them, which passes it on: it is one wish then, however often it comes.
    """
    came: list[int] = []
    old: dict[signal.Signals, Any] = {}

    def note(signum: int, _frame: object) -> None:
        if several and signum == signal.SIGTERM and signum in came:
            return
        if came:
            raise KeyboardInterrupt if signum == signal.SIGINT else TerminatedError
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


@contextmanager
def terminable() -> Iterator[None]:
    """Make an exception of SIGTERM, as Python does of SIGINT: what is half done is put away."""

    def end(_signum: int, _frame: object) -> None:
        raise TerminatedError

    old = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
