"""`r2d2 report`: runs side by side, beside what others published."""

from __future__ import annotations

from pathlib import Path

import typer

from r2d2.commands.options import Overwrite


def report(
    runs: list[Path] = typer.Argument(
        ..., help="Compare the evaluations in these folders, which `r2d2 evaluate` wrote."
    ),
    out: Path = typer.Option(..., help="Write this HTML file, and a Markdown file beside it."),
    title: str | None = typer.Option(None, help="Give the page this title."),
    published: Path | None = typer.Option(
        None, help="Read published results from this file too (docs/evaluation.md has its format)."
    ),
    overwrite: Overwrite = False,
) -> None:
    """Make one page of several evaluations: tables, curves, examples and published results."""
    from r2d2.evaluation.comparison_page import write_comparison
    from r2d2.evaluation.published import read_published
    from r2d2.outputs import a_file, check_outputs

    outputs = [a_file(out, ".html"), a_file(out.with_suffix(".md"), ".md")]
    check_outputs(outputs, inputs=[*runs, published], overwrite=overwrite)
    file = read_published(published) if published else None
    for path in write_comparison(runs, out, title=title, file=file):
        typer.echo(f"report: {path}")
