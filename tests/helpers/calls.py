"""Calls of our functions as the interpreter's profiler reports them: nothing is replaced."""

import inspect
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


class PowerCutError(Exception):
    """Stands for the end of the process: nothing in the package catches it."""


@dataclass
class Call:
    """One call of a watched function."""

    name: str  # of the function
    arguments: dict[str, Any]  # by the names of the parameters
    returned: Any = None


@contextmanager
def watched(
    *functions: Callable[..., Any],
    begin: Callable[[Call], None] | None = None,
    end: Callable[[Call], None] | None = None,
):
    """Yield a list to which each call of the functions is appended when it begins.

    Threads that start within the block are watched too. A generator's call is its first step.

    Args:
        functions: functions or methods, as they are defined; decorated ones are unwrapped.
        begin: called when a call begins; what it raises is raised there.
        end: called when a call has returned; what it raises is raised in its place.
    """
    codes = {id(inspect.unwrap(function).__code__) for function in functions}
    assert len(codes) == len(functions)
    calls: list[Call] = []
    running: dict[Any, Call] = {}  # by frame

    previous = sys.getprofile()

    def report(frame, event, argument):
        if previous is not None:
            previous(frame, event, argument)
        if id(frame.f_code) not in codes:
            return
        if event == "call" and frame not in running:
            call = Call(frame.f_code.co_name, dict(frame.f_locals))
            running[frame] = call
            calls.append(call)
            if begin is not None:
                begin(call)
        elif event == "return" and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            call = running.pop(frame)
            call.returned = argument
            if end is not None:
                end(call)

    threading.setprofile(report)
    sys.setprofile(report)
    try:
        yield calls
    finally:
        sys.setprofile(previous)
        threading.setprofile(previous)


def cut(_call: Call) -> None:
    """The process ends here."""
    raise PowerCutError


@contextmanager
def cut_at(*functions: Callable[..., Any]):
    """Let the process end where one of the functions is called next, which must happen."""
    with watched(*functions, begin=cut) as calls, pytest.raises(PowerCutError):
        yield calls


@contextmanager
def cut_after(*functions: Callable[..., Any]):
    """Let the process end where one of the functions has returned, which must happen."""
    with watched(*functions, end=cut) as calls, pytest.raises(PowerCutError):
        yield calls
