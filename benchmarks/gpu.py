"""What a machine with one CUDA GPU does with r2d2: equality, speed and memory, in eight minutes.

    python -m benchmarks.gpu --out runs/gpu

`benchmarks/gpu.sh` calls it where nothing is installed yet. Each part stands for itself: what one
raises is noted under its name, and the others go on. OUT/gpu.json is written after each part,
OUT/gpu.md at the end. Parts that begin after --minutes are left out, and named.

Without a GPU, or with --toy, the same runs at toy size: that shows that it runs, and no more.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.floor import rates
from benchmarks.speed.sides import CONTEXT, MASK, SPECIAL, make_batch, settings
from benchmarks.speed.two_stage import Stage, make_stage, sizes
from r2d2.config import Config, make_config
from r2d2.files import write_text
from r2d2.flops import flops
from r2d2.model.r2d2 import R2D2
from r2d2.objectives.batch import StepOutput
from r2d2.objectives.collectives import SINGLE_PROCESS
from r2d2.objectives.losses import Objectives
from r2d2.training.memory import checkpoint_activations, compile_layers
from r2d2.training.optimizer import make_optimizer
from r2d2.training.sharding import clip_gradients
from r2d2.training.step import Passes, Step, backward

FLOAT32, BFLOAT16 = 1e-4, 0.05  # how far the GPU's losses and gradients may be from the CPU's
COSINE = {"tf32": 1e-3, "bfloat16": 1e-2}  # how far a cosine may be from float32's
WAITS = 0.03  # share of a step that the trainer may wait for data
PLANNED = 0.15  # how far the plan's memory may be from the measured one
FILLED = 0.7  # of a GPU's memory, by the plan, that a measured batch takes at most
LARGEST_BATCH = 128

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Where and how large everything is measured."""

    device: torch.device
    toy: bool
    seconds: float  # of measuring a step, about

    @property
    def gpu(self) -> bool:
        """Whether there is one."""
        return self.device.type == "cuda"


class TrainedStep:
    """A step as the trainer runs it, on random pictures and texts."""

    def __init__(self, config: Config, device: torch.device, bfloat16: bool) -> None:
        torch.manual_seed(0)
        self.config = config
        self.model = R2D2(config.model)
        for head in (self.model.match_head_text, self.model.match_head_image):
            torch.nn.init.normal_(head.weight, std=0.5)
        objectives = Objectives(self.model, config.objectives, MASK, SPECIAL)
        if objectives.queue is not None:
            size = (2, config.objectives.queue_size, config.model.embed_dim)
            queued = torch.nn.functional.normalize(torch.randn(size), dim=-1)
            keys = torch.arange(10**6, 10**6 + 2 * config.objectives.queue_size).view(-1, 2)
            objectives.queue.push(*queued, keys)
        self.step = Step(self.model, objectives, SINGLE_PROCESS).to(device)
        if config.system.compile:
            compile_layers(self.model, objectives.teacher)
        if config.system.checkpoint_activations:
            checkpoint_activations(self.model)
        self.optimizer = make_optimizer(self.model, config.train, config.system.updates)
        self.batch = make_batch(config, device, config.model.text.max_length)
        self.passes = Passes(bfloat16=bfloat16)
        self.step.train()

    def backward(self) -> StepOutput:
        """The losses; gradients are left on the parameters."""
        self.optimizer.zero_grad(set_to_none=True)
        return backward(self.step, self.batch, CONTEXT, self.passes)

    def run(self) -> None:
        """A whole step."""
        output = self.backward()
        clip_gradients(self.model.parameters(), self.config.train.clip_norm)
        self.optimizer.step()
        self.step.objectives.after_step(self.model, output.queue_entries)


def equality(setting: Setting) -> list[Row]:
    """Losses and gradients of one step on the device beside the CPU's in float32."""
    config = settings("toy") if setting.toy else settings("small", "train.batch_size=16")
    cpu = TrainedStep(config, torch.device("cpu"), bfloat16=False)
    expected = cpu.backward().losses
    rows = []
    for precision, tolerance in (("float32", FLOAT32), ("bfloat16", BFLOAT16)):
        other = TrainedStep(config, setting.device, precision == "bfloat16")
        losses = other.backward().losses
        loss = max(abs(float(losses[n]) - float(v)) / max(1.0, abs(float(v)))
                   for n, v in expected.items())  # fmt: skip
        gradient = max(
            float((b.grad.cpu() - a.grad).norm() / a.grad.norm())
            for a, b in zip(cpu.model.parameters(), other.model.parameters(), strict=True)
            if a.grad is not None and b.grad is not None and float(a.grad.norm()) > 1e-6
        )
        rows.append(
            {"precision": precision, "loss": loss, "gradient": gradient, "limit": tolerance,
             "met": loss <= tolerance and (precision == "bfloat16" or gradient <= 100 * tolerance)}
        )  # fmt: skip
    return rows


