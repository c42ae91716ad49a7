"""`r2d2 translate-review`: machine translations done anew by one person, checked by another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.commands.options import Overwrite

app = typer.Typer(help="Translate captions anew, with a double check.", no_args_is_help=True)


@app.command()
def export(
    sentences: Annotated[
        Path, typer.Argument(help="Caption lines (.txt), CSV, TSV, JSONL or Parquet.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the job.")],
    source: Annotated[
        Path | None, typer.Option(help="Of caption lines: those that were translated.")
    ] = None,
    ending: Annotated[str, typer.Option(help="Of a picture's name that has none.")] = ".jpg",
    overwrite: Overwrite = False,
) -> None:
    """Start a job: OUT/pass-1.csv is the sheet for the translators."""
    from r2d2.downstream.sentences import read_sentences
    from r2d2.downstream.translations import SHEETS, is_unanswered, start_job
    from r2d2.outputs import a_folder, check_outputs

    check_outputs([a_folder(out, is_unanswered)], inputs=[sentences, source], overwrite=overwrite)
    found, dropped = read_sentences(sentences, source, ending)
    start_job(out, found, overwrite=overwrite)
    for line in dropped.lines():
        typer.echo(line)
    typer.echo(f"{out}: {len(found):,} sentences; fill in {out / SHEETS[1]}")


@app.command("import")
def import_(
    job: Annotated[Path, typer.Argument(help="The job's folder.")],
    sheets: Annotated[list[Path], typer.Argument(help="Filled sheets, of either pass.")],
    by: Annotated[str | None, typer.Option(help="Who filled them, where no row says.")] = None,
) -> None:
    """Record what people wrote; JOB/pass-2.csv is then the sheet for the checkers."""
    from r2d2.downstream.translations import SHEETS, open_job, take_sheet

    opened = open_job(job)
    for file in sheets:
        taken = take_sheet(opened, file, by)
        what = "translations" if taken.number == 1 else "checks"
        typer.echo(f"{file}: {taken.rows:,} {what}")
        for line in taken.dropped.lines():
            typer.echo(f"  {line}")
    done = f"{len(opened.first):,} translated, {len(opened.second):,} checked"
    typer.echo(f"{job}: {done}, of {len(opened.sentences):,}; to check: {job / SHEETS[2]}")


@app.command()
def report(
    job: Annotated[Path, typer.Argument(help="The job's folder.")],
    out: Annotated[Path | None, typer.Option(help="A caption file of the last words.")] = None,
    tag: Annotated[str, typer.Option(help="Between the picture's name and the number.")] = "zh",
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what is checked of an unfinished job.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Edit distances and disagreement; with --out, the captions as Flickr30k-CNA has them."""
    from r2d2.downstream.translation_report import review, write_review
    from r2d2.downstream.translations import captions, open_job
    from r2d2.files import write_text
    from r2d2.outputs import a_file, check_outputs

    if out is not None:
        check_outputs([a_file(out, ".txt")], inputs=[job], overwrite=overwrite)
    opened = open_job(job)
    lines = [] if out is None else captions(opened, tag, partial)
    found = review(opened)
    page = write_review(job, found)
    typer.echo(
        f"{found.translated:,} translated, {found.checked:,} checked, of {found.sentences:,}"
    )
    for name, moved in (
        ("machine to translator", found.translation), ("translator to checker", found.check),
        ("machine to last word", found.final),
    ):  # fmt: skip
        if not moved.sentences:
            continue
        typer.echo(
            f"{name}: {100 * moved.same:.1f}% unchanged, edit distance {moved.distance:.2f} "
            f"characters, {100 * moved.share:.1f}% of the longer"
        )
    if out is not None:
        write_text(out, "".join(line + "\n" for line in lines))
        typer.echo(f"{out}: {len(lines):,} captions")
    typer.echo(f"report: {page}")
