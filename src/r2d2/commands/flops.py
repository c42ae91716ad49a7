"""`r2d2 flops`: what a configuration costs, and a plan of a whole pre-training."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import typer

from r2d2.commands.options import Preset, Settings, Variant


def flops(
    preset: Preset = "base",
    variant: Variant = "r2d2",
    settings: Settings = None,
    max_length: int | None = typer.Option(
        None, min=3, help="Count with texts of this many tokens; the default is the longest."
    ),
    gpus: int | None = typer.Option(
        None,
        min=1,
        help="Spread the batch over this many GPUs; the default is 1, and 8 to 64 with --plan.",
    ),
    plan: bool = typer.Option(
        False, "--plan", help="Plan a whole pre-training: hours, cost, memory and network."
    ),
    pairs: list[int] | None = typer.Option(
        None, help="Plan for a corpus of this many pairs. Repeat the option for more."
    ),
    peak: float = typer.Option(312.0, help="Plan with a GPU of this many TFLOP/s in bfloat16."),
    utilisation: float = typer.Option(
        0.35, min=0.01, max=1.0, help="Plan with this share of the peak."
    ),
    pair_kb: float = typer.Option(40.0, help="Plan with this many kB for a picture and its texts."),
    price: float = typer.Option(2.0, help="Plan with this price of one hour of one GPU."),
    network: float = typer.Option(
        25.0, min=0.001, help="Plan with GPUs that can send this many GB/s."
    ),
    gpu_gib: float = typer.Option(80.0, min=1, help="Plan with GPUs of this much memory, in GiB."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON, for programs."),
) -> None:
    """Count the GFLOPs of every part, the parameters and the memory of a GPU, without training."""
    from r2d2.config import make_config
    from r2d2.flops import flops as trace
    from r2d2.planning import GPUS, PAIRS, Assumptions, plan_lines
    from r2d2.planning import plan as make_plan

    config = make_config(preset, variant, settings or ())
    report = trace(config, max_length, gpus or 1)
    assumed = Assumptions(
        peak * 1e12, utilisation, pair_kb * 1e3, price, network * 1e9, gpu_gib * 2.0**30
    )
    numbers = GPUS if gpus is None else (gpus,)
    spread = report if gpus or not plan else trace(config, max_length, numbers[0])
    plans = make_plan(spread, assumed, pairs or PAIRS, numbers) if plan else []
    if as_json:
        data = report.to_dict() | ({"plan": [asdict(each) for each in plans]} if plan else {})
        typer.echo(json.dumps(data, indent=1))
        return
    for line in report.lines():
        typer.echo(line)
    if config.objectives.et and not config.train.labelled:
        apart = replace(config, objectives=replace(config.objectives, et=False))
        without = trace(apart, max_length, gpus or 1)
        typer.echo(
            f"without enhanced training: forward {without.forward / 1e9:.2f}, step "
            f"{without.step / 1e9:.2f} GFLOPs a pair (the paper, ViT-L: 154.0 with, 168.8 without)"
        )
    if plan:
        typer.echo("")
        for line in plan_lines(spread, assumed, plans):
            typer.echo(line)