def batch_that_fits(size: str, setting: Setting, *more: str) -> int:
    """Pairs: a power of two that the plan puts into a part of the GPU's memory."""
    if not setting.gpu:
        return 2 if setting.toy else 4
    room = FILLED * torch.cuda.get_device_properties(setting.device).total_memory
    batch = LARGEST_BATCH
    while batch > 1:
        config = make_config(size, "r2d2", (f"train.batch_size={batch}", *more))
        if flops(config).memory.total <= room:
            break
        batch //= 2
    return batch


def steps(setting: Setting) -> Iterator[Row]:
    """Step time, share of the peak, peak memory beside the plan's, of each size and way."""
    variants: dict[str, tuple[str, ...]] = {
        "as it is": (),
        "compiled": ("system.compile=true",),
        "recomputed": ("system.checkpoint_activations=true",),
        "both": ("system.compile=true", "system.checkpoint_activations=true"),
    }
    peak = max(rates(setting.device.type, 3, setting.toy)["matmul"])
    for size in ("toy",) if setting.toy else ("base", "large"):
        batch = batch_that_fits("tiny" if size == "toy" else size, setting)
        for name, more in variants.items():
            row: Row = {"size": size, "way": name, "batch": batch}
            try:
                row |= step_figures(settings(size, f"train.batch_size={batch}", *more), setting,
                                    peak)  # fmt: skip
            except Exception as error:  # one way that fails must not hide the others
                row["error"] = one_line(error)
            if setting.gpu:
                torch.cuda.empty_cache()
            yield row


