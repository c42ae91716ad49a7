"""Every command that has --out keeps other processes from writing it while it runs."""

from __future__ import annotations

import os
from typing import Any

from r2d2.output_lock import sole_writer


def with_output_locks(command: Any) -> Any:
    """A command as typer makes it, and those below it, each with a lock on its --out.

    Typer brings a click of its own, whose types it does not show.
    """
    if hasattr(command, "commands"):  # a group
        for inner in command.commands.values():
            with_output_locks(inner)
    elif any(parameter.name == "out" for parameter in command.params):
        _lock(command)
    return command


def _lock(command: Any) -> None:
    run = command.callback

    def locked(**values: Any) -> Any:
        # of a run of several processes the first one has the lock
        if values["out"] is None or os.environ.get("RANK", "0") != "0":
            return run(**values)
        with sole_writer(values["out"]):
            return run(**values)

    command.callback = locked
