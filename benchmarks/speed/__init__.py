"""What `r2d2 bench` can measure: one module a subject, each against a plain way of doing it.

A subject has `results(rounds, quick)`, which yields a `Result` for each thing it measures. `quick`
asks for sizes so small that a test can run them; their figures mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from benchmarks.speed.compare import Result

# Name on the command line: module in this package. Nothing is imported before it is asked for.
SUBJECTS: dict[str, str] = {
    "floor": "what this machine can do at best: multiply, copy",
    "step": "a training step of the whole objective: time, memory, and its floor",
    "compiled": "the same with its layers compiled by torch, beside it as it is",
    "flops": "operations of a step: both sides; with and without enhanced training",
    "loader": "how long the trainer waits for data",
    "two_stage": "the second stage of retrieval, exact and by a cascade",
    "second_stage": "each of its changes by itself, beside ours without it",
    "embedding": "r2d2 index, beside Pillow and one picture at a time",
    "corpus": "20 million rows of a click log, beside DuckDB",
    "corpus_growth": "20 and 80 million rows, given 1 GB: time and memory",
    "startup": "r2d2 --help, import r2d2: seconds",
}

Results = Callable[[int, bool], Iterator[Result]]


def subject(name: str) -> Results:
    """The function of a subject, by its name in `SUBJECTS`."""
    results: Results = import_module(f"benchmarks.speed.{name}").results
    return results