def step_figures(config: Config, setting: Setting, peak: float) -> Row:
    """Of one configuration; `peak` in FLOP/s."""
    if setting.gpu:
        torch.cuda.reset_peak_memory_stats()
    trained = TrainedStep(config, setting.device, setting.gpu)
    for _ in range(3):  # compiles, and fills the optimiser's state
        trained.run()
    first = seconds(trained.run, setting)
    count = max(3, min(50, round(setting.seconds / first)))
    taken = sorted(seconds(trained.run, setting) for _ in range(count))[count // 2]
    report = flops(config)
    planned, measured = report.memory.total, math.nan
    if setting.gpu:
        measured = torch.cuda.max_memory_allocated()
    work = config.train.batch_size * report.step
    return {
        "ms": 1e3 * taken, "pairs_s": config.train.batch_size / taken, "mfu": work / taken / peak,
        "memory_gib": measured / 2**30, "planned_gib": planned / 2**30,
        "memory_met": None if math.isnan(measured) else abs(planned / measured - 1) <= PLANNED,
    }  # fmt: skip


def seconds(call: Callable[[], object], setting: Setting) -> float:
    """Of one call, the GPU's work included."""
    settle(setting)
    start = time.perf_counter()
    call()
    settle(setting)
    return time.perf_counter() - start


def settle(setting: Setting) -> None:
    """Wait for the GPU."""
    if setting.gpu:
        torch.cuda.synchronize()


def waiting(setting: Setting) -> Row:
    """The share of a step that the trainer waits for its loader."""
    from benchmarks.speed.loader import results

    (result,) = results(1 if setting.toy else 3, setting.toy)
    return {"share": result.ratio, "limit": WAITS, "met": result.ratio <= WAITS,
            "step_ms": 1e3 * result.ours_s}  # fmt: skip


def second_stage(setting: Setting) -> Row:
    """Milliseconds that the cross encoders take for one query's candidates."""
    size = sizes("toy" if setting.toy else "base")
    if not setting.toy:
        size = replace(size, items=128, top_k=128, queries=4)
    stage: Stage = make_stage(size)
    stage.model.model.to(setting.device)
    stage.ours()
    row: Row = {"candidates": size.top_k, "queries": 2 * size.queries}
    for name, call in (("exact_ms", stage.ours), ("cascade_ms", stage.cascaded)):
        taken = min(seconds(call, setting) for _ in range(3))
        row[name] = 1e3 * taken / (2 * size.queries)
    return row


@torch.inference_mode()
def precisions(setting: Setting) -> Iterator[Row]:
    """How far cosines of pictures and texts are from float32's, in the GPU's faster precisions."""
    config = settings("toy" if setting.toy else "base", "train.batch_size=32")
    torch.manual_seed(0)
    model = R2D2(config.model).eval().to(setting.device)
    batch = make_batch(config, setting.device)

    def cosines() -> Tensor:
        images = model.embed_images(batch.pixels).float()
        return images @ model.towers.embed_texts(batch.ids, batch.mask).float().T

    expected = cosines()
    for name, limit in COSINE.items():
        with fast(name, setting.device):
            apart = float((cosines() - expected).abs().max())
            taken = min(seconds(cosines, setting) for _ in range(3))
        yield {"precision": name, "cosine": apart, "limit": limit, "met": apart <= limit,
               "ms": 1e3 * taken, "float32_ms": 1e3 * min(seconds(cosines, setting)
                                                         for _ in range(3))}  # fmt: skip


@contextmanager
def fast(name: str, device: torch.device) -> Iterator[None]:
    """Products in TF32, or in bfloat16 by autocast."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else before)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=name == "bfloat16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def demo(setting: Setting) -> Row:
    """The first steps of the demo, on the embedded corpus."""
    from r2d2.data.emoji import build_emoji_table
    from r2d2.training.log import HISTORY
    from r2d2.training.pretrain import pretrain

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "emoji.lance"
        build_emoji_table(table)
        config = make_config("tiny", "r2d2", ("train.epochs=1", "train.log_every=1"))
        start = time.perf_counter()
        summary = pretrain(table, Path(folder) / "run", config)
        taken = time.perf_counter() - start
        lines = (Path(folder) / "run" / HISTORY).read_text(encoding="utf-8").splitlines()
    totals = [row["total"] for row in map(json.loads, lines) if "total" in row]
    first, last = totals[0], sum(totals[-5:]) / len(totals[-5:])
    return {"steps": summary.steps, "seconds": taken, "first_loss": first, "last_loss": last,
            "met": last < first}  # fmt: skip


def one_line(error: BaseException) -> str:
    """What an error says, in short."""
    last = traceback.format_exception_only(error)[-1]
    return " ".join(last.split())[:300]


PARTS: dict[str, Callable[[Setting], Any]] = {
    "equality": equality,
    "precisions": precisions,
    "demo": demo,
    "second_stage": second_stage,
    "waiting": waiting,
    "steps": steps,
}


def machine(setting: Setting) -> Row:
    """What it ran on."""
    row: Row = {"python": platform.python_version(), "torch": torch.__version__}
    if setting.gpu:
        properties = torch.cuda.get_device_properties(setting.device)
        row |= {"gpu": properties.name, "memory_gib": properties.total_memory / 2**30}
    return row | {"toy": setting.toy}


def markdown(figures: dict[str, Any]) -> str:
    """A table of each part."""
    lines = [f"# {figures['machine'].get('gpu', 'CPU')}, torch {figures['machine']['torch']}", ""]
    for name, found in figures.items():
        rows = found if isinstance(found, list) else [found]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines += [f"## {name}", "", "| " + " | ".join(columns) + " |",
                  "|" + "---|" * len(columns)]  # fmt: skip
        lines += ["| " + " | ".join(cell(row.get(key)) for key in columns) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A value of a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def main() -> None:
    """All parts; ends with 1 where one failed or passed its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=7.0, help="After which no part begins.")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    gpu = torch.cuda.is_available()
    toy = given.toy or not gpu
    setting = Setting(torch.device("cuda" if gpu else "cpu"), toy, 0.2 if toy else 5.0)
    figures: dict[str, Any] = {"machine": machine(setting)}
    start, failed = time.perf_counter(), []
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.parts:
        part = PARTS[name]
        if time.perf_counter() - start > 60 * given.minutes:
            figures[name] = {"error": f"left out: {given.minutes:g} minutes had passed"}
        else:
            print(f"{name} ...", file=sys.stderr)
            try:
                found = part(setting)
                figures[name] = copy.copy(found) if isinstance(found, dict | list) else list(found)
            except Exception as error:
                traceback.print_exc()
                figures[name] = {"error": one_line(error)}
        rows = figures[name] if isinstance(figures[name], list) else [figures[name]]
        wrong = [key for row in rows for key in row if key == "error" or row[key] is False]
        failed += [name] if wrong else []
        write_text(given.out / "gpu.json", json.dumps(figures, indent=1))
    page = markdown(figures)
    write_text(given.out / "gpu.md", page)
    print(page)
    if failed:
        print(f"look at: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
