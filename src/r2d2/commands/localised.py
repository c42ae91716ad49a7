"""The help of all commands in the language of the user."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from r2d2.language import catalogue, in_language, language

# What typer says itself, by the names of its constants.
TYPER_TEXTS = {
    "ARGUMENTS_PANEL_TITLE": "参数",
    "OPTIONS_PANEL_TITLE": "选项",
    "COMMANDS_PANEL_TITLE": "命令",
    "DEPRECATED_STRING": "（已弃用）",
    "DEFAULT_STRING": "[默认：{}]",
    "ENVVAR_STRING": "[环境变量：{}]",
    "REQUIRED_LONG_STRING": "[必填]",
}


def localised(command: Any) -> Any:
    """A command as typer makes it, and those below it, with their help in the user's language."""
    if language() == "zh":
        _prepare_panels()
        _translate(command, catalogue("help"))
    return command


@cache
def _prepare_panels() -> None:
    """Let typer speak Chinese, and wrap texts that have no spaces."""
    from typer import rich_utils as imported

    rich_utils: Any = imported  # whose functions are replaced
    for name, text in TYPER_TEXTS.items():
        setattr(rich_utils, name, text)
    make_text = rich_utils._make_rich_text

    def make_wrapped_text(*args: Any, **options: Any) -> Any:
        text = make_text(*args, **options)
        text.overflow = "fold"
        return text

    rich_utils._make_rich_text = make_wrapped_text


def _translate(command: Any, texts: Mapping[str, str]) -> None:
    for described in (command, *command.params):
        if help_text := getattr(described, "help", None):
            described.help = texts.get(help_text, help_text)
    make_option = command.get_help_option

    def help_option(context: Any) -> Any:
        option = make_option(context)
        if option is not None:
            option.help = texts.get(option.help, option.help)
        return option

    command.get_help_option = help_option
    make_usage = command.get_usage
    command.get_usage = lambda context: in_language(make_usage(context), "usage")
    for inner in getattr(command, "commands", {}).values():
        _translate(inner, texts)
