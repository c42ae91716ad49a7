"""How long, how much and how dear: a pre-training on many GPUs, from what a step costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r2d2.flops import FlopsReport

PAIRS = (2_300_000, 23_000_000, 250_000_000)  # Zero-Corpus's small part, its whole, and all of it
GPUS = (8, 16, 32, 64)


@dataclass(frozen=True)
class Assumptions:
    """What a plan cannot compute."""

    peak: float = 312e12  # FLOP/s of a GPU in bfloat16 (NVIDIA's figure for an A100, dense)
    utilisation: float = 0.35  # of the peak that a run reaches
    image_bytes: float = 40e3  # of an encoded picture with its texts
    price: float = 2.0  # of an hour of one GPU


@dataclass(frozen=True)
class Plan:
    """One corpus on so many GPUs."""

    pairs: int
    gpus: int
    steps: int
    hours: float
    price: float
    storage: float  # bytes
    reading: float  # bytes a second that all loaders together take in
    exchange: float  # bytes a second that a GPU sends for its gradients, at the least


def plan(
    report: FlopsReport,
    assumed: Assumptions,
    pairs: Sequence[int] = PAIRS,
    gpus: Sequence[int] = GPUS,
) -> list[Plan]:
    """Every corpus on every number of GPUs, for the epochs and the batch of the configuration."""
    train = report.config.train
    plans = []
    for count in pairs:
        for n in gpus:
            rate = n * assumed.peak * assumed.utilisation / report.step  # pairs a second
            seconds = count * train.epochs / rate
            steps = count * train.epochs // train.batch_size
            # A ring sends each gradient (float32) nearly twice, once to sum and once to tell.
            sent = 2 * (n - 1) / n * 4 * report.trainable
            plans.append(
                Plan(
                    pairs=count,
                    gpus=n,
                    steps=steps,
                    hours=seconds / 3600,
                    price=seconds / 3600 * n * assumed.price,
                    storage=count * assumed.image_bytes,
                    reading=rate * assumed.image_bytes,
                    exchange=sent * steps / seconds if seconds else 0.0,
                )
            )
    return plans


def plan_lines(report: FlopsReport, assumed: Assumptions, plans: Sequence[Plan]) -> list[str]:
    """A Markdown table, and under it what it assumes."""
    train = report.config.train
    lines = [
        "| pairs | GPUs | steps | hours | cost | storage | reading, all GPUs | exchange, a GPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.pairs / 1e6:g}M | {one.gpus} | {one.steps:,} | {one.hours:,.0f} "
        f"| {one.price:,.0f} | {one.storage / 1e12:.2f} TB | {one.reading / 1e6:,.0f} MB/s "
        f"| {one.exchange / 1e9:.2f} GB/s |"
        for one in plans
    ]
    return [
        *lines,
        "",
        f"{train.epochs} epochs, {train.batch_size} pairs a step, {report.step / 1e9:,.0f} GFLOPs "
        f"a pair; assumed: {assumed.peak / 1e12:g} TFLOP/s a GPU at "
        f"{100 * assumed.utilisation:g}%, "
        f"{assumed.image_bytes / 1e3:g} kB a pair, {assumed.price:g} an hour of a GPU",
    ]
