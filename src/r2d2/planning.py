"""Estimate the time, memory, traffic and price of a pre-training from the cost of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r2d2.config import Config
from r2d2.flops import FlopsReport, exchanges_states, on_gpus

PAIRS = (2_300_000, 23_000_000, 250_000_000)  # Zero-Corpus: its two subsets, and the whole
GPUS = (8, 16, 32, 64)
ROOM = 0.9  # usable share of a GPU's memory; kernels, buffers and fragments take the rest


@dataclass(frozen=True)
class Assumptions:
    """Quantities that a plan takes as given."""

    peak: float = 312e12  # FLOP/s of a GPU in bfloat16 (NVIDIA's figure for an A100, dense)
    utilisation: float = 0.35  # share of the peak that a run reaches
    image_bytes: float = 40e3  # size of an encoded picture with its texts
    price: float = 2.0  # price of an hour of one GPU
    network: float = 25e9  # bytes a second that a GPU sends (200 Gbit/s)
    gpu_bytes: float = 80 * 2.0**30  # memory of a GPU


@dataclass(frozen=True)
class Wire:
    """Bytes that one GPU sends in a step."""

    gradients: float  # under FSDP also the gathered weights
    features: float  # for the contrast and for the draw of negatives
    states: float  # upper bound for hard negatives of other GPUs, with their gradients

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return self.gradients + self.features + self.states


@dataclass(frozen=True)
class RunPlan:
    """The plan for one corpus on one number of GPUs."""

    pairs: int
    gpus: int
    pairs_a_gpu: float  # in a step
    steps: int
    hours: float
    price: float
    flops: float  # operations of the whole run
    memory: float  # bytes on each GPU
    wire: Wire
    computing: float  # seconds of a step
    exchanging: float  # seconds of a step for sending
    storage: float  # bytes
    reading: float  # bytes a second that all loaders together read


def plan(
    report: FlopsReport,
    assumed: Assumptions,
    pairs: Sequence[int] = PAIRS,
    gpus: Sequence[int] = GPUS,
) -> list[RunPlan]:
    """Plan every corpus on every number of GPUs, for the epochs and the batch of the configuration.

    Computation and exchange overlap, so a step takes as long as the longer of the two.

    Args:
        report: cost of the configuration; traced for several GPUs if `gpus` are above 1.
        assumed: quantities that cannot be computed.
        pairs: number of pairs of each corpus.
        gpus: numbers of GPUs.
    """
    train = report.config.train
    plans = []
    for count in pairs:
        for n in gpus:
            wire = wire_of(report, n)
            computing = train.batch_size * report.step / (n * assumed.peak * assumed.utilisation)
            exchanging = wire.total / assumed.network
            seconds_a_step = max(computing, exchanging)
            steps = count * train.epochs // train.batch_size
            hours = steps * seconds_a_step / 3600
            plans.append(
                RunPlan(
                    pairs=count,
                    gpus=n,
                    pairs_a_gpu=train.batch_size / n,
                    steps=steps,
                    hours=hours,
                    price=hours * n * assumed.price,
                    flops=steps * train.batch_size * report.step,
                    memory=on_gpus(report, n).memory.total,
                    wire=wire,
                    computing=computing,
                    exchanging=exchanging,
                    storage=count * assumed.image_bytes,
                    reading=train.batch_size * assumed.image_bytes / seconds_a_step,
                )
            )
    return plans


def wire_of(report: FlopsReport, gpus: int) -> Wire:
    """Bytes that each GPU sends in a step: gradients and features by rings, drawn rows directly."""
    config = report.config
    others = (gpus - 1) / gpus
    own = report.everything - report.teachers
    if config.system.parallel == "fsdp":
        chunks = config.system.accumulate
        # Forward and backward; with chunks also a first pass for the features
        gathers = 2 * own if chunks == 1 else 3 * chunks * own
        gradients = others * 4.0 * (gathers + chunks * report.teachers + report.trainable)
    else:
        gradients = others * 2 * 4.0 * report.trainable
    return Wire(gradients, others * _features(config), _states(config, report.length, gpus))


def _features(config: Config) -> float:
    """Bytes of the gathered features, in float32, and of their gradients."""
    o = config.objectives
    if config.train.labelled:
        return 0.0
    one_side = 4.0 * config.train.batch_size * config.model.embed_dim
    sides = 2 + 2 * 2  # the features to all GPUs; a ring sums their gradients, twice as much
    sides += 4 if o.tgd else 0  # the teacher features, as targets and for the queue
    sides += 2 if o.fgr else 0  # for the draw of negatives
    if o.unlabelled_margin is not None:
        sides += 2 + (2 if o.fgr else 0)  # for the search, of the contrast and of FGR
    sides += 2 + 2 * 2 if config.reads_second_texts else 0  # of their contrast, as above
    return sides * one_side


def _states(config: Config, length: int, gpus: int) -> float:
    """Bytes of the hidden states of the drawn rows, and of their gradients."""
    if not exchanges_states(config, gpus):
        return 0.0
    vision, text, train = config.model.vision, config.model.text, config.train
    image = 4.0 * (1 + vision.patches) * vision.width * (1 if train.freeze_vision else 2)
    words = 4.0 * length * text.width * (1 if train.freeze_text else 2)
    return train.batch_size / gpus * (gpus - 1) / gpus * (image + words)


def plan_lines(report: FlopsReport, assumed: Assumptions, plans: Sequence[RunPlan]) -> list[str]:
    """A Markdown table of the plans, followed by the assumptions and the warnings."""
    train = report.config.train
    lines = [
        "| pairs | GPUs | pairs a GPU | steps | hours | cost | EFLOPs | memory a GPU "
        "| sent by a GPU a step | of a step's seconds | storage | reading, all GPUs |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {run.pairs / 1e6:g}M | {run.gpus} | {run.pairs_a_gpu:g} | {run.steps:,} "
        f"| {_hours(run.hours)} | {run.price:,.0f} | {run.flops / 1e18:,.4g} "
        f"| {run.memory / 2**30:.1f} GiB | {run.wire.total / 1e9:.2f} GB "
        f"| {run.exchanging:.2g} of {max(run.computing, run.exchanging):.2g} "
        f"| {run.storage / 1e12:.2f} TB | {run.reading / 1e6:,.0f} MB/s |"
        for run in plans
    ]
    wires = "; ".join(
        f"on {n} GPUs gradients {wire.gradients / 1e9:.2f}, features {wire.features / 1e9:.2f}, "
        f"states of negatives {wire.states / 1e9:.2f}"
        for n, wire in {run.gpus: run.wire for run in plans}.items()
    )
    return [
        *lines,
        "",
        f"GB sent by a GPU a step: {wires}",
        f"{train.epochs} epochs, {train.batch_size} pairs a step, {report.step / 1e9:,.0f} GFLOPs "
        f"a pair; assumed: {assumed.peak / 1e12:g} TFLOP/s a GPU at "
        f"{100 * assumed.utilisation:g}%, {assumed.network / 1e9:g} GB/s sent by a GPU beside it, "
        f"{assumed.image_bytes / 1e3:g} kB a pair, {assumed.price:g} an hour of a GPU",
        *(f"WARNING: {message}" for message in plan_warnings(report.config, assumed, plans)),
    ]


def plan_warnings(config: Config, assumed: Assumptions, plans: Sequence[RunPlan]) -> list[str]:
    """Warnings of plans that cannot run or that wait for the network, by number of GPUs."""
    messages = []
    chunks = config.system.accumulate
    for n, run in {run.gpus: run for run in plans}.items():
        if config.train.batch_size % (n * chunks):
            parts = f"{n} GPUs" + (f" of {chunks} chunks (system.accumulate)" if chunks > 1 else "")
            messages.append(
                f"train.batch_size={config.train.batch_size} does not divide over {parts}: "
                f"--set train.batch_size={n * chunks * max(1, round(run.pairs_a_gpu / chunks))}"
            )
        if run.memory > ROOM * assumed.gpu_bytes:
            messages.append(
                f"{n} GPUs: {run.memory / 2**30:.0f} GiB on each, of which {ROOM:.0%} of "
                f"{assumed.gpu_bytes / 2**30:g} GiB is there: lower train.batch_size, or --set "
                "system.checkpoint_activations=true, system.accumulate=2 or system.parallel=fsdp"
            )
        if run.exchanging > run.computing:
            messages.append(
                f"{n} GPUs: a step computes for {run.computing:.2g} s and sends "
                f"{run.wire.total / 1e9:.2g} GB for {run.exchanging:.2g} s, so that the GPUs wait "
                "for one another: raise train.batch_size, or take fewer GPUs or a faster network "
                "(--network)"
            )
    return messages


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
