"""`r2d2 report`: the comparison as one self-contained HTML file and one Markdown file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

import r2d2
from r2d2.evaluation.comparison import (
    Cell,
    ComparisonTable,
    EvaluatedRun,
    Line,
    Section,
    read_examples,
    read_runs,
    sections,
)
from r2d2.evaluation.plots import quality_cost_plot, recall_curves, reliability_plot
from r2d2.evaluation.published import PublishedResults, published
from r2d2.files import write_text
from r2d2.page import page_text, percent, template

WAYS = {"i2t": "image → text", "t2i": "text → image"}
HEADS = {
    "r_mean": "R@M", "auc": "AUC", "average_precision": "average precision",
    "accuracy": "accuracy", "ece": "ECE", "top1": "top-1", "top5": "top-5",
    "mean_class_top1": "top-1, mean of classes", "mean": "mean",
    "parameters": "parameters, M", "bytes_per_vector": "bytes a vector",
    "images_per_second": "images/s", "first_stage_ms": "first stage, ms",
    "second_stage_ms": "second stage, ms", "pooled_ms": "pooled states, ms",
    "pooled_bytes": "bytes of pooled states",
}  # fmt: skip


def write_comparison(
    folders: Sequence[Path],
    out: Path,
    *,
    title: str | None = None,
    file: PublishedResults | None = None,
) -> tuple[Path, Path]:
    """Write the report of some runs; gives the HTML file and the Markdown file beside it.

    Args:
        folders: that `r2d2 evaluate` wrote.
        out: of the HTML file.
        title: of the page.
        file: published results; None: those of the package.

    Raises:
        R2D2Error: a folder holds no run, or a file cannot be written.
    """
    file = file or published()
    runs = read_runs(folders)
    parts = sections(runs, file)
    title = title or f"{_names(runs)}: report"
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = template("r2d2.evaluation", "compare.html").render(
        title=title,
        lead=_lead(runs, parts),
        written=written,
        sections=[_section(part, number) for number, part in enumerate(parts)],
        sheets=[
            {"run": run.name, "groups": groups} for run in runs if (groups := read_examples(run))
        ],
        runs=[
            {"name": r.name, "about": r.about, "table": Path(r.about["table"]).name} for r in runs
        ],
        sources=_sources(parts, file),
        version=r2d2.__version__,
    )
    write_text(out, page)
    beside = out.with_suffix(".md")
    write_text(beside, markdown(title, written, parts, _sources(parts, file)))
    return out, beside


def markdown(title: str, written: str, parts: Sequence[Section], sources: Sequence[str]) -> str:
    """The tables and notes as Markdown; the best of a column in bold."""
    lines = [
        f"# {_plain(page_text(title))}",
        "",
        f"{page_text('Written')} {written}. {page_text('Figures in %.')}",
        "",
    ]
    for part in parts:
        lines += [f"## {_plain(page_text(part.name))}, {_plain(part.split)}"]
        lines += ["", page_text(_about(part)), ""]
        for table in part.tables:
            lines += [f"### {page_text(table.title)}", "", page_text(table.about), ""]
            heads = ["model", *(_head(c, whole=True) for c in table.columns), "source"]
            lines += [f"| {' | '.join(map(page_text, heads))} |", f"|{'---|' * len(heads)}"]
            lines += [_markdown_line(line) for line in table.lines]
            lines.append("")
        lines += [f"- {_plain(page_text(note))}" for note in part.notes]
        lines += [""] if part.notes else []
    if sources:
        lines += [f"{page_text('Published rows')}: {'; '.join(sources)}.", ""]
    return "\n".join(lines)


def _markdown_line(line: Line) -> str:
    def cell(value: Cell) -> str:
        text = percent(value.value)
        text = f"**{text}**" if value.best else text
        if value.interval:
            text += f" ({percent(value.interval[0])}–{percent(value.interval[1])})"
        return text

    label = page_text(line.label) if line.chance else line.label
    name = f"*{_plain(label)}*" if line.ours else _plain(label)
    note = f"[{_plain(line.note)}]({line.url})" if line.url else _plain(page_text(line.note))
    return f"| {' | '.join([name, *(cell(c) for c in line.cells), note])} |"


def _plain(text: str) -> str:
    """A name that cannot break a table or start markup."""
    return "".join(f"\\{c}" if c in "|*_`[]<>\\" else " " if c in "\r\n" else c for c in text)


def _section(part: Section, number: int) -> dict[str, Any]:
    return {
        "name": part.name,
        "split": part.split,
        "about": _about(part),
        "tables": [_table(table) for table in part.tables],
        "plots": _plots(part, number),
        "legend": [run.name for run in part.runs],
        "classes": [
            {"run": run.name, "rows": run.metrics[part.split]["classes"]}
            for run in part.runs
            if "classes" in run.metrics[part.split]
        ],
        "notes": part.notes,
    }


def _table(table: ComparisonTable) -> dict[str, Any]:
    groups: list[tuple[str, int]] = []
    for column in table.columns:
        name = WAYS.get(column[:3], "")
        if groups and groups[-1][0] == name:
            groups[-1] = (name, groups[-1][1] + 1)
        else:
            groups.append((name, 1))
    return {
        "title": table.title,
        "about": table.about,
        "ours": table.ours,
        "groups": groups if any(name for name, _ in groups) else [],
        "heads": [_head(column) for column in table.columns],
        "lines": table.lines,
    }


def _head(column: str, *, whole: bool = False) -> str:
    """R@5 for i2t_r5; with its direction where no row above names it."""
    if column[:3] in WAYS:
        at = f"R@{column.split('_r')[1]}"
        return f"{WAYS[column[:3]]} {at}" if whole else at
    return HEADS.get(column, column)


def _plots(part: Section, number: int) -> list[dict[str, Any]]:
    metrics = [run.metrics[part.split] for run in part.runs]
    if part.task == "retrieval":
        plots = []
        for direction, name in WAYS.items():
            series = [one.get("curve", {}).get(direction) for one in metrics]
            if all(series):
                svg = recall_curves(
                    [one for one in series if one], name=f"recall-{number}-{direction}"
                )
                plots.append({
                    "title": f"Recall by rank, {name}",
                    "about": "% of queries answered rightly within the first k, last stage",
                    "svg": Markup(svg),
                })  # fmt: skip
        series = [_quality_by_cost(run, part.split) for run in part.runs]
        if any(series):
            plots.append({
                "title": "Quality against cost",
                "about": "R@M in % over ms a query, after each stage",
                "svg": Markup(quality_cost_plot(series, name=f"cost-{number}")),
            })  # fmt: skip
        return plots
    bins = [one.get("calibration", {}).get("bins") for one in metrics]
    if part.task == "matching" and any(bins):
        svg = reliability_plot([one or [] for one in bins], name=f"reliability-{number}")
        about = "share of matching pairs over the score"
        return [{"title": "Calibration", "about": about, "svg": Markup(svg)}]
    return []


def _quality_by_cost(run: EvaluatedRun, split: str) -> list[tuple[float, float]]:
    """Milliseconds for a query and R@M after each stage; empty where the time is not known."""
    cost, metrics = run.about.get("cost") or {}, run.metrics[split]
    time = cost.get("first_stage_ms")
    if time is None:
        return []
    points = [(time, metrics["prerank"]["r_mean"])]
    for stage, name in (("pooled", "pooled_ms"), ("two_stage", "second_stage_ms")):
        if cost.get(name) is not None and stage in metrics:
            time += cost[name]
            points.append((time, metrics[stage]["r_mean"]))
    return points


def _about(part: Section) -> str:
    metrics = part.runs[0].metrics[part.split]
    if part.task == "retrieval":
        queries, gallery = metrics["queries"], metrics["gallery"]
        if not queries["images"]:
            return f"{queries['texts']:,} texts rank {gallery['images']:,} images."
        return (
            f"{queries['images']:,} images rank {gallery['texts']:,} texts, "
            f"{queries['texts']:,} texts rank {gallery['images']:,} images."
        )
    if part.task == "matching":
        counts = metrics["matching"]
        return f"{counts['pairs']:,} labelled pairs, {counts['matches']:,} of them match."
    counts = metrics["classification"]
    return f"{counts['images']:,} images of {counts['classes']:,} classes."


def _lead(runs: Sequence[EvaluatedRun], parts: Sequence[Section]) -> str:
    rows = sum(
        not line.ours and not line.chance for p in parts for t in p.tables for line in t.lines
    )
    counted = "1 run of" if len(runs) == 1 else f"{len(runs)} runs of"
    beside = f", beside {rows} published rows" if rows else ""
    return f"{counted} {_names(runs)}{beside}."


def _names(runs: Sequence[EvaluatedRun]) -> str:
    return ", ".join(dict.fromkeys(run.name for run in runs))


def _sources(parts: Sequence[Section], file: PublishedResults) -> list[str]:
    keys = {(run.about.get("benchmark"), part.split) for part in parts for run in part.runs}
    cited = [row.source for row in file.rows if (row.set, row.split) in keys]
    return list(dict.fromkeys(f"{source.title}, {source.url}" for source in cited))
