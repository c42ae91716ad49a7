"""`r2d2 data`: pairs tables, made and looked over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.commands.options import Overwrite

app = typer.Typer(help="Make pairs tables, and look them over.", no_args_is_help=True)


@app.command()
def emoji(
    out: Annotated[Path, typer.Option(help="Where to write the table.")],
    overwrite: Overwrite = False,
) -> None:
    """Write the embedded corpus: emoji pictures with their Chinese names."""
    from r2d2.data.emoji import build_emoji_table

    table = build_emoji_table(out, overwrite=overwrite)
    typer.echo(
        f"{out}: {len(table)} rows, " + ", ".join(f"{k} {v}" for k, v in table.splits().items())
    )
