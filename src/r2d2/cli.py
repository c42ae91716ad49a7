"""The command line: each command checks its options and calls the package that does the work."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from r2d2 import __version__
from r2d2.commands import (
    ablate,
    annotate,
    bench,
    corpus,
    data,
    downstream,
    evaluate,
    explain,
    export,
    flops,
    push,
    report,
    search,
    translate,
    weights,
)
from r2d2.commands.options import MODELS, Preset, Processes, Resume, Settings, Variant
from r2d2.commands.order import OrderedCommands
from r2d2.commands.renamed import ARGUMENT, with_old_names
from r2d2.entry import main
from r2d2.errors import R2D2Error
from r2d2.processes import first_process

__all__ = ["app", "main"]

app = typer.Typer(
    help="Train, measure and use Chinese image-text models by the method R2D2 (arXiv 2205.03860).",
    cls=OrderedCommands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(annotate.app, name="annotate")
app.add_typer(corpus.app, name="corpus")
app.add_typer(data.app, name="data")
app.add_typer(downstream.app, name="downstream")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(export.app, name="export")
app.add_typer(translate.app, name="translate-review")
app.add_typer(weights.app, name="weights")
app.command("flops", cls=with_old_names(length="--max-length"))(flops.flops)
app.command("bench", cls=with_old_names(json="--out"))(bench.bench)
app.command("ablate")(ablate.ablate)
app.command("explain")(explain.explain)
app.command("push")(push.push)
app.command("index")(search.index)
app.command("search")(search.search)
app.command("serve", cls=with_old_names(table=ARGUMENT))(search.serve)
app.command("report")(report.report)


def _print_version(show: bool) -> None:
    if show:
        typer.echo(f"r2d2 {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
) -> None:
    """Train, measure and use Chinese image-text models by the method R2D2 (arXiv 2205.03860)."""


@app.command()
def demo(
    out: Path = typer.Option(Path("runs/demo"), help="Write the run to this folder."),
    preset: Preset = "tiny",
    variant: Variant = "r2d2",
    settings: Settings = None,
    resume: Resume = False,
) -> None:
    """Run the whole method on the embedded emoji corpus: build, pre-train, evaluate, report."""
    from r2d2.config import make_config
    from r2d2.demo import SETTINGS, run_demo
    from r2d2.used_settings import check_used, tell_idle

    chosen = (*SETTINGS, *(settings or ()))
    config = make_config(preset, variant, chosen)
    check_used(chosen, "demo")
    tell_idle([config], chosen)
    report = run_demo(out, config, resume=resume)
    typer.echo(f"report: {report}")


@app.command()
def pretrain(
    table: str = typer.Argument(..., help="Train on this table of pairs."),
    out: Path = typer.Option(..., help="Write the run to this folder."),
    preset: str | None = typer.Option(
        None,
        help="Use the settings of this size: tiny (the default), small, base or large. With "
        "--init, the default is the size of that model.",
    ),
    variant: str | None = typer.Option(
        None,
        help="Use this variant: r2d2 (the default), prd2, wo_et, wo_twd, wo_tgd or wo_fgd. With "
        "--init, the default is that of the model.",
    ),
    settings: Settings = None,
    vocab: Path | None = typer.Option(
        None, help="Use this BERT vocab.txt instead of training a tokenizer."
    ),
    init: str | None = typer.Option(
        None, help=f"Start from this model, which cannot be ONNX. {MODELS}"
    ),
    processes: Processes = 1,
    resume: Resume = False,
) -> None:
    """Pre-train on the split train of a table, and write the model to OUT/model."""
    from r2d2.config import make_config, read_vocab
    from r2d2.evaluation.match_weight import keep_best_weight
    from r2d2.table import PairsTable
    from r2d2.training.division import check_division
    from r2d2.training.launch import ensure_processes
    from r2d2.training.pretrain import RunHooks, check_vocab
    from r2d2.training.pretrain import pretrain as run
    from r2d2.training.run_folder import check_folder
    from r2d2.training.start import config_from, find_start
    from r2d2.used_settings import check_used, tell_idle

    if first_process():
        check_folder(out, resume=resume)
    start, chosen = find_start(out, init, resume), settings or ()
    if start is None:
        config = make_config(preset or "tiny", variant or "r2d2", read_vocab(chosen, vocab))
    else:
        config = config_from(start, preset, variant, chosen)
    check_vocab(config, vocab, start)
    check_used(chosen, "pretrain")
    check_division(config, processes)
    ensure_processes(processes, sys.argv[1:])
    tell_idle([config], chosen)
    hooks = RunHooks()
    if config.train.validate:
        from r2d2.finetune import KeepBest

        hooks = RunHooks(on_epoch=KeepBest(PairsTable.open(table), out, config))
    summary = run(table, out, config, resume=resume, vocab=vocab, init=init, hooks=hooks)
    if not first_process():
        return
    typer.echo(f"model: {out / 'model'} after {summary.steps} steps in {summary.seconds:.0f} s")
    weight = keep_best_weight(out / "model", PairsTable.open(table), config.evaluation.batch_size)
    if weight is not None:
        unused = ", so it is not used" if weight == 0 else ""
        typer.echo(f"second stage: weight {weight:g}, the best on 'val'{unused}")


@app.command()
def finetune(
    task: str = typer.Argument(..., help="Fine-tune for this task: retrieval or matching."),
    source: str = typer.Argument(
        ...,
        metavar="DATA",
        help="Fine-tune on this table of pairs, or on a folder of pictures with --captions.",
    ),
    out: Path = typer.Option(..., help="Write the run to this folder."),
    init: str | None = typer.Option(
        None,
        help=f"Start from this model, which cannot be ONNX; --resume does not need it. {MODELS}",
    ),
    captions: Path | None = typer.Option(
        None,
        help="Read captions from this CSV or JSONL file, with image, caption, and perhaps split "
        "and label.",
    ),
    tuning: str = typer.Option(
        "recommended",
        help="Start from these settings: recommended, or official, which are those of the "
        "official scripts.",
    ),
    settings: Settings = None,
    processes: Processes = 1,
    resume: Resume = False,
) -> None:
    """Fine-tune a model, and write the best epoch by val to OUT/model, with a report."""
    from datetime import timedelta

    from r2d2.finetune import finetune as run
    from r2d2.finetune import tuning_config, tuning_start
    from r2d2.own_table import CAPTIONS, TABLE, is_plain_folder, own_table
    from r2d2.training.distributed import world
    from r2d2.training.division import check_division
    from r2d2.training.launch import ensure_processes
    from r2d2.training.run_folder import check_folder
    from r2d2.used_settings import check_used, tell_idle

    new = captions is not None and not (out / CAPTIONS).exists()
    if first_process():
        check_folder(out, resume=resume, more=[TABLE] if new else [])
    made = resume and (out / TABLE).exists()
    if captions is not None and not made and not is_plain_folder(source):
        is_table = (Path(source) / "_versions").is_dir()
        kind = "a pairs table, which has its captions" if is_table else "no folder of pictures"
        raise R2D2Error(f"{source} is {kind}: leave --captions out, or give the pictures' folder")
    start = tuning_start(out, init, resume)
    config = tuning_config(start, task, settings or (), tuning)
    check_used(settings or (), "finetune")
    check_division(config, processes)
    ensure_processes(processes, sys.argv[1:])
    tell_idle([config], settings or ())
    with world(timedelta(minutes=config.system.timeout_minutes)) as here:
        table = source if captions is None else str(out / TABLE)
        if captions is None and is_plain_folder(source):
            raise R2D2Error(
                f"{source} is a folder and no pairs table: give its file of captions, too, by "
                "--captions"
            )
        if captions is not None and here.first:
            own_table(Path(source), captions, out, resume=resume)
        here.wait()
        report = run(table, out, config, init=init, resume=resume)
    if first_process():
        typer.echo(f"model: {out / 'model'}, report: {report}")
