"""`r2d2 bench`: this project beside plain implementations of the same, in one run."""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import typer

from r2d2.commands.options import Overwrite
from r2d2.errors import R2D2Error

HEAD = f"{'':32}{'ratio':>8}  {'quartiles':15}{'goal':>9}  {'':4}{'plain s':>9}{'ours s':>9}"
HEAD += f"{'plain MB':>10}{'ours MB':>9}"


def bench(
    names: list[str] | None = typer.Argument(
        None, help="Measure these subjects; the default is all of them."
    ),
    listed: bool = typer.Option(False, "--list", help="Name the subjects and stop."),
    rounds: int = typer.Option(7, min=1, help="Measure this many rounds, and give their medians."),
    quick: bool = typer.Option(
        False, "--quick", help="Use toy sizes to see it run; the figures then mean nothing."
    ),
    cpu_time: bool = typer.Option(
        False, "--cpu-time", help="Count the processor's seconds, for a busy machine."
    ),
    out: Path | None = typer.Option(None, help="Write the results to this JSON file."),
    overwrite: Overwrite = False,
) -> None:
    """Measure speed and memory beside plain implementations of the same (docs/performance.md)."""
    speed = benchmarks_in(Path(__file__).resolve().parents[3])
    known: dict[str, str] = speed.SUBJECTS
    if listed:
        for name, description in known.items():
            typer.echo(f"{name:14} {description}")
        return

    from r2d2 import progress
    from r2d2.files import write_text
    from r2d2.outputs import a_file, check_outputs
    from r2d2.settings import one_of

    for name in names or ():
        one_of("subject", name, tuple(known))
    if out is not None:
        check_outputs([a_file(out, ".json")], overwrite=overwrite)
    measured: list[dict[str, Any]] = []
    compare = importlib.import_module("benchmarks.speed.compare")
    clock = compare.processor if cpu_time else time.perf_counter
    typer.echo(HEAD)
    for name in names or known:
        results = iter(speed.subject(name)(1 if quick else rounds, quick))
        while True:
            # A bar and a row would write over one another: it goes before the row comes.
            with progress.bars(leave=False) as update, compare.measuring(clock, update):
                result = next(results, None)
            if result is None:
                break
            typer.echo(line(result))
            measured.append(result.to_dict())
            if out is not None:  # at once: a subject takes minutes, and may be broken off
                text = json.dumps(measured, ensure_ascii=False, indent=1, allow_nan=False)
                write_text(out, text + "\n")


def line(result: Any) -> str:
    """A row of the table; a result's time or memory may not apply."""

    def number(x: float, form: str) -> str:
        return "" if math.isnan(x) else format(x, form)

    spread = ""
    if not math.isnan(result.spread[0]):
        spread = f"{result.spread[0]:.2f}-{result.spread[1]:.2f}"
    goal = number(result.goal, ".0e" if result.goal < 0.01 else ".2f")
    goal = goal and f"{'<=' if result.at_most else '>='} {goal}"
    met = {None: "", True: "met", False: "no"}[result.met]
    row = f"{result.name:32}{number(result.ratio, '.3g'):>8}  {spread:15}{goal:>9}  {met:4}"
    row += f"{number(result.plain_s, '.4g'):>9}{number(result.ours_s, '.4g'):>9}"
    row += f"{number(result.plain_mb, '.0f'):>10}{number(result.ours_mb, '.0f'):>9}"
    return f"{row}  {result.note}".rstrip()


def benchmarks_in(checkout: Path) -> Any:
    """The benchmarks in a checkout of the repository; they are no part of the installed package.

    Raises:
        R2D2Error: the folder is no checkout.
    """
    if not (checkout / "benchmarks" / "speed" / "__init__.py").is_file():
        raise R2D2Error(
            "the benchmarks are in the project's repository, not in the installed package: "
            "clone it and run `r2d2 bench` there, installed with `pip install -e .`"
        )
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    return importlib.import_module("benchmarks.speed")
