"""`r2d2 evaluate`: retrieval, matching and classification of any model, by the same code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from r2d2.commands.options import MODELS, Candidates, Cascade, Overwrite, refuse_given
from r2d2.commands.renamed import with_old_names
from r2d2.errors import R2D2Error

if TYPE_CHECKING:
    from r2d2.evaluation.settings import EvaluationSettings

MEASURED = (  # options that a submission, which measures nothing, does not use
    "split", "full", "t2i_only", "sample", "resamples", "seed", "half_states", "fine_tuned",
    "benchmark", "pooled_states", "pooled_weight",
)  # fmt: skip

# What an evaluation writes in its folder.
RETRIEVAL = ("metrics.json", "examples.json", "report.html")
LABELLED = ("metrics.json", "report.html", "report.md")  # matching and classification
IMAGE_SEARCH = ("metrics.json",)  # pictures that ask for pictures
SUBMISSION = "submission.jsonl"

app = typer.Typer(help="Measure a model on a table of pairs.", no_args_is_help=True)

Model = Annotated[
    str,
    typer.Argument(help=f"Measure this model, or a folder of embeddings. {MODELS}"),
]
Table = Annotated[str, typer.Argument(help="Measure on this table of pairs.")]
Out = Annotated[Path, typer.Option(help="Write metrics.json and report.html to this folder.")]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        help="Measure this split. Repeat the option for more; the default is test, "
        "test_novel, test_pairs and test_things.",
    ),
]
Batch = Annotated[
    int, typer.Option(min=1, help="Put this many items or pairs through one forward pass.")
]
Sample = Annotated[
    int | None,
    typer.Option(
        min=1, help="Measure this many images of each split, drawn by a hash, for a quick look."
    ),
]
Length = Annotated[
    int | None,
    typer.Option(min=3, help="Cut texts at this many tokens; the default is as the model is used."),
]
Dim = Annotated[
    int | None,
    typer.Option(
        min=1, help="Use the first numbers of an embedding, this many; the default is all."
    ),
]
Seed = Annotated[int, typer.Option(help="Draw the sample and the intervals by this seed.")]
Resamples = Annotated[
    int,
    typer.Option(min=0, help="Resample the images this many times for intervals; 0 gives none."),
]
Benchmark = Annotated[
    str | None, typer.Option(help="Name the published set that the table is, for `r2d2 report`.")
]
FineTuned = Annotated[
    bool,
    typer.Option("--fine-tuned", help="Say in the report that the model was trained on this set."),
]


@app.command(cls=with_old_names(top_k="--candidates", text_length="--max-length"))
def retrieval(
    context: typer.Context,
    model: Model,
    table: Table,
    out: Out,
    split: Splits = None,
    full: bool = typer.Option(False, "--full", help="Rank test against the whole table too."),
    t2i_only: bool = typer.Option(
        False,
        "--t2i-only",
        help="Measure text-to-image retrieval alone, with an R@M of three recalls, as MUGE does.",
    ),
    candidates: Candidates = None,
    weight: float | None = typer.Option(
        None, help="Weigh the match score by this; the default is the best on val."
    ),
    cascade: Cascade = None,
    pooled_states: int | None = typer.Option(
        None,
        min=1,
        help="Rank candidates by this many pooled states of each picture before the second stage.",
    ),
    pooled_weight: float | None = typer.Option(
        None, help="Weigh the score of the pooled states by this; the default is the best on val."
    ),
    batch_size: Batch = 256,
    sample: Sample = None,
    max_length: Length = None,
    dim: Dim = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    half_states: bool = typer.Option(
        False, "--half-states", help="Keep hidden states on disk in 16 bits."
    ),
    benchmark: Benchmark = None,
    fine_tuned: FineTuned = False,
    submission: str | None = typer.Option(
        None, help="Write submission.jsonl for the queries of this split, as MUGE asks for."
    ),
    submission_keys: str = typer.Option(
        "muge",
        help="Write submission.jsonl with the keys of muge, or of the evaluation script of "
        "chinese-clip.",
    ),
    overwrite: Overwrite = False,
) -> None:
    """Measure recall by pre-ranking and in two stages, counted in our way and in the papers'."""
    from r2d2.evaluation.run import SubmissionSettings, evaluate_retrieval, submit
    from r2d2.evaluation.settings import RankingSettings
    from r2d2.evaluation.submission import KEYS
    from r2d2.settings import one_of

    if submission is not None:
        refuse_given(context, MEASURED, "has no effect on --submission, which measures nothing")
    else:
        refuse_given(context, ("submission_keys",), "goes with --submission")
    one_of("--submission-keys", submission_keys, tuple(KEYS))
    settings = _settings(context)
    names = RETRIEVAL if submission is None else (SUBMISSION,)
    _check_out(out, names, [model, table], overwrite)
    ranking = RankingSettings(
        full=("test",) if full else (), t2i_only=t2i_only, top_k=candidates, weight=weight,
        cascade=cascade, states="float16" if half_states else "float32",
        pooled_states=pooled_states, pooled_weight=pooled_weight,
    )  # fmt: skip
    if submission is not None:
        answers = SubmissionSettings(submission, submission_keys)
        typer.echo(f"submission: {submit(model, table, out, answers, settings, ranking)}")
    else:
        typer.echo(f"report: {evaluate_retrieval(model, table, out, settings, ranking)}")


