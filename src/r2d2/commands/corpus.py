"""`r2d2 corpus`: from click logs to a pairs table, and what a corpus looks like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r2d2.commands.options import MODELS, Overwrite, Settings
from r2d2.commands.renamed import ARGUMENT, with_old_names
from r2d2.errors import R2D2Error

if TYPE_CHECKING:
    from r2d2.corpus.images.align import EmbeddingModel

app = typer.Typer(help="Build a corpus of click logs or of a crawl.", no_args_is_help=True)

LEAST_MEMORY = 64_000_000  # bytes; less would make thousands of small files and save nothing
MOST_MEMORY = 10**15

Preset = Annotated[str, typer.Option(help="Use this recipe: zero or danqing.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Lay the settings of this YAML file over the preset."),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Fetch again the images that could not be fetched.")
]
Causes = Annotated[
    list[str] | None,
    typer.Option(
        "--cause",
        help="Limit --retry-failed to failures of this cause. Repeat the option for more.",
    ),
]
KeepDropped = Annotated[
    bool, typer.Option("--keep-dropped", help="Write every dropped row to OUT.dropped (Parquet).")
]
ModelName = Annotated[
    str | None, typer.Option("--model", help=f"Score pairs by this model. {MODELS}")
]


@app.command()
def build(
    logs: list[str] = typer.Argument(
        ..., help="Read logs from these files, folders, globs or URLs."
    ),
    out: str = typer.Option(..., help="Write this table of pairs, with a report beside it."),
    preset: Preset = "zero",
    config: ConfigFile = None,
    settings: Settings = None,
    memory: str = typer.Option(
        "2GB",
        help="Work in this much memory, as in 2GB; with --runner ray it is that of each worker.",
    ),
    workers: int | None = typer.Option(
        None,
        min=1,
        help="Work on this many parts at a time; the default is 1, or all workers of a cluster.",
    ),
    runner: str = typer.Option(
        "native",
        help="Run in this process (native), or by ray on the cluster at RAY_ADDRESS or this "
        "machine.",
    ),
    model: ModelName = None,
    work: Path | None = typer.Option(
        None, help="Keep the intermediate results of the stages in this folder."
    ),
    keep_work: bool = typer.Option(
        False, "--keep-work", help="Keep the folder of intermediate results at the end."
    ),
    retry_failed: RetryFailed = False,
    cause: Causes = None,
    stage: list[Path] | None = typer.Option(
        None,
        help="Run the stage of your own that this Python file defines. Repeat the option for more.",
    ),
    keep_dropped: KeepDropped = False,
    overwrite: Overwrite = False,
) -> None:
    """Aggregate, rank, filter, fetch, de-duplicate and sample logs into a table of pairs.

    The same command goes on where it was stopped.
    """
    from r2d2 import progress
    from r2d2.corpus.build import build_corpus, check_build
    from r2d2.corpus.config import make_corpus_config
    from r2d2.corpus.filters import load_stage
    from r2d2.corpus.report.finish import left_aside
    from r2d2.inputs.dropped_rows import dropped_lines

    made = make_corpus_config(preset, config, settings or ())
    memory_bytes = size(memory)
    again = _retried(retry_failed, cause)
    check_build(logs, out, work, overwrite, keep_dropped)
    stages = [load_stage(file) for file in stage or ()]
    with progress.bars() as update:
        built = build_corpus(
            logs, out, made, work=work, memory_bytes=memory_bytes, runner=runner, workers=workers,
            model=_model(model), model_name=str(model), retry_failed=again,
            stages=stages, keep_dropped=keep_dropped, keep_work=keep_work,
            overwrite=overwrite, update=update,
        )  # fmt: skip
    for result in built.stages:
        for count in result.counts:
            why = ", ".join(f"{rule} {n:,}" for rule, n in count.dropped.items())
            typer.echo(
                f"{count.stage}: {count.kept:,} of {count.seen:,} {count.unit}"
                + (f"; dropped: {why}" if why else "")
            )
            # of the log, and files that are not there: the user may mend them
            if count.unit in ("rows", "addresses") or count.stage == "fetch":
                for line in dropped_lines(count.dropped, count.examples):
                    typer.echo(f"  {line}")
            if empty := count.notes.get("null_clicks"):
                typer.echo(f"  clicks of {empty:,} rows are NULL, which counts as 0")
    if made.rank.enabled is None and not built.config.rank.active:
        typer.echo("rank: nothing is ranked: the logs have no queries, so that every pair stays")
    elif built.config.rank.active and not made.rank.cuts:
        typer.echo(
            "rank: no cut by rate; for the best 5% of all pairs shown, as in Zero's paper: "
            "--set rank.top_share=0.05 --set rank.min_clicks=0"
        )
    if aside := left_aside(
        built.config, [count for result in built.stages for count in result.counts]
    ):
        typer.echo(f"rank: {aside}")
    splits = ", ".join(f"{name} {count:,}" for name, count in built.splits.items())
    typer.echo(f"{built.table}: {built.images:,} images, {built.texts:,} texts; splits: {splits}")
    for name in built.config.sample.splits:
        if name not in built.splits:
            typer.echo(
                f"no picture is in the split {name}, for the table is small; to hold out more, for "
                f"fine-tuning: --set 'sample.splits={{{name}: 0.2}}'"
            )
    typer.echo(f"report: {built.report}, card: {built.card}")
    if built.dropped is not None:
        typer.echo(f"dropped rows: {built.dropped}")


@app.command()
def fetch(
    file: Path = typer.Argument(
        ..., help="Read addresses from a column of this Parquet, CSV or JSONL file."
    ),
    out: Path = typer.Option(
        ..., help="Write the images to this folder; a folder that is there is added to."
    ),
    column: str = typer.Option("url", help="Name the column of the addresses."),
    retry_failed: RetryFailed = False,
    cause: Causes = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Fetch images by their addresses, and say what became of each."""
    from r2d2 import progress
    from r2d2.corpus.config import make_corpus_config
    from r2d2.corpus.fetching.failures import FAILURES_FILE
    from r2d2.corpus.fetching.fetch import fetch_table

    made = make_corpus_config("zero", config, settings or ()).fetch
    again = _retried(retry_failed, cause)
    with progress.bars() as update:
        count = fetch_table(file, out, made, column=column, retry_failed=again, update=update)
    typer.echo(f"{count.kept:,} of {count.seen:,} images are in {out}")
    for why, n in sorted(count.dropped.items(), key=lambda item: -item[1]):
        typer.echo(f"  {why}: {n:,}, such as {', '.join(count.examples.get(why, ())[:2])}")
    if count.dropped:
        typer.echo(f"each with its cause, reason and tries: {out / FAILURES_FILE}")
    for why, n in count.notes["passed over"].items():
        examples = ", ".join(count.notes["of these"].get(why, ())[:2])
        typer.echo(f"passed over, {why}: {n:,}, such as {examples}")


