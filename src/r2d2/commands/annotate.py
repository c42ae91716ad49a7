"""`r2d2 annotate`: people say what matches, by way of Label Studio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from r2d2.commands.options import Overwrite

app = typer.Typer(help="Have a set labelled by people, in Label Studio.", no_args_is_help=True)


@app.command()
def export(
    source: Annotated[str, typer.Argument(metavar="SET", help="As `downstream make` writes it.")],
    out: Annotated[Path, typer.Option(help="Folder for the tasks.")],
    overlap: Annotated[int, typer.Option(min=1, help="People a question.")] = 3,
    gold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Known questions for every question.")
    ] = 0.05,
    pictures: Annotated[
        str, typer.Option(help="embed, in the tasks; or files, for local file serving.")
    ] = "embed",
    prefix: Annotated[
        str | None, typer.Option(help="Of files: OUT's place below the document root.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order, and of the gold items.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write tasks, labelling config and project for Label Studio."""
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


@app.command("import")
def import_(
    exports: Annotated[list[Path], typer.Argument(help="Label Studio's exports, format JSON.")],
    source: Annotated[str, typer.Option("--set", help="The set that the tasks are of.")],
    out: Annotated[Path, typer.Option(help="The table to write; audit and report beside it.")],
    gold: Annotated[Path | None, typer.Option(help="The gold.csv of the tasks.")] = None,
    agree: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share that the winner must be above.")
    ] = 0.5,
    low_kappa: Annotated[float, typer.Option(help="Below it, an annotator is named.")] = 0.4,
    low_gold: Annotated[float, typer.Option(help="Likewise, right on gold items.")] = 0.8,
    without: Annotated[
        list[str] | None, typer.Option(help="An annotator to leave out; may be repeated.")
    ] = None,
    again: Annotated[
        Path | None, typer.Option(help="Folder for a second round of what is disputed.")
    ] = None,
    again_overlap: Annotated[int, typer.Option(min=1, help="People a question, then.")] = 2,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take what is finished of an unfinished export.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Labels by majority, how far people agree, and an audit of who said what."""
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
