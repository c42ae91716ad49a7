"""The report of a run: one HTML file with its results, its settings and failed queries."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

import r2d2
from r2d2.evaluation.contact import ContactGroup, contact_groups
from r2d2.evaluation.evaluate import Results
from r2d2.evaluation.plots import curve, weight_curve
from r2d2.evaluation.task_metrics import GAINS, STAGES
from r2d2.files import write_text
from r2d2.page import number, template
from r2d2.ranking.metrics import RECALLS

COLUMNS = (*RECALLS, "r_mean")
NAMES = {
    "loss/total": "all, weighted",
    "loss/gcpr": "global contrastive pre-ranking",
    "loss/tgd": "target-guided distillation",
    "loss/sigmoid": "sigmoid contrast",
    "loss/second_text": "contrast with second texts",
    "loss/unlabelled_contrast": "unlabelled candidates of the contrast, as a share",
    "loss/unlabelled_ranking": "unlabelled candidates of the ranking, as a share",
    "loss/fgr": "fine-grained ranking",
    "loss/listwise": "ranking of lists",
    "loss/rerank": "towers by the second stage",
    "loss/mlm": "masked language modelling",
    "loss/fgd": "feature-guided distillation",
    "lr": "learning rate",
    "grad_norm": "norm of all gradients",
    "temperature": "of the contrastive softmax",
    "pairs_per_second": "image-text pairs a second",
}
CHANCE = {"loss/fgr": math.log(2)}  # the loss of a model that guesses


def write_report(
    path: str | Path,
    results: Results,
    *,
    history: Sequence[Mapping[str, float]] = (),
    settings: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    attribution: Mapping[str, str] | None = None,
    contact: Sequence[ContactGroup] | None = None,
) -> None:
    """Write report.html, which is self-contained: it loads nothing from the network.

    Args:
        path: of the file, written whole or not at all.
        results: of `evaluate`.
        history: lines of history.jsonl, {"step": .., "loss/total": .., ..}.
        settings: of the run, nested as in its configuration.
        train: steps, seconds, ... as in metrics.json; "skipped" counts rows of the training split.
        attribution: what the table's metadata say of the art and the texts.
        contact: groups of the contact sheet; None: drawn from `results`.

    Raises:
        R2D2Error: the file cannot be written.
    """
    settings, train = settings or {}, dict(train or {})
    skipped = {"training": train.pop("skipped", {}), "evaluation": results.skipped}
    flat = _flatten(settings)
    shown = _without_idle_stages(results)
    page = template("r2d2.evaluation", "report.html").render(
        tiles=_tiles(shown),
        tasks=[_task(name, shown[name]) for name in results.rankings],
        two_stage="weight" in results.metrics,
        top_k=results.metrics["top_k"],
        weight=results.metrics.get("weight"),
        middle=_middle_stage(results.metrics),
        weight_plot=_weight_plot(results.metrics),
        curves=_curves(history),
        contact=contact_groups(results) if contact is None else contact,
        skipped=[(part, kind, count) for part in skipped for kind, count in skipped[part].items()],
        run=_run(flat, train),
        settings=flat,
        versions=_versions(),
        attribution=_attribution(attribution or {}),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    write_text(Path(path), page)


def _without_idle_stages(results: Results) -> dict[str, Any]:
    """The metrics; a stage of weight 0 changes nothing, so its figures are left out."""
    metrics = results.metrics
    weights = {
        "pooled": metrics.get("pooled", {}).get("weight"),
        "two_stage": metrics.get("weight"),
    }
    idle = {key for stage, w in weights.items() if w == 0 for key in (stage, GAINS[stage])}
    tasks = {
        name: {key: value for key, value in metrics[name].items() if key not in idle}
        for name in results.rankings
    }
    return metrics | tasks


def _task(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """One block of the main table; the best of the stages is marked in each column."""
    stage_recalls = [(label, metrics[key]) for key, label in STAGES.items() if key in metrics]
    columns = [column for column in COLUMNS if column in metrics["prerank"]]
    shown = [
        [_percent(recall[c]) if c in columns else "" for c in COLUMNS]
        for _, recall in stage_recalls
    ]
    best = [max(float(row[i] or -1) for row in shown) for i in range(len(COLUMNS))]
    auc = metrics.get("matching", {}).get("auc")
    rows = []
    for i, (label, _) in enumerate(stage_recalls):
        last = i == len(stage_recalls) - 1
        cells = [
            (text, len(stage_recalls) > 1 and text != "" and float(text) == best[j])
            for j, text in enumerate(shown[i])
        ]
        cells.append((_percent(auc) if last and auc is not None else "", False))
        rows.append({"label": label, "cells": cells, "chance": False})
    level = metrics["chance"]
    chance = [(_percent(level[c]) if c in level else "", False) for c in COLUMNS]
    chance.append(("50.0" if auc is not None else "", False))
    rows.append({"label": "chance", "cells": chance, "chance": True})
    queries, gallery = metrics["queries"], metrics["gallery"]
    if "i2t_r1" not in level:
        about = f"{queries['texts']:,} texts rank {gallery['images']:,} images"
    elif queries == gallery:
        about = f"{queries['images']:,} images and {queries['texts']:,} texts rank each other"
    else:
        about = (
            f"{queries['images']:,} images and {queries['texts']:,} texts, each against the whole "
            f"corpus: {gallery['texts']:,} texts, {gallery['images']:,} images"
        )
    gains = {
        stage: {
            figure: f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
            for figure, (value, low, high) in metrics[key].items()
        }
        for stage, key in GAINS.items()
        if key in metrics
    }
    return {"name": name, "about": about, "rows": rows, "gains": gains}


def _middle_stage(metrics: Mapping[str, Any]) -> str:
    """What the page says of the middle stage; empty where there is none."""
    pooled = metrics.get("pooled")
    if pooled is None:
        return ""
    if pooled["weight"] == 0:
        return "The middle stage, by pooled states, is not used: its weight is 0."
    milliseconds = metrics.get("run", {}).get("cost", {}).get("pooled_ms")
    cost = f"{pooled['bytes_per_image']:,} bytes a picture"
    if milliseconds is not None:
        cost = (
            f"{pooled['bytes_per_image']:,} bytes a picture and {number(milliseconds)} ms a query"
        )
    return (
        f"A middle stage ranks the best {pooled['candidates']:,} by cosine + "
        f"{number(pooled['weight'])} × MaxSim over {pooled['states']:,} pooled states, "
        f"which take {cost}. "
        "A later stage adds to this score."
    )


def _last_stage(metrics: Mapping[str, Any]) -> str:
    """The last stage of a task."""
    return [stage for stage in STAGES if stage in metrics][-1]


def _tiles(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The most important figures, for the head of the page."""
    tiles: list[tuple[str, str, str]] = []  # value, unit, label
    if "test" in metrics:
        test = metrics["test"]
        stage = _last_stage(test)
        first, last = test["prerank"], test[stage]
        tiles.append((_percent(last["r_mean"]), "%", f"R@M on test, {STAGES[stage]}"))
        if stage != "prerank":
            names = [name for name in ("i2t_r1", "t2i_r1") if name in first]
            gain = sum(last[name] - first[name] for name in names) / len(names)
            tiles.append((f"{gain:+.1f}", "points", "R@1 gained by re-ranking"))
        if "matching" in test:
            tiles.append((_percent(test["matching"]["auc"]), "%", "matching AUC on test"))
    if "test_novel" in metrics:
        novel = metrics["test_novel"]
        last = novel[_last_stage(novel)]
        names = [name for name in ("i2t_r10", "t2i_r10") if name in last]
        at_10, chance = (
            sum(recalls[name] for name in names) / len(names) for recalls in (last, novel["chance"])
        )
        label = f"R@10 on test_novel, {at_10:.1f} %"
        tiles.append((f"{at_10 / chance:.1f}", "× chance", label))
    return [dict(zip(("value", "unit", "label"), tile, strict=True)) for tile in tiles]


