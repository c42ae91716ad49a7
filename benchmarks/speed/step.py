"""The training step: the whole R2D2 objective, forward, backward, optimiser, teachers, queue.

Small: ViT-S/16 at 112 pixels, 6 + 3 + 3 layers of width 384, batch 32. Base: batch 4. On a GPU base
and large in bfloat16, batch 32. Beside them the share of the machine's own matrix rate that is
reached (MFU), and of the floor below which no such step can get: its products at that rate, and
its states read and written at the rate of a copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from benchmarks.speed.compare import Call, Result, compare, tell
from benchmarks.speed.floor import rates
from benchmarks.speed.memory import tensor_peak
from benchmarks.speed.plain.layers import plain_names
from benchmarks.speed.sides import Sides, make_sides, settings
from benchmarks.speed.work import flops_of

FASTER = 2.5  # times
LOSSES, GRADIENTS = 1e-5, 1e-4  # how far apart both sides may be
LEANER = 0.6  # of the plain side's memory, at most


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Time and memory of each size."""
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    for size in ("toy",) if quick else ("base", "large") if gpu else ("small", "base"):
        batch = ("train.batch_size=32",) if gpu else ()
        yield from of_size(make_sides(settings(size, *batch), device), size, rounds, quick)


def of_size(sides: Sides, size: str, rounds: int, quick: bool = False) -> Iterator[Result]:
    """Time, memory, and how far the machine allows."""
    device = sides.batch.pixels.device
    yield from agreement(sides, size)
    result = compare(f"step.{size}", FASTER, sides.usual, sides.ours, rounds)
    yield result
    # The optimiser's state is there by now; gradients count while they are not complete.
    plain, ours = (tensor_peak(call, model.parameters()) / 1e6 for call, model in _calls(sides))
    yield Result(
        f"step.{size}.memory", ours / plain, LEANER, plain_mb=plain, ours_mb=ours, at_most=True,
        note="ours / plain, above weights, gradients, optimiser, teachers",
    )  # fmt: skip
    work = flops_of(sides.ours)
    rate, copy = (max(rates(device.type, rounds, quick)[name]) for name in ("multiply", "copy"))
    floor = work / rate + _bytes(sides) / copy
    for name, share, note in (
        ("mfu", work / rate / result.ours_s, f"{work / 1e12:.2f} TFLOPs a step, of matmul's rate"),
        ("floor", floor / result.ours_s, f"{floor:.3g} s / ours: products, and states updated"),
    ):
        yield replace(
            result, name=f"step.{size}.{name}", ratio=share, goal=math.nan,
            plain_s=math.nan, spread=(math.nan, math.nan), note=note,
        )  # fmt: skip


def agreement(sides: Sides, size: str) -> Iterator[Result]:
    """How far apart the first step's losses and gradients are: a ratio of times counts for nothing
    else. In bfloat16 without a goal: there both round.
    """
    tell(f"step.{size}.agreement", 0, 2)
    ours = sides.ours()
    tell(f"step.{size}.agreement", 1, 2)
    plain = sides.usual()
    tell(f"step.{size}.agreement", 2, 2)
    same_losses, same_gradients = (math.nan,) * 2 if sides.bfloat16 else (LOSSES, GRADIENTS)
    yield Result(
        f"step.{size}.losses", max((ours[name] - plain[name]).abs().item() for name in plain),
        same_losses, at_most=True, note="largest difference between the sides",
    )  # fmt: skip
    found = {n: p.grad for n, p in sides.step.model.named_parameters() if p.grad is not None}
    found = plain_names(found, sides.config.model.vision.patch_size)
    apart = [
        float((found[name] - p.grad).abs().max() / p.grad.abs().max())
        for name, p in sides.plain.model.named_parameters()
        if p.grad is not None and ".key.bias" not in name  # of keys: 0 but for rounding
    ]
    yield Result(
        f"step.{size}.gradients", max(apart), same_gradients, at_most=True,
        note="largest difference, as a share of a tensor's largest gradient",
    )  # fmt: skip


def _bytes(sides: Sides) -> float:
    """Bytes that an update reads and writes at least: AdamW seven tensors, the teachers three."""
    learnt = sum(p.nbytes for p in sides.step.model.parameters())
    return 7.0 * learnt + 3.0 * sum(p.nbytes for p in sides.step.model.towers.parameters())


def _calls(sides: Sides) -> tuple[tuple[Call, nn.Module], tuple[Call, nn.Module]]:
    return (sides.usual, sides.plain.model), (sides.ours, sides.step.model)
