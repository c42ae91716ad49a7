"""Measure zero-shot classification on a table of classes: top-1, top-5 and every class."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from r2d2 import progress
from r2d2.evaluation.classification import (
    TOP_AT,
    ClassRanks,
    class_embeddings,
    classify,
    read_classes,
    read_templates,
)
from r2d2.evaluation.comparison_page import write_comparison
from r2d2.evaluation.opening import open_encoder
from r2d2.evaluation.run import about, choose_benchmark, choose_splits, tell_dropped
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.files import write_text
from r2d2.ranking.metrics import Floats, grouped_interval
from r2d2.table import PairsTable
from r2d2.training.run_folder import METRICS, REPORT


def evaluate_classification(
    source: str | Path,
    table_path: str | Path,
    out: Path,
    settings: EvaluationSettings = EvaluationSettings(),
    templates: Path | None = None,
) -> Path:
    """Measure a model on a table of classes; write metrics.json and report.html.

    Args:
        source: a model of any kind that `open_encoder` knows.
        table_path: a pairs table with texts of source `class`.
        out: where to.
        settings: what to measure.
        templates: of the prompts; None: ours, prompts.yaml.

    Returns:
        The report's path.

    Raises:
        R2D2Error: whatever the user can mend.
    """
    prompts = read_templates(templates)
    table = PairsTable.open(table_path)
    benchmark = choose_benchmark(table, settings.benchmark)
    splits = choose_splits(table, settings.splits)
    read = {
        split: read_classes(table, split, sample=settings.sample, seed=settings.seed)
        for split in splits
    }
    opened = open_encoder(source, text_length=settings.text_length, dim=settings.dim)
    classes = read[splits[0]].classes
    metrics: dict[str, Any] = {}
    with progress.bars() as update:
        prototypes = class_embeddings(opened.encoder, classes, prompts, settings.batch_size)
        for split in splits:
            ranks = classify(
                opened.encoder, table, read[split], prototypes, settings.batch_size, update
            )
            tell_dropped(ranks.dropped)
            metrics[split] = figures(ranks, classes, settings.resamples, settings.seed)
    texts = [prompt.replace("{}", name) for name in classes for prompt in prompts]
    metrics["run"] = about("classification", opened, table, settings, benchmark) | {
        "setting": "zero-shot",
        "templates": prompts,
        "cut": {"prompts": opened.cut_counts(texts)},
    }
    write_text(out / METRICS, json.dumps(metrics, ensure_ascii=False, indent=2) + "\n")
    return write_comparison([out], out / REPORT)[0]


def figures(ranks: ClassRanks, classes: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """The accuracy of a split in %: over its images, over its classes, and for each class."""
    rank, label = ranks.rank.numpy(), ranks.label.numpy()
    hits = {f"top{at}": (rank <= at).astype(np.float64) for at in TOP_AT}
    table = []
    for number in np.unique(label).tolist():
        own = label == number
        wrong = Counter(ranks.guess.numpy()[own & (rank > 1)].tolist()).most_common(1)
        table.append(
            {
                "class": classes[number],
                "images": int(own.sum()),
                **{name: float(100 * hit[own].mean()) for name, hit in hits.items()},
                "taken_for": classes[wrong[0][0]] if wrong else None,
            }
        )
    result: dict[str, Any] = {
        "classification": {
            **{name: float(100 * hit.mean()) for name, hit in hits.items()},
            "mean_class_top1": float(np.mean([row["top1"] for row in table])),
            "images": len(label),
            "classes": len(classes),
            "chance": {f"top{at}": 100 * min(1.0, at / len(classes)) for at in TOP_AT},
            "skipped": dict(ranks.dropped.counts),
        },
        "classes": table,
    }
    if resamples:
        _, group = np.unique(np.array(ranks.image_ids), return_inverse=True)
        result["intervals"] = {
            name: grouped_interval(partial(_mean, hit), group, resamples, seed)
            for name, hit in hits.items()
        }
    return result


def _mean(hit: Floats, weight: Floats) -> float:
    return float(100 * (weight * hit).sum() / weight.sum())
