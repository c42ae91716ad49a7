"""`r2d2 push`: a model to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def push(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Upload this folder, which `r2d2 export hf` wrote."),
    ],
    repo: Annotated[
        str,
        typer.Argument(
            help="Upload to this repository, owner/name; it is made where there is none."
        ),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace all files that the repository holds.")
    ] = False,
) -> None:
    """Upload a model with its card to the Hugging Face hub; HF_TOKEN holds the token."""
    from r2d2.integrations.push import push as upload

    typer.echo(f"pushed: {upload(folder, repo, private=private, overwrite=overwrite)}")