def _curves(history: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """A panel for each scalar that the history holds, the losses first."""
    names = list(dict.fromkeys(name for row in history for name in row if name != "step"))
    names.sort(key=lambda name: (not name.startswith("loss"), name != "loss/total"))
    panels = []
    for name in names:
        rows = [row for row in history if name in row]
        steps, values = [row["step"] for row in rows], [row[name] for row in rows]
        drawing = curve(steps, values, name=name, reference=CHANCE.get(name))
        if drawing:
            panels.append({
                "name": name,
                "about": NAMES.get(name, ""),
                "last": number(values[-1]),
                "chance": number(CHANCE[name]) if name in CHANCE else "",
                "svg": Markup(drawing),
            })  # fmt: skip
    return panels


def _weight_plot(metrics: Mapping[str, Any]) -> Markup | None:
    if "weight_curve" not in metrics:
        return None
    return Markup(weight_curve(metrics["weight_curve"], metrics["weight"], name="weight"))


def _run(settings: Mapping[str, str], train: Mapping[str, Any]) -> dict[str, str]:
    """The main settings of the run, and its training summary."""
    labels = {
        "preset": "preset",
        "variant": "variant",
        "train.seed": "seed",
        "train.epochs": "epochs",
    }
    run = {label: settings[name] for name, label in labels.items() if name in settings}
    return run | {name.replace("_", " "): number(value) for name, value in train.items()}


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat


def _attribution(entries: Mapping[str, str]) -> dict[str, str]:
    """The title first, the rest by name: a table does not keep their order."""
    names = sorted(entries, key=lambda name: (name != "title", name))
    return {name.replace("_", " "): entries[name] for name in names}


def _versions() -> dict[str, str]:
    """The versions that must be the same to repeat the figures."""
    names = ("torch", "tokenizers", "numpy", "pillow", "pylance")
    return {
        "r2d2": r2d2.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _percent(value: float) -> str:
    return f"{value:.1f}"
