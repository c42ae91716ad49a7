"""`r2d2 ablate`: the paper's ablation, and the curve of more data, as one command each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from r2d2.commands.options import Preset, Settings
from r2d2.errors import R2D2Error

T = TypeVar("T")


def ablate(
    table: Annotated[
        str | None, typer.Argument(help="A pairs table; the embedded corpus where left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for runs and reports.")] = Path("runs/ablation"),
    variants: Annotated[
        str,
        typer.Option(
            help="With commas; the first is what the others are compared with. Left out: all six; "
            "with --data-shares, which is of one, r2d2."
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(help="With commas; five and more allow a verdict.")] = (
        "0,1,2"
    ),
    preset: Preset = "tiny",
    settings: Settings = None,
    equal_time: Annotated[
        float | None,
        typer.Option(
            help="Seconds of training a run instead of equal epochs; 0: what the first takes."
        ),
    ] = None,
    data_shares: Annotated[
        str, typer.Option(help="More data instead: shares of the training split, as 0.1,0.3,1.")
    ] = "",
    vocab: Annotated[
        Path | None, typer.Option(help="A BERT vocab.txt, for the larger presets.")
    ] = None,
) -> None:
    """Train variants side by side, same data, order and epochs; call it again to go on."""
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
