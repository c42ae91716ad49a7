"""`r2d2 ablate`: the paper's ablation, and the curve of more data, as one command each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer

from r2d2.commands.options import Preset, Settings
from r2d2.errors import R2D2Error

T = TypeVar("T")


def ablate(
    table: str | None = typer.Argument(
        None, help="Train on this table of pairs; the default is the embedded corpus."
    ),
    out: Path = typer.Option(
        Path("runs/ablation"), help="Write the runs and the reports to this folder."
    ),
    variants: str = typer.Option(
        "",
        help="Train these variants, with commas between; the others are compared with the "
        "first. The default is all six, and r2d2 alone with --data-shares.",
    ),
    seeds: str = typer.Option(
        "0,1,2",
        help="Train with each of these seeds, with commas between. A verdict needs five or more.",
    ),
    preset: Preset = "tiny",
    settings: Settings = None,
    equal_time: float | None = typer.Option(
        None,
        help="Give each run this many seconds of training instead of equal epochs; 0 gives the "
        "time that the first one takes.",
    ),
    data_shares: str = typer.Option(
        "",
        help="Compare amounts of data instead: these shares of the training split, as in "
        "0.1,0.3,1.",
    ),
    vocab: Path | None = typer.Option(
        None, help="Use this BERT vocab.txt; the larger presets need one."
    ),
) -> None:
    """Train variants on the same data, in the same order, for the same epochs, and compare them.

    The same command goes on where it was stopped.
    """
    from r2d2.ablation.ablate import AblationPlan
    from r2d2.ablation.ablate import ablate as run

    plan = AblationPlan(
        tuple(_listed("--variants", variants, str)),
        tuple(_listed("--seeds", seeds, int)),
        preset,
        tuple(settings or ()),
        equal_time,
        tuple(_listed("--data-shares", data_shares, float)),
    )
    for path in run(table, out, plan, vocab):
        typer.echo(f"{path}")


def _listed(name: str, text: str, kind: Callable[[str], T]) -> list[T]:
    """Words between commas."""
    try:
        return [kind(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise R2D2Error(f"{name} {text!r}: give values with commas between, as 0,1,2") from error
