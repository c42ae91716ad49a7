"""`r2d2 push`: a model to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that `r2d2 export hf` wrote.")
    ],
    repo: Annotated[str, typer.Argument(help="owner/name; made where it is not there.")],
    private: Annotated[
        bool, typer.Option("--private", help="What is made anew is for its owner alone.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace all files that the repository holds.")
    ] = False,
) -> None:
    """Upload a model with its card to the hub of Hugging Face; HF_TOKEN is read for it."""
    from r2d2.integrations.push import push as upload

    typer.echo(f"pushed: {upload(folder, repo, private=private, overwrite=overwrite)}")
