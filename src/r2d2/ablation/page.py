"""Make the HTML page of an ablation: each difference drawn with its interval, then the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r2d2.ablation.document import FIGURE_LABELS, FINAL, Document, label
from r2d2.ablation.statistics import Estimate
from r2d2.ablation.summary import TASKS, ArmSummary
from r2d2.page import template

LEFT, RIGHT, ROW = 70.0, 300.0, 24.0  # the edges and the row height of a panel, in its own units
TICKS = 4  # the approximate number of ticks


@dataclass(frozen=True)
class DifferenceBar:
    """The difference of one arm, in the units of the panel."""

    label: str
    y: float
    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Panel:
    """The drawing of one figure on one task."""

    title: str
    height: float
    zero: float
    ticks: tuple[tuple[float, str], ...]
    bars: tuple[DifferenceBar, ...]


def page(report: Document, arms: Sequence[ArmSummary]) -> str:
    """Return the page as HTML that needs no other file."""
    drawn = [panel(arms, task, name) for task in TASKS for name in FINAL]
    html: str = template("r2d2.ablation", "page.html").render(
        report=report,
        baseline=label(arms[0].name),
        panels=[p for p in drawn if p is not None],
        left=LEFT,
        right=RIGHT,
    )
    return html


def panel(arms: Sequence[ArmSummary], task: str, name: str) -> Panel | None:
    """Lay out one figure; None where there is nothing to compare."""
    differences = [(arm, arm.differences.get((task, name))) for arm in arms[1:]]
    shown: list[tuple[ArmSummary, Estimate]] = [
        (arm, value)
        for arm, value in differences
        if value is not None and math.isfinite(value.mean)
    ]
    if not shown:
        return None
    values = [v for _, e in shown for v in (e.low, e.high, *e.by_seed) if math.isfinite(v)]
    low, high = min(0.0, *values), max(0.0, *values)
    room = (high - low) * 0.05 or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (value - low) / (high - low), 1)

    bars = tuple(
        DifferenceBar(label(arm.name), ROW * (i + 0.75), x(e.mean), x(e.low), x(e.high),
            tuple(map(x, e.by_seed)), f"{e.mean:+.2f} [{e.low:+.2f}, {e.high:+.2f}]")
        for i, (arm, e) in enumerate(shown)
    )  # fmt: skip
    step = _step((high - low) / TICKS)
    ticks = tuple(
        (x(k * step), f"{k * step:g}")
        for k in range(math.ceil(low / step), math.floor(high / step) + 1)
    )
    title = f"{task}, {FIGURE_LABELS[name]}"
    return Panel(title, ROW * (len(bars) + 0.5), x(0.0), ticks, bars)


def _step(least: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power: Any = 10.0 ** math.floor(math.log10(least))
    return float(next(k * power for k in (1, 2, 5, 10) if k * power >= least * 0.999))
