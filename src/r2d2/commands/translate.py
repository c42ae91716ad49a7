"""`r2d2 translate-review`: machine translations done anew by one person, checked by another."""

from __future__ import annotations

from pathlib import Path

import typer

from r2d2.commands.options import Overwrite

app = typer.Typer(
    help="Have captions translated by one person and checked by another.", no_args_is_help=True
)


@app.command()
def export(
    sentences: Path = typer.Argument(
        ..., help="Read sentences from caption lines (.txt), CSV, TSV, JSONL or Parquet."
    ),
    out: Path = typer.Option(..., help="Write the job to this folder."),
    source: Path | None = typer.Option(
        None, help="Read the originals of caption lines from this file."
    ),
    ending: str = typer.Option(".jpg", help="Add this ending to names of pictures that have none."),
    overwrite: Overwrite = False,
) -> None:
    """Start a job; OUT/pass-1.csv is the sheet for the translators."""
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
    job: Path = typer.Argument(..., help="Use the job in this folder."),
    sheets: list[Path] = typer.Argument(..., help="Read these filled sheets of either pass."),
    by: str | None = typer.Option(
        None, help="Name the person who filled the sheets, where no row says so."
    ),
) -> None:
    """Record what people wrote; JOB/pass-2.csv is then the sheet for the checkers."""
    from r2d2.downstream.translations import SHEETS, open_job, take_sheet

    opened = open_job(job)
    for file in sheets:
        taken = take_sheet(opened, file, by)
        kind = "translations" if taken.number == 1 else "checks"
        typer.echo(f"{file}: {taken.rows:,} {kind}")
        for line in taken.dropped.lines():
            typer.echo(f"  {line}")
    done = f"{len(opened.first):,} translated, {len(opened.second):,} checked"
    typer.echo(f"{job}: {done}, of {len(opened.sentences):,}; to check: {job / SHEETS[2]}")


@app.command()
def report(
    job: Path = typer.Argument(..., help="Use the job in this folder."),
    out: Path | None = typer.Option(None, help="Write the final captions to this file."),
    tag: str = typer.Option(
        "zh", help="Put this between the name of a picture and the number of its caption."
    ),
    partial: bool = typer.Option(
        False, "--partial", help="Write the checked captions of an unfinished job."
    ),
    overwrite: Overwrite = False,
) -> None:
    """Report edit distances and disagreement; --out writes captions as Flickr30k-CNA has them."""
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
