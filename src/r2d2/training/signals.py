"""Signals that stop a run: the step in hand ends first, a second wish stops at once."""

from __future__ import annotations

import _thread
import os
import signal
import sys
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
def raised_signals() -> Iterator[list[int]]:
    """Make an exception of the first SIGINT or SIGTERM; gives the list of those that came.

    What is half done is put away on that exception's way. A second signal would leave it half put
    away, so it only says so; the third ends the process at once.
    """
    came: list[int] = []

    def note(signum: int, _frame: object) -> None:
        came.append(signum)
        if len(came) == 1:
            raise KeyboardInterrupt if signum == signal.SIGINT else TerminatedError
        if len(came) == 2:
            os.write(2, b"stopping: what is half done is put away; once more ends it at once\n")
            return
        os._exit(128 + signum)

    def unraisable(raised: sys.UnraisableHookArgs) -> None:
        """Raise it anew where it came in a destructor, which swallows it."""
        if came and isinstance(raised.exc_value, KeyboardInterrupt | TerminatedError):
            _thread.interrupt_main(signal.Signals(came.pop()))
        else:
            hook(raised)

    old, hook = {}, sys.unraisablehook
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as of a job in the background
            old[number] = signal.signal(number, note)
    sys.unraisablehook = unraisable
    try:
        yield came
    finally:
        sys.unraisablehook = hook
        for number, handler in old.items():
            signal.signal(number, handler)
