"""Curves as inline SVG that takes its colours and its font from the page around it.

The drawings hold numbers only: names, which may be Chinese, stand in the page, which has the fonts.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r2d2.extras import require

POINTS = 300  # drawn a curve; more are averaged
SIZE, WIDE = (3.0, 1.75), (5.2, 2.0)  # inches
# Stand-ins for the page's colours: matplotlib knows no CSS variables.
INK, LINE, FAINT, RULE = "#010203", "#040506", "#070809", "#0a0b0c"
SERIES = ("#110203", "#110405", "#110607", "#110809", "#110a0b", "#110c0d")
MARKS = ("o", "s", "^", "D", "v", "P")  # told apart without colour too
CSS = {
    **{stand_in: f"var(--series-{n})" for n, stand_in in enumerate(SERIES, 1)},
    INK: "var(--muted)",
    LINE: "var(--accent)",
    FAINT: "var(--accent-soft)",
    RULE: "var(--rule)",
}


def curve(
    steps: Sequence[float], values: Sequence[float], *, name: str, reference: float | None = None
) -> str:
    """One scalar over the steps: the values thin, their running mean thick.

    Args:
        steps: (n,) ascending.
        values: (n,); those that are not finite are left out.
        name: what makes the ids of this drawing its own; not drawn.
        reference: a level drawn dashed, such as chance.

    Returns:
        An <svg> element, or "" where no value is finite.
    """
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = _thin(x[finite]), _thin(y[finite])
    if not len(y):
        return ""
    figure, axes = _axes(SIZE)
    if reference is not None:
        axes.axhline(reference, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(x, y, color=FAINT, linewidth=0.9, marker="." if len(y) == 1 else "")
    axes.plot(x, _running_mean(y), color=LINE, linewidth=1.6, marker="." if len(y) == 1 else "")
    axes.locator_params(nbins=4)
    axes.margins(x=0.02, y=0.08)
    return _svg(figure, name)


def weight_curve(curve: Mapping[str, float], chosen: float, *, name: str) -> str:
    """R@M under each weight, evenly spaced as the grid is, with the chosen one marked."""
    figure, axes = _axes(WIDE)
    values = list(curve.values())
    axes.plot(range(len(values)), values, color=LINE, linewidth=1.6, marker="o", markersize=2.5)
    weights = [float(weight) for weight in curve]
    if chosen in weights:
        position = weights.index(chosen)
        axes.plot(
            [position], [values[position]], "o", markersize=8, markerfacecolor="none", color=LINE
        )
    axes.set_xticks(range(len(values)), [f"{weight:g}" for weight in weights])
    return _svg(figure, name)


def recall_curves(series: Sequence[Mapping[str, float]], *, name: str) -> str:
    """Recall over the rank it is cut at, a line for each run; the ranks are evenly spaced."""
    figure, axes = _axes((4.2, 2.6))
    ranks = list(series[0])
    _lines(axes, [(range(len(ranks)), [s.get(rank, math.nan) for rank in ranks]) for s in series])
    axes.set_xticks(range(len(ranks)), ranks)
    axes.set_ylim(0, 101)
    return _svg(figure, name)


def reliability_plot(series: Sequence[Sequence[Mapping[str, Any]]], *, name: str) -> str:
    """The share of pairs that match over the mean score of their bin, a line for each run.

    A perfectly calibrated model lies on the dashed line.
    """
    figure, axes = _axes((3.4, 2.8))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    filled = [[one for one in bins if one["score"] is not None] for bins in series]
    _lines(axes, [([b["score"] for b in bins], [b["match"] for b in bins]) for bins in filled])
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return _svg(figure, name)


def quality_cost_plot(series: Sequence[Sequence[tuple[float, float]]], *, name: str) -> str:
    """Quality over cost on a logarithmic scale, a line for each run from stage to stage."""
    figure, axes = _axes((4.2, 2.6))
    axes.set_xscale("log")
    _lines(axes, [([x for x, _ in points], [y for _, y in points]) for points in series], 1.2, 6)
    axes.set_ylim(0, 101)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    return _svg(figure, name)


def _lines(
    axes: Any,
    series: Sequence[tuple[Sequence[float], Sequence[float]]],
    width: float = 1.6,
    mark: float = 4,
) -> None:
    """A line for each run, with a colour and a mark of its own."""
    for number, (x, y) in enumerate(series):
        color, marker = SERIES[number % len(SERIES)], MARKS[number % len(MARKS)]
        axes.plot(x, y, color=color, marker=marker, linewidth=width, markersize=mark)


def _axes(size: tuple[float, float]) -> tuple[Any, Any]:
    # Here, because the import takes half a second.
    figure = require("report", "matplotlib.figure", "a report").Figure(
        figsize=size, layout="constrained"
    )
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, labelsize=9)
    return figure, axes


def _svg(figure: Any, name: str) -> str:
    matplotlib = require("report", "matplotlib", "a report")
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The salt makes ids that neither change from run to run nor clash with another drawing's.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]  # without the XML header, which names a DTD
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height|version|xmlns\S*)="[^"]*"', "", head)
    for stand_in, variable in CSS.items():
        rest = rest.replace(stand_in, variable)
    # A style sheet inside would hold for the whole page, and ids of groups would repeat in it.
    rest = re.sub(r"<style.*?</style>", "", rest, flags=re.DOTALL)
    rest = re.sub(r'<g id="[^"]*"', "<g", rest)
    return f"{head}>" + re.sub(r" font-family: [^;]*;", "", rest)


def _thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most POINTS values, each the mean of its neighbours."""
    if len(values) <= POINTS:
        return values
    return np.array([part.mean() for part in np.array_split(values, POINTS)])


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each value and its neighbours, a twentieth of the curve wide."""
    half = len(values) // 40
    total = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    mean: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return mean
