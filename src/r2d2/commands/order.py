"""The order in which `r2d2 --help` lists the commands: what most people start with comes first."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

COMMANDS = (
    "demo", "search", "serve", "finetune",
    "index", "explain", "pretrain", "evaluate", "report",
    "data", "corpus", "downstream", "annotate", "translate-review",
    "weights", "export", "push",
    "ablate", "bench", "flops",
)  # fmt: skip


class OrderedCommands(TyperGroup):
    """The group of all commands, listed in the order of COMMANDS."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands."""
        return sorted(super().list_commands(ctx), key=COMMANDS.index)
