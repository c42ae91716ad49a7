"""Handle signals that stop a run: the first one after the current step, the second immediately."""

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
    """Collect SIGINT and SIGTERM in the list that the context returns.

    `several`: the run has several processes. A scheduler may send SIGTERM to each of them and to
    the process that started them, which passes it on: all of these count as one signal.
    """
    received: list[int] = []
    old: dict[signal.Signals, Any] = {}

    def note(signum: int, _frame: object) -> None:
        if several and signum == signal.SIGTERM and signum in received:
            return
        if received:
            raise KeyboardInterrupt if signum == signal.SIGINT else TerminatedError
        received.append(signum)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, note)
    except ValueError:  # not the main thread, which alone may handle signals
        pass
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def raised_signals() -> Iterator[list[int]]:
    """Raise an exception at the first SIGINT or SIGTERM; return the list of signals received.

    Code that handles the exception removes half-written files. A second signal could interrupt
    that, so it only prints a line; the third ends the process at once.
    """
    received: list[int] = []

    def note(signum: int, _frame: object) -> None:
        received.append(signum)
        if len(received) == 1:
            raise KeyboardInterrupt if signum == signal.SIGINT else TerminatedError
        if len(received) == 2:
            os.write(2, b"stopping: what is half done is put away; once more ends it at once\n")
            return
        os._exit(128 + signum)

    def unraisable(raised: sys.UnraisableHookArgs) -> None:
        """Raise the exception again if it was raised in a destructor, which ignores it."""
        if received and isinstance(raised.exc_value, KeyboardInterrupt | TerminatedError):
            _thread.interrupt_main(signal.Signals(received.pop()))
        else:
            hook(raised)

    old, hook = {}, sys.unraisablehook
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as of a job in the background
            old[number] = signal.signal(number, note)
    sys.unraisablehook = unraisable
    try:
        yield received
    finally:
        sys.unraisablehook = hook
        for number, handler in old.items():
            signal.signal(number, handler)
