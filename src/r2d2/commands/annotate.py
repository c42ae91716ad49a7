"""`r2d2 annotate`: people say what matches, by way of Label Studio."""

from __future__ import annotations

from pathlib import Path

import typer

from r2d2.commands.options import Overwrite
from r2d2.commands.renamed import ARGUMENT, with_old_names

app = typer.Typer(help="Have people label a set in Label Studio.", no_args_is_help=True)


@app.command()
def export(
    source: str = typer.Argument(
        ...,
        metavar="SET",
        help="Take the tasks from this table, which `r2d2 downstream make` wrote.",
    ),
    out: Path = typer.Option(..., help="Write the tasks to this folder."),
    overlap: int = typer.Option(3, min=1, help="Ask this many people each question."),
    gold: float = typer.Option(
        0.05,
        min=0.0,
        max=1.0,
        help="Add this many gold questions, whose answer is known, for each question.",
    ),
    pictures: str = typer.Option(
        "embed",
        help="Put pictures in the tasks (embed), or beside them for local file serving (files).",
    ),
    prefix: str | None = typer.Option(
        None, help="Give the path of OUT below the document root; it goes with --pictures files."
    ),
    seed: int = typer.Option(0, help="Draw the order and the gold questions by this seed."),
    overwrite: Overwrite = False,
) -> None:
    """Write the tasks, the labelling config and the project for Label Studio."""
    from r2d2 import progress
    from r2d2.downstream.tasks import TaskSettings, export_tasks, is_tasks
    from r2d2.outputs import a_folder, check_outputs
    from r2d2.table import PairsTable

    check_outputs([a_folder(out, is_tasks)], inputs=[source], overwrite=overwrite)
    settings = TaskSettings(overlap, gold, pictures, prefix, seed=seed)
    table = PairsTable.open(source)
    with progress.bars() as update:
        export = export_tasks(table, out, settings, overwrite=overwrite, update=update)
    for reason, count in export.left_out.items():
        typer.echo(f"left out: {reason}: {count:,}, such as {', '.join(export.examples[reason])}")
    typer.echo(
        f"{out}: {export.tasks:,} tasks in {export.files} files, {export.gold:,} of them gold "
        f"(gold.csv: look it over, and keep it from the annotators)"
    )


@app.command("import", cls=with_old_names(set=ARGUMENT))
def import_(
    source: str = typer.Argument(
        ..., metavar="SET", help="Label this table, which the tasks are of."
    ),
    exports: list[Path] = typer.Argument(
        ..., help="Read these exports of Label Studio in the format JSON."
    ),
    out: Path = typer.Option(..., help="Write this table, with an audit and a report beside it."),
    gold: Path | None = typer.Option(None, help="Judge annotators by this gold.csv of the tasks."),
    agree: float = typer.Option(
        0.5,
        min=0.0,
        max=1.0,
        help="Keep a label when more than this share of the answers agree on it.",
    ),
    low_kappa: float = typer.Option(0.4, help="Name each annotator whose kappa is below this."),
    low_gold: float = typer.Option(
        0.8, help="Name each annotator whose accuracy on gold questions is below this."
    ),
    without: list[str] | None = typer.Option(
        None, help="Leave out the answers of this annotator. Repeat the option for more."
    ),
    again: Path | None = typer.Option(
        None, help="Write a second round of the disputed pairs to this folder."
    ),
    again_overlap: int = typer.Option(
        2, min=1, help="Ask this many people each question of the second round."
    ),
    partial: bool = typer.Option(
        False, "--partial", help="Take the finished questions of an unfinished export."
    ),
    overwrite: Overwrite = False,
) -> None:
    """Label each pair by majority, and report agreement and who answered what."""
    from r2d2 import progress
    from r2d2.downstream.answers import read_answers
    from r2d2.downstream.labels import LabelRules, label_outputs, label_set
    from r2d2.downstream.tasks import TaskSettings, export_tasks, is_tasks, project_id, read_gold
    from r2d2.outputs import a_folder, check_outputs
    from r2d2.table import PairsTable

    second = [] if again is None else [a_folder(again, is_tasks, "--again")]
    check_outputs(
        [*label_outputs(out), *second], inputs=[source, gold, *exports], overwrite=overwrite
    )
    rules = LabelRules(agree, low_kappa, low_gold, tuple(without or ()), partial)
    table = PairsTable.open(source)
    known = {} if gold is None else read_gold(gold)
    answers = read_answers(exports, project_id(table))
    with progress.bars() as update:
        labelled = label_set(
            table, out, answers, rules, gold=known, overwrite=overwrite, update=update
        )
        if again is not None and labelled.again:
            settings = TaskSettings(
                again_overlap, 0.0, only=labelled.again, round=answers.last_round + 1
            )
            export_tasks(table, again, settings, overwrite=overwrite, update=update)
    for outcome, counts in (
        ("kept", labelled.kept), ("left out", labelled.left_out),
        ("not counted", labelled.skipped),
    ):  # fmt: skip
        for reason, count in counts.items():
            examples = ", ".join(labelled.examples.get(reason, ()))
            such_as = f", such as {examples}" if examples else ""
            typer.echo(f"{outcome}: {reason}: {count:,}{such_as}")
    agreement = f"Fleiss' kappa: {labelled.fleiss:.3f}"
    typer.echo(f"{agreement}; of one mind: {100 * labelled.unanimous:.1f}%")
    for annotator in labelled.people:
        typer.echo(
            f"{annotator.name}: {annotator.answers:,} answers, kappa {annotator.kappa:.2f}, "
            f"gold {annotator.gold_accuracy:.2f} of {annotator.gold}"
            + (f"; LOW: {', '.join(annotator.named)}" if annotator.named else "")
        )
    if again is not None:
        pairs = len(labelled.again)
        typer.echo(f"second round: {pairs:,} pairs" + (f" in {again}" if pairs else ""))
    typer.echo(f"{out}: {sum(labelled.kept.values()):,} rows; report: {out}.report.html")