@app.command(cls=with_old_names(text_length="--max-length"))
def matching(
    context: typer.Context,
    model: Model,
    table: Table,
    out: Out,
    split: Splits = None,
    batch_size: Batch = 256,
    sample: Sample = None,
    max_length: Length = None,
    dim: Dim = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    benchmark: Benchmark = None,
    fine_tuned: FineTuned = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure AUC, average precision, accuracy and calibration on labelled pairs."""
    from r2d2.evaluation.match_run import evaluate_matching

    settings = _settings(context)
    _check_out(out, LABELLED, [model, table], overwrite)
    typer.echo(f"report: {evaluate_matching(model, table, out, settings)}")


@app.command(cls=with_old_names(text_length="--max-length"))
def classification(
    context: typer.Context,
    model: Model,
    table: Table,
    out: Out,
    split: Splits = None,
    templates: Path | None = typer.Option(
        None,
        help="Read prompts from this file: one sentence a line, with {} for the name of the class.",
    ),
    batch_size: Batch = 256,
    sample: Sample = None,
    max_length: Length = None,
    dim: Dim = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    benchmark: Benchmark = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure zero-shot classification by Chinese prompts: top-1, top-5 and every class."""
    from r2d2.evaluation.class_run import evaluate_classification

    settings = _settings(context)
    _check_out(out, LABELLED, [model, table, templates], overwrite)
    typer.echo(f"report: {evaluate_classification(model, table, out, settings, templates)}")


@app.command()
def images(
    context: typer.Context,
    model: Model,
    table: Table,
    other: str = typer.Argument(
        ..., help="Search this second table of pairs, which shows the same things."
    ),
    out: Path = typer.Option(..., help="Write metrics.json to this folder."),
    split: Splits = None,
    batch_size: Batch = 256,
    dim: Dim = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Measure how pictures of one table find pictures of another with the same text."""
    from r2d2.evaluation.image_run import BACK, FORWARD, evaluate_image_search

    settings = _settings(context)
    _check_out(out, IMAGE_SEARCH, [model, table, other], overwrite)
    metrics = evaluate_image_search(model, table, other, out, settings)
    del metrics["run"]
    for name, of_split in metrics.items():
        for direction, asking, gallery in ((FORWARD, table, other), (BACK, other, table)):
            figures = of_split[direction]
            recalls = ", ".join(f"R@{at} {figures[f'r{at}']:.1f}" for at in (1, 5, 10))
            typer.echo(
                f"{name}: {figures['queries']:,} pictures of {asking} in {gallery}: {recalls} "
                f"(chance {figures['chance']['r10']:.1f} at 10)"
            )
            if missing := figures["without_counterpart"]:
                typer.echo(f"  {missing:,} more have no counterpart there and asked nothing")


def _settings(context: typer.Context) -> EvaluationSettings:
    """The settings of an evaluation, from those of these options that its command has."""
    from r2d2.evaluation.settings import EvaluationSettings

    options = context.params
    sample, resamples = options.get("sample"), options["resamples"]
    if sample is None and resamples == 0:
        refuse_given(context, ("seed",), "goes with --sample or --resamples: nothing is drawn")
    return EvaluationSettings(
        splits=options["split"] or None, batch_size=options["batch_size"], sample=sample,
        text_length=options.get("max_length"), dim=options["dim"], resamples=resamples,
        seed=options["seed"], benchmark=options.get("benchmark"),
        setting="fine-tuned" if options.get("fine_tuned") else "zero-shot",
    )  # fmt: skip


def _check_out(
    out: Path, names: Sequence[str], inputs: Sequence[str | Path | None], overwrite: bool
) -> None:
    """R2D2Error where a file of an evaluation cannot be written, or would replace another."""
    from r2d2.extras import require
    from r2d2.outputs import a_file, check_outputs
    from r2d2.training.run_folder import RUN

    if "report.html" in names:  # which has drawings
        require("report", "matplotlib", "report.html")
    files = [a_file(out / name, Path(name).suffix) for name in names]
    check_outputs(files, inputs=inputs, overwrite=overwrite)
    if (out / RUN).exists() and not overwrite:  # whose own figures these would seem to be
        raise R2D2Error(f"{out} holds a run: give another --out, or --overwrite")
