"""Take nested samples of a training split, and draw R@M over the number of rows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from r2d2 import progress
from r2d2.ablation.summary import TASKS, ArmSummary
from r2d2.corpus.config import SampleConfig
from r2d2.corpus.report.sample import in_sample, sample_table
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.table import PairsTable

TRAIN = "train"


def share_table(table: PairsTable, out: Path, share: float) -> tuple[str, int]:
    """Make a table with a share of the training split; return its path and its number of rows.

    Rows are chosen by a hash of the image id, so that a smaller share is a part of a larger one.
    For a share of 1 the table itself is returned.

    Raises:
        R2D2Error: no row would be left, or another table is at the path.
    """
    rows = table.rows(TRAIN)
    if share == 1:
        return table.path, len(rows)
    config = SampleConfig(share=share)
    rows = rows[in_sample(table.image_ids(rows), config)]
    if not len(rows):
        raise R2D2Error(
            f"a share of {share:g} of split '{TRAIN}' of {table.path} is not one row: ask for a "
            "larger share"
        )
    path = out / f"share-{share:g}.lance"
    if not path.exists():
        with progress.bars() as update:
            sample_table(table, path, config, update)
    sample = PairsTable.open(path)
    if sample.image_ids(sample.rows(TRAIN)) != table.image_ids(rows):
        raise R2D2Error(f"{path} is no sample of {table.path}: remove it, or give another --out")
    return str(path), len(rows)


def curve_png(arms: Sequence[ArmSummary], rows: Sequence[int]) -> bytes:
    """Draw R@M over the number of training rows as PNG, with a line per task and a dot per seed."""
    # Imported here, because the import takes half a second.
    figure = require("report", "matplotlib.figure", "the curve of more data").Figure(
        figsize=(6.4, 4.0), layout="constrained", dpi=150
    )
    axes = figure.add_subplot()
    order = np.argsort(rows)
    for task in TASKS:
        estimates = [arms[i].values.get((task, "r_mean")) for i in order]
        if any(value is None for value in estimates):
            continue
        values = [value for value in estimates if value is not None]
        at = [rows[i] for i in order]
        low = [v.mean - min(v.low, v.mean) for v in values]
        high = [max(v.high, v.mean) - v.mean for v in values]
        line = axes.errorbar(
            at, [v.mean for v in values], yerr=[low, high], marker="o", capsize=3, label=task
        )
        for x, value in zip(at, values, strict=True):
            axes.plot([x] * len(value.by_seed), value.by_seed, ".", alpha=0.4,
                      color=line.lines[0].get_color())  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(sorted(rows), [f"{n:,}" for n in sorted(rows)])
    axes.minorticks_off()
    axes.set_xlabel("rows to train on, as many steps each")
    axes.set_ylabel("R@M, %")
    axes.grid(alpha=0.3)
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
