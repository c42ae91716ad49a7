"""The tables of `r2d2 report`: runs compared with each other and with published results.

Figures are in one table only where set, split, setting and protocol are the same. Our figures are
then counted as the official code counts. A run on a sample of its split has a table of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.evaluation.published import PublishedResults, PublishedRow
from r2d2.evaluation.run import EXAMPLES, about_of, read_metrics
from r2d2.evaluation.task_metrics import STAGES
from r2d2.ranking.metrics import RECALLS

COLUMNS = (*RECALLS, "r_mean")
PICTURE = ("data:image/png;base64,", "data:image/jpeg;base64,")


# A published set or a table, the size of a sample of it, and images and texts, where texts ask.
Place = tuple[str, int | None, tuple[int, int] | None]


@dataclass(frozen=True)
class EvaluatedRun:
    """One folder that `r2d2 evaluate` wrote."""

    folder: Path
    name: str  # unique among the runs
    metrics: Mapping[str, Any]

    @property
    def about(self) -> Mapping[str, Any]:
        """The description of the run in its metrics.json."""
        run: Mapping[str, Any] = self.metrics["run"]
        return run

    @property
    def splits(self) -> list[str]:
        """The splits and tasks that were measured."""
        return [
            name
            for name, metrics in self.metrics.items()
            if isinstance(metrics, dict)
            and ({"prerank", "matching", "classification"} & metrics.keys())
        ]

    def place(self, split: str) -> Place:
        """The key of a split: runs are compared on the same images and texts of the same set."""
        table = f"table {self.about['fingerprint']}"
        metrics = self.metrics[split]
        counts = (
            (metrics["gallery"]["images"], metrics["queries"]["texts"])
            if "gallery" in metrics
            else None
        )
        return self.about.get("benchmark") or table, self.about.get("sample"), counts


@dataclass(frozen=True)
class Cell:
    """One figure."""

    value: float | None
    best: bool = False
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    label: str
    cells: list[Cell]
    ours: bool
    note: str = ""  # its source, or its kind
    url: str = ""
    chance: bool = False


@dataclass(frozen=True)
class ComparisonTable:
    """Lines that may be compared."""

    title: str
    about: str
    columns: Sequence[str]
    lines: list[Line]
    ours: bool = True  # whether it has a line of a run


@dataclass(frozen=True)
class Section:
    """One split of one set, with all runs on it."""

    name: str
    split: str
    task: str
    runs: list[EvaluatedRun]
    tables: list[ComparisonTable]
    notes: list[str] = field(default_factory=list)


def read_runs(folders: Sequence[Path]) -> list[EvaluatedRun]:
    """Read the runs in these folders, and give them short unique names.

    Raises:
        R2D2Error: one holds none, or one that was written by another version.
    """
    loaded = [(folder, read_metrics(folder)) for folder in folders]
    models = Counter(about_of(metrics, folder)["model"] for folder, metrics in loaded)
    runs = []
    for folder, metrics in loaded:
        name = metrics["run"]["model"]
        if models[name] > 1:
            tables = {run["run"].get("table") for _, run in loaded if run["run"]["model"] == name}
            if len(tables) < models[name]:
                name = f"{name} ({folder.name})"
        runs.append(EvaluatedRun(folder, name, metrics))
    return runs


def sections(runs: Sequence[EvaluatedRun], file: PublishedResults) -> list[Section]:
    """All that the runs measured, by set and split, in the order of the runs."""
    keys = dict.fromkeys(
        (run.about["task"], run.place(split), split) for run in runs for split in run.splits
    )
    parts = []
    for task, key, split in keys:
        group = [
            run
            for run in runs
            if split in run.splits and (run.about["task"], run.place(split)) == (task, key)
        ]
        build = {"retrieval": _retrieval, "matching": _matching}.get(task, _classes)
        benchmark = group[0].about.get("benchmark")
        name = file.name(benchmark) if benchmark else Path(group[0].about["table"]).stem
        name += f", sample of {key[1]:,}" if key[1] else _fragment(key, split, file)
        tables = build(group, split, file, benchmark)
        parts.append(Section(name, split, task, group, tables, _notes(group, split, file)))
    return parts


def _fragment(key: Place, split: str, file: PublishedResults) -> str:
    """Words that tell a run on a part of a published split from one on the whole split."""
    size = file.size(key[0], split)
    if size is None or key[2] is None or size.is_that_of(*key[2]):
        return ""
    images, texts = key[2]
    return f", {images:,} of {size.images:,} images and {texts:,} of {size.texts:,} texts"


def _is_whole(run: EvaluatedRun, split: str, file: PublishedResults, benchmark: str) -> bool:
    """Whether a run was made on as many images and texts as the published split has."""
    size, counts = file.size(benchmark, split), run.place(split)[2]
    return size is not None and counts is not None and size.is_that_of(*counts)


def _figures(
    values: Mapping[str, Any], spread: Mapping[str, Any], columns: Sequence[str]
) -> list[Cell]:
    """The cells of a run, with intervals where there are any."""
    return [
        Cell(values.get(c), interval=tuple(spread[c]) if spread.get(c) else None) for c in columns
    ]


def _chance(values: Mapping[str, Any], columns: Sequence[str]) -> Line:
    return Line("chance", _figures(values, {}, columns), ours=False, chance=True)


def _retrieval(
    runs: Sequence[EvaluatedRun], split: str, file: PublishedResults, benchmark: str | None
) -> list[ComparisonTable]:
    sampled = runs[0].about.get("sample") is not None
    tables = _beside(runs, split, file, benchmark) if benchmark and not sampled else []
    columns = [c for c in COLUMNS if any(c in run.metrics[split]["prerank"] for run in runs)]
    lines = []
    for run in runs:
        metrics = run.metrics[split]
        for stage, label in STAGES.items():
            if stage in metrics:
                spread = metrics.get("intervals", {}).get(stage, {})
                cells = _figures(metrics[stage], spread, columns)
                lines.append(Line(run.name, cells, ours=True, note=label))
    lines = [*mark_best(lines), _chance(runs[0].metrics[split]["chance"], columns)]
    about = (
        "Ties count against the model. Images with equal captions count as right answers of each "
        "other. Below each figure stands its 95% interval, by bootstrap over images."
    )
    return [*tables, ComparisonTable("Our count", about, columns, lines), *_costs(runs)]


COSTS = {"parameters": 1e6, "bytes_per_vector": 1, "images_per_second": 1,
         "pooled_bytes": 1, "first_stage_ms": 1, "pooled_ms": 1,
         "second_stage_ms": 1}  # fmt: skip  # and what they are divided by
OF_POOLED = ("pooled_bytes", "pooled_ms")  # columns that only runs with a middle stage have


def _costs(runs: Sequence[EvaluatedRun]) -> list[ComparisonTable]:
    """The costs of the runs that tell them; no best is marked, for machines and loads differ."""
    lines = []
    columns = [
        name for name in COSTS
        if name not in OF_POOLED or any("pooled" in run.metrics for run in runs)
    ]  # fmt: skip
    for run in runs:
        cost = run.about.get("cost")
        if cost is not None:
            pooled = run.metrics.get("pooled", {}).get("bytes_per_image")
            cost = {"pooled_ms": None, "pooled_bytes": pooled, **cost}
            values = ((cost[name], COSTS[name]) for name in columns)
            cells = [Cell(None if value is None else value / unit) for value, unit in values]
            note = f"{cost['device']}, threads: {cost['threads']}, batches of {cost['batch_size']}"
            if cost["candidates"] is not None:
                note += f", {cost['candidates']} candidates"
            lines.append(Line(run.name, cells, ours=True, note=note))
    about = (
        "Milliseconds a query and images a second (with decoding) were measured in batches during "
        "the evaluation, on the machine named. Parameters are in millions. The time of the second "
        "stage does not include the candidates' hidden states, which exist by then."
    )
    return [ComparisonTable("Cost", about, columns, lines)] if lines else []


def _beside(
    runs: Sequence[EvaluatedRun], split: str, file: PublishedResults, benchmark: str
) -> list[ComparisonTable]:
    """A table for each setting and protocol that has published rows, those with a run first."""
    tables = []
    rows = _published_rows(split, file, benchmark)
    for setting, protocol in dict.fromkeys((row.setting, row.protocol) for row in rows):
        theirs = [row for row in rows if (row.setting, row.protocol) == (setting, protocol)]
        lines = []
        for run in runs:
            comparable = file.protocols[protocol]["ours"] and run.about.get("setting") == setting
            if comparable and _is_whole(run, split, file, benchmark):
                stages = run.metrics[split]["published"]
                stage = [name for name in STAGES if name in stages][-1]
                lines.append((run.name, stages[stage], f"this run, {STAGES[stage]}"))
        known = [(row, with_mean(row.figures, file.t2i_only(benchmark))) for row in theirs]
        about = str(file.protocols[protocol]["about"]).strip()
        if any(figures is not row.figures for row, figures in known):
            about += " R@M is the mean of the recalls where a source prints none."
        name = f"Published, {setting}" + (f", {protocol}" if protocol != "standard" else "")
        tables.append(_published_table(name, about, (*COLUMNS, "mean"), known, lines))
    return sorted(tables, key=lambda table: not table.ours)


def _published_rows(
    split: str, file: PublishedResults, benchmark: str | None
) -> list[PublishedRow]:
    return [row for row in file.rows if (row.set, row.split) == (benchmark, split)]


def _published_table(
    title: str,
    about: str,
    columns: Sequence[str],
    published: Sequence[tuple[PublishedRow, Mapping[str, float]]],
    ours: Sequence[tuple[str, Mapping[str, float], str]] = (),
) -> ComparisonTable:
    """Published rows with their figures, and runs (name, figures, note), worst first."""
    columns = [c for c in columns if any(c in figures for _, figures in published)]
    lines = [
        Line(
            row.model, _figures(figures, {}, columns), False,
            f"{row.source.name}, {row.where}", row.source.url,
        )
        for row, figures in published
    ]  # fmt: skip
    lines += [
        Line(name, _figures(figures, {}, columns), ours=True, note=note)
        for name, figures, note in ours
    ]
    lines.sort(key=lambda line: _last(line.cells))
    return ComparisonTable(title, about, columns, mark_best(lines), bool(ours))


def with_mean(figures: Mapping[str, float], t2i_only: bool) -> Mapping[str, float]:
    """The figures with R@M, where all of its recalls are known."""
    parts = [c for c in RECALLS if not t2i_only or c.startswith("t2i")]
    if "r_mean" in figures or not all(c in figures for c in parts):
        return figures
    return {**figures, "r_mean": sum(figures[c] for c in parts) / len(parts)}


def _last(cells: Sequence[Cell]) -> float:
    """What a table is sorted by: the last figure that is known."""
    return next((cell.value for cell in reversed(cells) if cell.value is not None), 0.0)


MATCHING = ("auc", "average_precision", "accuracy", "ece")


def _matching(
    runs: Sequence[EvaluatedRun], split: str, file: PublishedResults, benchmark: str | None
) -> list[ComparisonTable]:
    lines = []
    for run in runs:
        metrics = run.metrics[split]
        values = metrics["matching"] | {"ece": metrics.get("calibration", {}).get("ece")}
        note = (
            f"{run.about.get('score', 'score')}, threshold {values['threshold']:.3f} from "
            f"{values['threshold_chosen_on']}"
        )
        cells = _figures(values, metrics.get("intervals", {}), MATCHING)
        lines.append(Line(run.name, cells, ours=True, note=note))
    about = (
        "Figures in %. Accuracy is at the threshold named, which is chosen on val where the table "
        "has one, and otherwise on the measured pairs themselves, which makes it too good. ECE is "
        "the calibration error of models whose score is a probability."
    )
    lines = mark_best(lines, lower=("ece",), columns=MATCHING)
    return [ComparisonTable("Matching", about, MATCHING, lines)]


CLASSES = ("top1", "top5", "mean_class_top1")


def _classes(
    runs: Sequence[EvaluatedRun], split: str, file: PublishedResults, benchmark: str | None
) -> list[ComparisonTable]:
    """The runs, then a table for each protocol that has published rows; no run stands in these."""
    lines = []
    for run in runs:
        metrics = run.metrics[split]
        cells = _figures(metrics["classification"], metrics.get("intervals", {}), CLASSES)
        note = f"{len(run.about.get('templates', []))} prompts a class"
        lines.append(Line(run.name, cells, ours=True, note=note))
    chance = _chance(runs[0].metrics[split]["classification"]["chance"], CLASSES)
    about = (
        "Figures in %. The answer is the class whose prompts are nearest by cosine. Ties count "
        "against the model."
    )
    title = "Zero-shot classification"
    tables = [ComparisonTable(title, about, CLASSES, [*mark_best(lines), chance])]
    rows = _published_rows(split, file, benchmark)
    for protocol in dict.fromkeys(row.protocol for row in rows):
        known = [(row, row.figures) for row in rows if row.protocol == protocol]
        about = str(file.protocols[protocol]["about"]).strip()
        title = f"Published, zero-shot, {protocol}"
        tables.append(_published_table(title, about, CLASSES, known))
    return tables


def mark_best(
    lines: Sequence[Line], lower: Sequence[str] = (), columns: Sequence[str] = ()
) -> list[Line]:
    """The lines with the best of each column marked, as printed; in one line nothing is best."""
    marked: list[list[Cell]] = [[] for _ in lines]
    for number, cells in enumerate(zip(*(line.cells for line in lines), strict=True)):
        printed = [None if cell.value is None else round(cell.value, 1) for cell in cells]
        known = [value for value in printed if value is not None]
        better = min if number < len(columns) and columns[number] in lower else max
        best = better(known) if len(known) > 1 else None
        for row, (cell, value) in enumerate(zip(cells, printed, strict=True)):
            marked[row].append(replace(cell, best=best is not None and value == best))
    return [replace(line, cells=cells) for line, cells in zip(lines, marked, strict=True)]


def _notes(runs: Sequence[EvaluatedRun], split: str, file: PublishedResults) -> list[str]:
    """Notes that a reader needs to compare the runs."""
    notes = []
    benchmark = str(runs[0].about.get("benchmark"))
    if benchmark in file.missing:
        notes.append(f"Published results: {file.missing[benchmark]}.")
    rows = _published_rows(split, file, benchmark)
    if any(file.protocols[row.protocol]["ours"] for row in rows):
        size = file.size(benchmark, split)
        if size is None:
            notes.append(
                "How many images and texts the published split has is not known here, so no run "
                "stands beside its figures."
            )
        elif not _is_whole(runs[0], split, file, benchmark) and not runs[0].about.get("sample"):
            notes.append(
                f"The published split has {size.images:,} images and {size.texts:,} texts. These "
                "runs are on another number of them, so they stand beside no published figure."
            )
    for run in runs:
        about = run.about
        if about.get("sample"):
            notes.append(
                f"{run.name}: a sample of at most {about['sample']:,} images of the split, for a "
                "quick look. It stands beside no published figure."
            )
        cut = about.get("cut", {}).get(split) or about.get("cut", {}).get("prompts")
        if cut and cut["cut"] is not None:
            length = about.get("text_length")
            notes.append(
                f"{run.name}: {cut['cut']:,} of {cut['texts']:,} texts were cut at {length} tokens."
            )
        elif cut:
            notes.append(f"{run.name}: how many texts were cut is not known here.")
        skipped = run.metrics.get("skipped") or run.metrics[split].get("matching", {}).get(
            "skipped"
        )
        if isinstance(skipped, dict) and skipped:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in skipped.items())
            notes.append(f"{run.name}: left out of the whole table: {kinds}.")
        elif skipped:
            notes.append(
                f"{run.name}: {skipped:,} pairs were left out, because their picture is unreadable."
            )
    return notes


def read_examples(run: EvaluatedRun) -> list[dict[str, Any]]:
    """Read the contact sheet of a run; empty where there is none.

    Raises:
        R2D2Error: the file is damaged.
    """
    path = run.folder / EXAMPLES if run.folder.is_dir() else run.folder.with_name(EXAMPLES)
    if not path.is_file():
        return []
    try:
        groups: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for group in groups:
            for row in group["rows"]:
                shown = [*row["shown"], *([row["answer"]] if row["answer"] else [])]
                if not all(one["picture"].startswith(PICTURE) for one in shown):
                    raise ValueError("a picture that is not inside the file")
                str(row["text"]), int(row["rank"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise R2D2Error(f"{path} is damaged ({error}): evaluate again") from error
    return groups
