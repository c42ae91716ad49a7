"""What is wrong with a call of the command line, in one line, as all other errors are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from r2d2.errors import WrongCallError
from r2d2.language import in_language, language

# Typer brings a click of its own, whose types it does not show but for this child of it.
_UsageError: type[Any] = typer.BadParameter.__bases__[0]
_SHOWS_HELP = "NoArgsIsHelpError"  # of a group without a command: typer prints its help
_SENTENCE_ENDS = (".", "?", "!", "。", "？")


def with_one_line_errors(command: Any) -> Any:
    """A command as typer makes it, and those below it, which raise WrongCallError."""
    command.parse_args = _told(command.parse_args)
    command.invoke = _told(command.invoke)
    for inner in getattr(command, "commands", {}).values():
        with_one_line_errors(inner)
    return command


def _told(call: Callable[..., Any]) -> Callable[..., Any]:
    """A method whose first argument is the context, in which its errors are told."""

    @wraps(call)
    def told(context: Any, *arguments: Any) -> Any:
        try:
            return call(context, *arguments)
        except _UsageError as error:
            if type(error).__name__ == _SHOWS_HELP:
                raise
            raise WrongCallError(_line(error, error.ctx or context)) from error

    return told


def _line(error: Any, context: Any) -> str:
    """The command, what is wrong, and where to read about it."""
    command, help_option = context.command_path, context.help_option_names[0]
    message = in_language(" ".join(error.format_message().split()), "usage")
    end = "" if message.endswith(_SENTENCE_ENDS) else in_language(".", "usage")
    hint = in_language(f"Try '{command} {help_option}' for help.", "usage")
    gap = "" if language() == "zh" else " "
    return f"{command}: error: {message}{end}{gap}{hint}"
