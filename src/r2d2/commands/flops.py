"""`r2d2 flops`: what a configuration costs, and a plan of a whole pre-training."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated

import typer

from r2d2.commands.options import Preset, Settings, Variant


def flops(
    preset: Preset = "base",
    variant: Variant = "r2d2",
    settings: Settings = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=3, help="Count with texts of this many tokens; the default is the longest."
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Spread the batch over this many GPUs; the default is 1, and 8 to 64 with --plan.",
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Plan a whole pre-training: hours, cost, memory and network."),
    ] = False,
    pairs: Annotated[
        list[int] | None,
        typer.Option(help="Plan for a corpus of this many pairs. Repeat the option for more."),
    ] = None,
    peak: Annotated[
        float, typer.Option(help="Plan with a GPU of this many TFLOP/s in bfloat16.")
    ] = 312.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Plan with this share of the peak.")
    ] = 0.35,
    pair_kb: Annotated[
        float, typer.Option(help="Plan with this many kB for a picture and its texts.")
    ] = 40.0,
    price: Annotated[
        float, typer.Option(help="Plan with this price of one hour of one GPU.")
    ] = 2.0,
    network: Annotated[
        float, typer.Option(min=0.001, help="Plan with GPUs that can send this many GB/s.")
    ] = 25.0,
    gpu_gib: Annotated[
        float, typer.Option(min=1, help="Plan with GPUs of this much memory, in GiB.")
    ] = 80.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
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
        data = report.to_dict() | ({"plan": [asdict(one) for one in plans]} if plan else {})
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
