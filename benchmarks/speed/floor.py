"""What this machine can do at best: matrix products a second, bytes copied a second.

`ratio` is in TFLOP/s and in GB/s: no comparison, but what others are held against.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from functools import lru_cache

import torch

from benchmarks.speed.compare import Result, quartiles, tell, timed
from r2d2.model.fast.onednn import linear


@lru_cache
def rates(device: str = "cpu", rounds: int = 7, quick: bool = False) -> dict[str, list[float]]:
    """FLOP/s of matrix products and bytes/s of a copy (read and written), a round each.

    `multiply` is by the project's `linear`, `matmul` by torch's own; on a GPU both are the same,
    in bfloat16, as training's are.
    """
    big = device == "cuda"
    side = 64 if quick else 8192 if big else 1536
    kind = torch.bfloat16 if big else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    out = torch.empty_like(a)
    source = torch.randn(2**16 if quick else 2**28 if big else 2**25, device=device)
    target = torch.empty_like(source)
    found: dict[str, list[float]] = {"multiply": [], "matmul": [], "copy": []}
    for done in range(rounds + 1):
        tell("floor", done, rounds + 1)
        multiply = 2.0 * side**3 / timed(lambda: linear(a, b))
        matmul = 2.0 * side**3 / timed(lambda: torch.matmul(a, b, out=out))
        copy = 2.0 * source.nbytes / timed(lambda: target.copy_(source))
        if done:  # the first warms up
            found["multiply"].append(multiply)
            found["matmul"].append(matmul)
            found["copy"].append(copy)
    tell("floor", rounds + 1, rounds + 1)
    return found


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """The rates of this machine."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    where = "GPU, bfloat16" if device == "cuda" else f"{threads} threads, float32"
    rows = (("multiply", 1e12, "TFLOP/s"), ("matmul", 1e12, "TFLOP/s"), ("copy", 1e9, "GB/s"))
    for name, unit, word in rows:
        rate = [r / unit for r in rates(device, rounds, quick)[name]]
        yield Result(
            f"floor.{name}", statistics.median(rate), math.nan, spread=quartiles(rate),
            note=f"{word}, {where}",
        )  # fmt: skip
