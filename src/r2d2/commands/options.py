"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Preset = Annotated[str, typer.Option(help="Size: tiny, small, base or large.")]
Variant = Annotated[str, typer.Option(help="r2d2, prd2, wo_et, wo_twd, wo_tgd or wo_fgd.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, as train.lr=0.001; may be repeated.")
]
Processes = Annotated[
    int, typer.Option(min=1, help="On this machine, one a GPU; across machines use torchrun.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")]
