"""Old spellings of options: the command line still takes each, and names the new one once."""

from __future__ import annotations

import logging
from typing import Any

from typer.core import TyperCommand

logger = logging.getLogger(__name__)

ARGUMENT = ""  # the new spelling of an option whose value is now the first argument


def with_old_names(**renamed: str) -> type[TyperCommand]:
    """A class of commands, for `app.command(cls=...)`, that takes old names of its options.

    Args:
        renamed: the new spelling of each, such as `--candidates`, or ARGUMENT, by the old name of
            the parameter, such as `top_k`.
    """
    spellings = {f"--{name.replace('_', '-')}": new for name, new in renamed.items()}

    class RenamedOptions(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return super().parse_args(ctx, _respelled(args, spellings))

    return RenamedOptions


def _respelled(words: list[str], spellings: dict[str, str]) -> list[str]:
    """The words of a command line with new spellings; a value without its option comes first."""
    first: list[str] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        old, equals, value = word.partition("=")
        if word == "--":
            rest += [word, *remaining]
        elif old not in spellings:
            rest.append(word)
        elif new := spellings[old]:
            logger.warning("%s is now %s: the old name still works", old, new)
            rest.append(new + equals + value)
        else:
            logger.warning("%s is now the first argument: the old name still works", old)
            first += [value] if equals else [next(remaining, old)]
    return first + rest
