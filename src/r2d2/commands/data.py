"""`r2d2 data`: pairs tables, made and looked over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.commands.options import Overwrite, refuse_given

app = typer.Typer(help="Make tables of pairs, and check them.", no_args_is_help=True)

Against = Annotated[
    list[str] | None,
    typer.Option(
        help="Look for rows that it shares with this table, such as its pre-training "
        "corpus. Repeat the option for more."
    ),
]


@app.command()
def emoji(
    out: Path = typer.Option(..., help="Write this table."),
    styles: str = typer.Option(
        "twemoji", help="Draw with this set: twemoji, openmoji, or both with a comma between."
    ),
    overwrite: Overwrite = False,
) -> None:
    """Write the embedded corpus: emoji pictures with their Chinese names."""
    from r2d2.data.emoji import build_emoji_table
    from r2d2.data.emoji_art import parse_styles
    from r2d2.outputs import a_table, check_outputs

    named = parse_styles(styles)
    check_outputs([a_table(out)], overwrite=overwrite)
    table = build_emoji_table(out, named, overwrite=overwrite)
    typer.echo(
        f"{out}: {len(table)} rows, " + ", ".join(f"{k} {v}" for k, v in table.splits().items())
    )


@app.command()
def compose(
    table: str = typer.Argument(..., help="Read this table of small pictures, such as the emoji."),
    out: Path = typer.Option(..., help="Write this table."),
    grids: int = typer.Option(1500, min=1, help="Add this many pictures, each composed of four."),
    seed: int = typer.Option(0, help="Draw by this seed."),
    overwrite: Overwrite = False,
) -> None:
    """Write a table with composed pictures added, which teach where a thing is."""
    from r2d2 import progress
    from r2d2.data.compose import compose_table
    from r2d2.outputs import check_outputs
    from r2d2.table import PairsTable
    from r2d2.table_queries import table_outputs

    check_outputs(table_outputs(out), inputs=[table], overwrite=overwrite)
    with progress.bars() as update:
        count = compose_table(
            PairsTable.open(table), out, grids, seed, overwrite=overwrite, update=update
        )
    typer.echo(f"{out}: {count:,} rows, {grids:,} of them composed")


@app.command()
def scenes(
    out: Path = typer.Option(..., help="Write this table."),
    train: int = typer.Option(20_000, help="Make this many pictures to train on."),
    val: int = typer.Option(900, help="Make this many pictures of val, in groups of three."),
    test: int = typer.Option(
        900,
        help="Make this many pictures for each of test, test_pairs and test_things, in groups "
        "of three.",
    ),
    things: int = typer.Option(1000, help="Show this many different emoji in training."),
    pixels: int = typer.Option(72, help="Draw pictures with sides of this many pixels."),
    near_misses: float = typer.Option(
        1.0, help="Put this share of the training pictures in groups of near misses."
    ),
    seed: int = typer.Option(0, help="Draw by this seed."),
    overwrite: Overwrite = False,
) -> None:
    """Write a corpus of scenes: four emoji in a grid, and a text that says which is where.

    Each scene has two near misses in its group: two things swapped, one thing replaced.
    """
    from r2d2 import progress
    from r2d2.data.scenes import SceneSettings, build_scene_table
    from r2d2.outputs import a_table, check_outputs

    settings = SceneSettings(train, val, test, things, pixels, near_misses, seed)
    check_outputs([a_table(out)], overwrite=overwrite)
    with progress.bars() as update:
        counts = build_scene_table(out, settings, overwrite=overwrite, update=update)
    splits = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    typer.echo(f"{out}: {sum(counts.values()):,} rows, {splits}")


@app.command()
def check(
    context: typer.Context,
    table: str = typer.Argument(..., help="Read this table of pairs."),
    model: str | None = typer.Option(
        None, help="Check that the texts fit the vocabulary and the length of this model."
    ),
    vocab: Path | None = typer.Option(
        None, help="Check that the texts fit this BERT vocab.txt, in place of --model."
    ),
    max_length: int | None = typer.Option(
        None, min=3, help="Cut texts at this many tokens; the default is the model's number, or 64."
    ),
    min_side: int = typer.Option(64, min=1, help="Report pictures with a side of fewer pixels."),
    pictures: int = typer.Option(
        50_000, min=0, help="Decode at most this many pictures; more are sampled."
    ),
    against: Against = None,
    radius: int | None = typer.Option(
        None,
        min=0,
        max=16,
        help="Take pictures for near-duplicates when their hashes differ by at most this many "
        "bits; 4 is usual.",
    ),
    out: Path | None = typer.Option(None, help="Also write the report to this JSON file."),
    overwrite: Overwrite = False,
) -> None:
    """Tell before training what will go wrong, and whether half of a pair tells its label.

    The exit code is 1 where a finding is marked `stop`: training cannot work, or a figure on this
    table means nothing. It is 0 where there are warnings only, and 2 where the input is bad.
    """
    from r2d2 import progress
    from r2d2.checks.against import table_hashes
    from r2d2.checks.base import CheckOptions
    from r2d2.checks.run import check_table
    from r2d2.downstream.likeness import PerceptualDuplicates
    from r2d2.downstream.make import set_radius
    from r2d2.errors import R2D2Error
    from r2d2.files import write_text
    from r2d2.models import load
    from r2d2.outputs import a_file, check_outputs
    from r2d2.table import PairsTable
    from r2d2.tokenizer import MAX_LENGTH, Tokenizer

    if model is not None and vocab is not None:
        raise R2D2Error("give --model or --vocab, not both: a model has its own vocabulary")
    if model is None and vocab is None:
        refuse_given(context, ("max_length",), "goes with --model or --vocab")
    if pictures == 0:
        refuse_given(context, ("min_side",), "goes with --pictures above 0")
    if out is None:
        refuse_given(context, ("overwrite",), "goes with --out")
    else:
        read = [table, model, vocab, *(against or ())]
        check_outputs([a_file(out, ".json")], inputs=read, overwrite=overwrite)
    tokenizer, length = None, max_length or MAX_LENGTH
    if model is not None:
        loaded = load(model, "cpu")
        tokenizer = loaded.tokenizer
        length = max_length or loaded.tokenizer.max_length
    elif vocab is not None:
        tokenizer = Tokenizer.from_vocab(vocab, length)
    bits = set_radius(PairsTable.open(table)) if radius is None else radius
    look = None if bits is None else PerceptualDuplicates(bits)
    with progress.bars() as update:
        known = tuple(table_hashes(other, look, update) for other in against or ())
        options = CheckOptions(tokenizer, length, min_side, look, known)
        report = check_table(table, update, options, pictures)
    for line in report.lines():
        typer.echo(line)
    if out is not None:
        write_text(out, report.json())
    if not report.passed:
        raise typer.Exit(1)


@app.command("import")
def import_(
    kind: str = typer.Argument(
        ..., metavar="FORMAT", help="Read this format; `r2d2 data formats` lists all."
    ),
    paths: list[Path] = typer.Argument(..., help="Read these files and folders."),
    out: str = typer.Option(..., help="Write this table of pairs."),
    split: str | None = typer.Option(
        None, help="Put rows whose files name no split into this one; the default is train."
    ),
    caption_column: str | None = typer.Option(
        None, help="Take the captions from this column, where a table has several."
    ),
    held_out: str | None = typer.Option(
        None,
        help="Write a second table of texts that are kept out of the first; for "
        "cldr-annotations only.",
    ),
    held_share: float | None = typer.Option(
        None, help="Keep this share of the texts for --held-out; the default is 0.1."
    ),
    styles: str | None = typer.Option(
        None,
        help="Draw with this set: twemoji, openmoji, or both with a comma between; for "
        "cldr-annotations only.",
    ),
    overwrite: Overwrite = False,
) -> None:
    """Make a table of pairs from a set as it was published."""
    from r2d2 import progress
    from r2d2.formats.registry import TableImportOptions, import_table
    from r2d2.table_queries import queries_file

    with progress.bars() as update:
        options = TableImportOptions(split, caption_column, held_out, held_share, styles)
        result = import_table(paths, kind, out, options, overwrite=overwrite, update=update)
    splits = ", ".join(f"{name} {n:,}" for name, n in sorted(result.splits.items()))
    typer.echo(f"{out}: {result.rows:,} rows, {result.texts:,} texts; {splits}")
    if not result.texts:
        typer.echo("its pictures can be searched; to train and to evaluate they need captions")
    if split is not None and not result.splits[split]:
        typer.echo(f"--split {split}: no row needed it, the files name their splits")
    if result.queries:
        typer.echo(f"{queries_file(out)}: {result.queries:,} queries without an answer")
    if held_out is not None:
        typer.echo(f"{held_out}: {result.held:,} rows")
    for line in [*result.dropped.lines(), *result.renamed.lines("kept")]:
        typer.echo(f"  {line}")


@app.command()
def formats() -> None:
    """List what `r2d2 data import` reads: each format, what it is, and the files it expects."""
    from r2d2.formats.registry import FORMATS

    for name, entry in FORMATS.items():
        typer.echo(f"{name}: {entry.about}\n    {entry.expects}")


@app.command()
def export(
    table: str = typer.Argument(..., help="Read this table of pairs."),
    kind: str = typer.Option(..., "--format", help="Write this format: webdataset or parquet."),
    out: Path = typer.Option(..., help="Write the files to this folder."),
    split: str | None = typer.Option(None, help="Write this split only."),
    overwrite: Overwrite = False,
) -> None:
    """Write a table of pairs in another format, with its metadata and its queries."""
    from r2d2 import progress
    from r2d2.formats.registry import export_table, is_export
    from r2d2.outputs import a_folder, check_outputs
    from r2d2.table import SCHEMA, PairsTable

    check_outputs([a_folder(out, is_export)], inputs=[table], overwrite=overwrite)
    opened = PairsTable.open(table)
    with progress.bars() as update:
        count = export_table(opened, kind, out, split=split, overwrite=overwrite, update=update)
    typer.echo(f"{out}: {count:,} rows")
    for column in opened.columns:
        if column not in SCHEMA.names:
            typer.echo(f"not exported: column {column}; vectors are made anew by `r2d2 index`")
