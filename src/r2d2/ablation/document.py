"""Make the tables of an ablation, which the Markdown and the HTML report share."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import yaml

import r2d2
from r2d2.ablation.runs import Arm
from r2d2.ablation.speed import ArmSpeed
from r2d2.ablation.summary import (
    BETTER,
    ENOUGH_SEEDS,
    RESAMPLES,
    TASKS,
    WORSE,
    ArmSummary,
    difference,
    mean_spread,
)
from r2d2.flops import flops
from r2d2.page import page_text
from r2d2.settings import data_files

LABELS = {
    "r2d2": "R2D2",
    "prd2": "PRD2",
    "wo_et": "w/o ET",
    "wo_twd": "w/o TwD",
    "wo_tgd": "w/o TgD",
    "wo_fgd": "w/o FgD",
}
FIGURE_LABELS = {"r_mean": "R@M", "r_1": "R@1", "auc": "AUC"}
FINAL = tuple(FIGURE_LABELS)
MARK = {BETTER: " ▲", WORSE: " ▼"}


@dataclass(frozen=True)
class ReportTable:
    """A heading, a description, and rows of text whose first cell names the row."""

    title: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Document:
    """The content of a report."""

    title: str
    about: str
    tables: tuple[ReportTable, ...]
    notes: tuple[str, ...] = field(default=())


def label(name: str) -> str:
    """Return the name of a variant as the paper writes it, and the name of any other arm."""
    return LABELS.get(name, name)


def cost_rows(arms: Sequence[Arm], speeds: Mapping[str, ArmSpeed]) -> dict[str, dict[str, float]]:
    """Return the cost of a step of each arm, by the name of the arm."""
    costs = {}
    for arm in arms:
        speed = speeds[arm.name]
        text = replace(arm.config.model.text, vocab_size=speed.vocab)
        config = replace(arm.config, model=replace(arm.config.model, text=text))
        report = flops(config, max(3, round(speed.length)))
        costs[arm.name] = {
            "parameters": report.trainable,
            "tokens": speed.length,
            "gflops_forward": report.forward / 1e9,
            "gflops_step": report.step / 1e9,
            "steps_per_second": 1 / speed.seconds,
            "epochs": arm.config.train.epochs,
        }
    return costs


def paper() -> dict[str, Any]:
    """Read the figures that the paper reports from paper.yaml."""
    text = data_files("ablation")["paper"].read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data


def document(
    title: str,
    arms: Sequence[Arm],
    summaries: Sequence[ArmSummary],
    costs: Mapping[str, Mapping[str, float]],
    rows: int,
    settings: Sequence[str] = (),
) -> Document:
    """Make all tables of an ablation; every arm is compared with the first.

    Args:
        title: the title of the page.
        arms: the arms that were run.
        summaries: the figures of the arms.
        costs: from `cost_rows`.
        rows: the number of rows of the training split.
        settings: the settings that all arms change in the preset.
    """
    first, config = summaries[0], arms[0].config
    tasks = [task for task in TASKS if (task, "r_mean") in first.values]
    seconds = sum(sum(arm.seconds) for arm in summaries)
    runs = sum(len(arm.seeds) for arm in summaries)
    over = f" with {', '.join(settings)}" if settings else ""
    about = (
        f"Preset {config.preset}{over}. {rows:,} rows to train on. Seeds: "
        f"{', '.join(map(str, first.seeds))}. The runs of one seed see the same data in the same "
        f"order. {runs} runs took {seconds / 60:.0f} minutes of training in all."
    )
    about_tasks = _about(summaries, len(summaries) - 1)
    tables = [_task(summaries, task, about_tasks if i == 0 else "") for i, task in enumerate(tasks)]
    tables.append(_costs(summaries, costs))
    beside = _beside_paper(summaries, costs)
    if first.name == "r2d2" and beside.rows:
        tables.append(beside)
    return Document(title, about, tuple(tables), _notes())


def _task(summaries: Sequence[ArmSummary], task: str, about: str) -> ReportTable:
    """Make the table of one split: the figures, and their differences from the first arm."""
    columns = ["", *(c for name in FINAL for c in (FIGURE_LABELS[name], "Δ"))]
    columns += [f"pre-ranking {FIGURE_LABELS[name]}" for name in FINAL[:2]] + ["seeds"]
    rows = []
    for arm in summaries:
        cells = []
        for name in FINAL:
            key = (task, name)
            gap = arm.differences.get(key)
            mark = MARK.get(arm.verdict(key), "")
            cells += [mean_spread(arm.values[key]), difference(gap) + mark if gap else ""]
        cells += [mean_spread(arm.values[task, f"prerank_{name}"]) for name in FINAL[:2]]
        rows.append((label(arm.name), *cells, str(len(arm.seeds))))
    return ReportTable(task, about, tuple(columns), tuple(rows))


def _about(summaries: Sequence[ArmSummary], others: int) -> str:
    shared = [len(value.by_seed) for arm in summaries[1:] for value in arm.differences.values()]
    about = (
        "The mean over seeds in %, and in brackets the largest value less the smallest. Δ is the "
        f"difference from {label(summaries[0].name)} in points, with the 95% interval of "
        f"{RESAMPLES:,} paired resamples of images and seeds. "
    )
    if min(shared, default=0) < ENOUGH_SEEDS:
        return about + (
            f"With fewer than {ENOUGH_SEEDS} seeds no difference is marked as significant."
        )
    count = others * len(FINAL) * len(TASKS)
    return about + (
        f"▲ and ▼ mark intervals that do not hold zero. Of the {count} intervals on this page "
        f"{count * 0.05:.0f} would do so by chance alone."
    )


def _costs(
    summaries: Sequence[ArmSummary], costs: Mapping[str, Mapping[str, float]]
) -> ReportTable:
    columns = (
        "", "parameters", "GFLOPs a pair, forward", "a step", "steps/s", "epochs",
        "training, s a run",
    )  # fmt: skip
    rows = []
    for arm in summaries:
        cost = costs[arm.name]
        rows.append((
            label(arm.name),
            f"{cost['parameters'] / 1e6:.1f}M",
            f"{cost['gflops_forward']:.3g}",
            f"{cost['gflops_step']:.3g}",
            f"{cost['steps_per_second']:.2f}",
            f"{cost['epochs']:.0f}",
            f"{statistics.fmean(arm.seconds):.0f}",
        ))  # fmt: skip
    tokens = max(cost["tokens"] for cost in costs.values())
    about = (
        "GFLOPs count a multiply-add as two, with teachers and all passes, at "
        f"{tokens:.0f} tokens a text. Steps/s is the median of some steps of each variant, from "
        "the fastest of several turns. The seconds of a run depend on what else the machine did."
    )
    return ReportTable("Cost", about, columns, tuple(rows))


def _beside_paper(
    summaries: Sequence[ArmSummary], costs: Mapping[str, Mapping[str, float]]
) -> ReportTable:
    """Make the table of the paper's differences from R2D2 and its ratios, with ours on `test`."""
    theirs, whole = paper(), paper()["rows"]["r2d2"]
    rows = []
    for arm in summaries[1:]:
        row = theirs["rows"].get(arm.name, {})
        gaps = {name: row[name] - whole[name] for name in FINAL if name in row and name in whole}
        gaps |= theirs["differences"].get(arm.name, {})
        for name, gap in gaps.items():
            ours = arm.differences.get(("test", name))
            if ours is not None and math.isfinite(ours.mean):
                same = "same sign" if ours.mean * gap > 0 else "other sign"
                rows.append((f"{label(arm.name)} {FIGURE_LABELS[name]}", f"{gap:+.2f}",
                             difference(ours, 2), same))  # fmt: skip
        if "gflops" in row:
            base, cost = costs[summaries[0].name], costs[arm.name]
            for name, key, ours_key in (
                ("GFLOPs, times", "gflops", "gflops_forward"),
                ("steps/s, times", "steps_per_second", "steps_per_second"),
            ):
                rows.append((f"{label(arm.name)} {name}", f"{row[key] / whole[key]:.2f}",
                             f"{cost[ours_key] / base[ours_key]:.2f}", ""))  # fmt: skip
    about = (
        f"The paper's figures ({theirs['source']}) beside ours on test. Data and sizes differ, so "
        "only the signs of the differences can be compared. R2D2 in the paper: R@M "
        f"{whole['r_mean']}, AUC {whole['auc']}, {whole['gflops']} GFLOPs a pair, "
        f"{whole['steps_per_second']} iterations/s. {theirs['missing'].strip()}"
    )
    return ReportTable("Beside the paper", about, ("less R2D2", "paper", "ours", ""), tuple(rows))


def _notes() -> tuple[str, ...]:
    return (
        f"r2d2 {r2d2.__version__}, PyTorch {torch.__version__}, Python "
        f"{platform.python_version()}, {os.cpu_count()} CPU cores, "
        f"{torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'no GPU'}",
    )


def markdown(report: Document) -> str:
    """Return the document as Markdown."""
    lines = [f"# {page_text(report.title)}", "", page_text(report.about)]
    for table in report.tables:
        lines += ["", f"## {page_text(table.title)}"]
        lines += ["", page_text(table.about)] if table.about else []
        lines += ["", *table_lines(table)]
    return "\n".join([*lines, "", *map(page_text, report.notes), ""])


def table_lines(table: ReportTable) -> list[str]:
    """Return the lines of one table in Markdown."""
    rows = [table.columns, ("---",) * len(table.columns), *table.rows]
    return ["| " + " | ".join(map(page_text, row)) + " |" for row in rows]
