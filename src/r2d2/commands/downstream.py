"""`r2d2 downstream`: sets for downstream tasks, made of a pairs table."""

from __future__ import annotations

from pathlib import Path

import typer

from r2d2.commands.options import MODELS, Overwrite, Settings

app = typer.Typer(help="Make sets for matching and retrieval.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Make sets for matching and retrieval."""


@app.command()
def make(
    table: str = typer.Argument(..., help="Draw the set from this table of pairs."),
    task: str = typer.Option(
        ..., help="Make a set for this task: icm or iqm (matching), icr or iqr (retrieval)."
    ),
    out: Path = typer.Option(..., help="Write this table, with its report beside it."),
    exclude: list[str] | None = typer.Option(
        None,
        help="Share no picture with this table, such as the pre-training corpus. Repeat the "
        "option for more.",
    ),
    model: str | None = typer.Option(None, help=f"Find hard negatives by this model. {MODELS}"),
    settings: Settings = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a balanced set with one text an image, split 8:1:1 by group.

    The exit code is 1 where its check fails.
    """
    from r2d2 import progress
    from r2d2.downstream.config import make_downstream_config
    from r2d2.downstream.make import make_set, set_outputs
    from r2d2.downstream.report import write_set_report
    from r2d2.outputs import check_outputs
    from r2d2.table import PairsTable

    check_outputs(set_outputs(out), inputs=[table, model, *(exclude or ())], overwrite=overwrite)
    chosen = list(settings or ())
    if model is not None and not any(name.startswith("negatives.kind") for name in chosen):
        chosen.append("negatives.kind=hard")
    config = make_downstream_config(task, chosen)
    opened = PairsTable.open(table)
    encoder = None
    if model is not None:
        from r2d2.encoder import Encoder

        encoder = Encoder.load(model)
    with progress.bars() as update:
        made = make_set(
            opened, out, config, exclude=exclude or (), model=encoder, overwrite=overwrite,
            update=update,
        )  # fmt: skip
    report = write_set_report(made)
    for stage in made.stages:
        why = ", ".join(f"{rule} {n:,}" for rule, n in stage.dropped.items())
        typer.echo(
            f"{stage.stage}: {stage.kept:,} of {stage.seen:,} {stage.unit}"
            + (f"; dropped: {why}" if why else "")
        )
    for line in made.check.lines():
        typer.echo(line)
    splits = ", ".join(f"{name} {n:,}" for name, n in made.splits.items())
    typer.echo(f"{out}: {made.pairs:,} pairs of {made.pictures:,} pictures ({splits})")
    typer.echo(f"report: {report}")
    if not made.check.passed:
        raise typer.Exit(1)
