"""FLOPs of a training step that really runs, both sides; what enhanced training (ET) saves.

The paper gives 154.0 GFLOPs with ET and 168.8 without for ViT-L, a ratio of 0.912.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from benchmarks.speed.compare import Result, tell
from benchmarks.speed.sides import make_sides, settings
from benchmarks.speed.work import flops_of
from r2d2.config import make_config
from r2d2.flops import flops

SHARE = 0.75  # of the plain side's, at most
PAPER = 154.0 / 168.8


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Counts: the same in every round."""
    for size in ("toy",) if quick else ("small", "base"):
        tell(f"flops.{size}", 0, 2)
        sides = make_sides(settings(size), torch.device("cpu"))
        plain = flops_of(sides.usual)
        tell(f"flops.{size}", 1, 2)
        ours = flops_of(sides.ours)
        tell(f"flops.{size}", 2, 2)
        yield Result(
            f"flops.{size}", ours / plain, SHARE, at_most=True,
            note=f"ours / plain: {ours / 1e9:.0f} and {plain / 1e9:.0f} GFLOPs a step",
        )  # fmt: skip
        del sides
    size = "tiny" if quick else "large"
    with_et, without = (flops(make_config(size, variant)) for variant in ("r2d2", "wo_et"))
    yield Result(
        f"flops.et.{size}", with_et.step / without.step, math.nan,
        note=f"step with / without ET (forward {with_et.forward / without.forward:.3f}); "
        f"the paper: {PAPER:.3f}",
    )  # fmt: skip
