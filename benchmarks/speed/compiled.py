"""The training step with its layers compiled by torch (`system.compile`), beside the step as it is.

Compiling itself is not counted. On a CPU it needs a C++ compiler.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from benchmarks.speed.compare import Result, compare
from benchmarks.speed.sides import make_sides, settings
from r2d2.training.memory import compile_layers

WARMUP = 2  # the first step of a shape compiles, the next may find the shape dynamic


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Of each size; "plain" is ours without compiling."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    for size in ("toy",) if quick else ("base", "large") if gpu else ("small", "base"):
        batch = ("train.batch_size=32",) if gpu else ()
        eager, compiled = (make_sides(settings(size, *batch), device) for _ in range(2))
        compile_layers(compiled.step.model, compiled.step.objectives.teacher)
        yield compare(
            f"compiled.{size}", math.nan, eager.ours, compiled.ours, rounds, WARMUP,
            note="without compiling / compiled",
        )  # fmt: skip
        del eager, compiled
