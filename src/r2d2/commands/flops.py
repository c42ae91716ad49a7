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
    length: Annotated[int | None, typer.Option(min=3, help="Tokens a text; the longest.")] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Over which the batch is spread: 1; with --plan 8 to 64."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Hours, cost, memory and network of whole corpora.")
    ] = False,
    pairs: Annotated[
        list[int] | None, typer.Option(help="With --plan: of a corpus; may be repeated.")
    ] = None,
    peak: Annotated[float, typer.Option(help="With --plan: TFLOP/s of a GPU, bfloat16.")] = 312.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="With --plan: of the peak.")
    ] = 0.35,
    pair_kb: Annotated[float, typer.Option(help="With --plan: kB of a picture and texts.")] = 40.0,
    price: Annotated[float, typer.Option(help="With --plan: of an hour of one GPU.")] = 2.0,
    network: Annotated[
        float, typer.Option(min=0.001, help="With --plan: GB/s that a GPU can send.")
    ] = 25.0,
    gpu_gib: Annotated[float, typer.Option(min=1, help="With --plan: memory of a GPU.")] = 80.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """GFLOPs of every part, parameters and memory a GPU, without running anything."""
    from r2d2.config import make_config
    from r2d2.flops import flops as trace
    from r2d2.planning import GPUS, PAIRS, Assumptions, plan_lines
    from r2d2.planning import plan as make_plan

    config = make_config(preset, variant, settings or ())
    report = trace(config, length, gpus or 1)
    assumed = Assumptions(
        peak * 1e12, utilisation, pair_kb * 1e3, price, network * 1e9, gpu_gib * 2.0**30
    )
    numbers = GPUS if gpus is None else (gpus,)
    spread = report if gpus or not plan else trace(config, length, numbers[0])
    plans = make_plan(spread, assumed, pairs or PAIRS, numbers) if plan else []
    if as_json:
        data = report.to_dict() | ({"plan": [asdict(one) for one in plans]} if plan else {})
        typer.echo(json.dumps(data, indent=1))
        return
    for line in report.lines():
        typer.echo(line)
    if config.objectives.et and not config.train.labelled:
        apart = replace(config, objectives=replace(config.objectives, et=False))
        without = trace(apart, length, gpus or 1)
        typer.echo(
            f"without enhanced training: forward {without.forward / 1e9:.2f}, step "
            f"{without.step / 1e9:.2f} GFLOPs a pair (the paper, ViT-L: 154.0 with, 168.8 without)"
        )
    if plan:
        typer.echo("")
        for line in plan_lines(spread, assumed, plans):
            typer.echo(line)