@app.command()
def stats(
    table: str = typer.Argument(..., help="Read this table of pairs."),
    out: Path = typer.Option(
        ..., help="Write the report to this HTML file, and the same as JSON beside it."
    ),
    model: ModelName = None,
    overwrite: Overwrite = False,
) -> None:
    """Report what a table holds: sizes, lengths, words, sources and balance, with pictures."""
    from r2d2.corpus.report.report import contact_sheet, write_corpus_report
    from r2d2.table import PairsTable

    _check_report(out, [table, model], overwrite)
    opened = PairsTable.open(table)
    found = _stats(opened, model)
    write_corpus_report(out, table, {table: found}, sheets=[contact_sheet(opened)])
    typer.echo(f"{found.images:,} images, {found.texts:,} texts; report: {out}")


@app.command()
def compare(
    one: str = typer.Argument(..., help="Read this table of pairs."),
    other: str = typer.Argument(..., help="Compare it with this table of pairs."),
    out: Path = typer.Option(
        ..., help="Write the report to this HTML file, and the same as JSON beside it."
    ),
    model: ModelName = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare two tables by the measures of `r2d2 corpus stats`."""
    from r2d2.corpus.report.report import contact_sheet, write_corpus_report
    from r2d2.table import PairsTable

    _check_report(out, [one, other, model], overwrite)
    if _place(one) == _place(other):
        raise R2D2Error(f"{one} and {other} are one table: give two")
    tables = {name: PairsTable.open(name) for name in (one, other)}
    found = {name: _stats(table, model) for name, table in tables.items()}
    sheets = [contact_sheet(table, 12, title=name) for name, table in tables.items()]
    write_corpus_report(out, f"Comparison of {one} and {other}", found, sheets=sheets)
    for name, measures in found.items():
        typer.echo(
            f"{name}: {measures.images:,} images, {measures.texts:,} texts of "
            f"{measures.mean_length:.1f} characters, {100 * measures.content_share:.0f}% words of "
            f"meaning, {measures.distinct_words:,} distinct"
        )
    if len({table.fingerprint for table in tables.values()}) == 1:
        typer.echo("both hold the same images, splits and texts, in the same order")
    typer.echo(f"report: {out}")


@app.command(cls=with_old_names(table=ARGUMENT))
def sql(
    dialect: str = typer.Option(
        ..., help="Write the SQL of this engine: spark, hive, clickhouse or duckdb."
    ),
    table: str = typer.Argument(
        "log", help="Read this table of the warehouse, which holds the log."
    ),
    columns: str = typer.Option(
        "url,query,impressions,clicks",
        help="Name the columns that the log has: url, path, query, title and so on (see log.*).",
    ),
    preset: Preset = "zero",
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Print an SQL statement that sums a log in its warehouse, for `r2d2 corpus build`."""
    from r2d2.corpus.clicks.sql import log_statement
    from r2d2.corpus.config import make_corpus_config

    made = make_corpus_config(preset, config, settings or ())
    roles = [role.strip() for role in columns.split(",")]
    typer.echo(log_statement(made, dialect, table, roles) + ";")


@app.command()
def sample(
    table: str = typer.Argument(..., help="Read this table of pairs."),
    out: Path = typer.Option(..., help="Write this table."),
    share: float = typer.Option(..., help="Take this share of the images: more than 0, up to 1."),
    seed: int = typer.Option(0, help="Draw by this seed; that of the build makes shares nest."),
    keep_dropped: KeepDropped = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw a share of a table by a hash of image_id.

    The order of the rows does not matter, and a larger share holds a smaller one.
    """
    from r2d2 import progress
    from r2d2.corpus.config import SampleConfig
    from r2d2.corpus.report.sample import sample_outputs, sample_table
    from r2d2.outputs import check_outputs
    from r2d2.table import PairsTable

    config = SampleConfig(share=share, seed=seed)
    check_outputs(sample_outputs(out, keep_dropped), inputs=[table], overwrite=overwrite)
    with progress.bars() as update:
        kept = sample_table(PairsTable.open(table), out, config, update, overwrite, keep_dropped)
    typer.echo(f"{out}: {kept:,} images")


def size(text: str) -> int:
    """Bytes of 500MB, 2GB, 1.5GiB or a plain number; LEAST_MEMORY at the least."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([kKmMgGtT]?)(i?)[bB]?", text.strip())
    if not found:
        raise R2D2Error(f"--memory {text} is no amount: write 500MB, 2GB or 1.5GiB")
    power = "KMGT".find(found[2].upper()) + 1 if found[2] else 0
    count = float(found[1]) * (1024 if found[3] else 1000) ** power
    if not LEAST_MEMORY <= count < MOST_MEMORY:
        raise R2D2Error(
            f"--memory {text} is {count:,.0f} bytes: give {LEAST_MEMORY // 10**6}MB to "
            f"{MOST_MEMORY // 10**12}TB, with its unit, as in 2GB"
        )
    return int(count)


def _retried(retry_failed: bool, causes: list[str] | None) -> bool | list[str]:
    """What --retry-failed and --cause ask for."""
    if causes and not retry_failed:
        raise R2D2Error("--cause goes with --retry-failed")
    return causes or retry_failed


def _check_report(out: Path, inputs: Sequence[str | Path | None], overwrite: bool) -> None:
    """R2D2Error where no report can be written, before the minutes that it takes to make one."""
    from r2d2.outputs import a_file, check_outputs

    outputs = [a_file(out, ".html", ".htm"), a_file(out.with_suffix(".json"), ".json")]
    check_outputs(outputs, inputs=inputs, overwrite=overwrite)


def _place(table: str) -> str:
    """Where a table is, however it is spelled."""
    return table.rstrip("/") if "://" in table else str(Path(table).resolve())


def _stats(table: Any, model: str | None) -> Any:
    from r2d2 import progress
    from r2d2.corpus.report.stats import table_stats

    encoder = _model(model)
    with progress.bars() as update:
        return table_stats(table, update, encoder.encode_images if encoder else None, str(model))


def _model(source: str | None) -> EmbeddingModel | None:
    if source is None:
        return None
    from r2d2.encoder import Encoder

    return Encoder.load(source)
