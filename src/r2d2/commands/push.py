"""`r2d2 push`: a model to the hub."""

from __future__ import annotations

from pathlib import Path

import typer


def push(
    folder: Path = typer.Argument(
        ..., metavar="DIR", help="Upload this folder, which `r2d2 export hf` wrote."
    ),
    repo: str = typer.Argument(
        ..., help="Upload to this repository, owner/name; it is made where there is none."
    ),
    private: bool = typer.Option(False, "--private", help="Make a new repository private."),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace all files that the repository holds."
    ),
) -> None:
    """Upload a model with its card to the Hugging Face hub; HF_TOKEN holds the token."""
    from r2d2.integrations.push import push as upload

    typer.echo(f"pushed: {upload(folder, repo, private=private, overwrite=overwrite)}")
