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
    from r2d2.downstream.tasks import export_tasks, is_tasks
    from r2d2.outputs import a_folder, check_outputs
    from r2d2.table import PairsTable

    check_outputs([a_folder(out, is_tasks)], inputs=[source], overwrite=overwrite)
    with progress.bars() as update:
        found = export_tasks(
            PairsTable.open(source), out, overlap=overlap, gold=gold, pictures=pictures,
            prefix=prefix, seed=seed, overwrite=overwrite, update=update,
        )  # fmt: skip
    for reason, count in found.left_out.items():
        typer.echo(f"left out: {reason}: {count:,}, such as {', '.join(found.examples[reason])}")
    typer.echo(
        f"{out}: {found.tasks:,} tasks in {found.files} files, {found.gold:,} of them gold "
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
    from r2d2.downstream.tasks import export_tasks, is_tasks, project_id, read_gold
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
        found = label_set(
            table, out, answers, rules, gold=known, overwrite=overwrite, update=update
        )
        if again is not None and found.again:
            export_tasks(
                table, again, overlap=again_overlap, gold=0.0, only=found.again,
                number=answers.last_round + 1, overwrite=overwrite, update=update,
            )  # fmt: skip
    for what, counts in (
        ("kept", found.kept), ("left out", found.left_out), ("not counted", found.skipped),
    ):  # fmt: skip
        for reason, count in counts.items():
            told = ", ".join(found.examples.get(reason, ()))
            typer.echo(f"{what}: {reason}: {count:,}" + (f", such as {told}" if told else ""))
    typer.echo(f"Fleiss' kappa: {found.fleiss:.3f}; of one mind: {100 * found.unanimous:.1f}%")
    for one in found.people:
        typer.echo(
            f"{one.name}: {one.answers:,} answers, kappa {one.kappa:.2f}, "
            f"gold {one.gold_accuracy:.2f} of {one.gold}"
            + (f"; LOW: {', '.join(one.named)}" if one.named else "")
        )
    if again is not None:
        typer.echo(
            f"second round: {len(found.again):,} pairs" + (f" in {again}" * bool(found.again))
        )
    typer.echo(f"{out}: {sum(found.kept.values()):,} rows; report: {out}.report.html")
