"""Measure matching on a labelled table; the threshold comes from `val` where there is one."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from r2d2 import progress
from r2d2.evaluation.binary import (
    Threshold,
    accuracy_at,
    average_precision,
    best_threshold,
    calibration_error,
    reliability,
)
from r2d2.evaluation.comparison_page import write_comparison
from r2d2.evaluation.labelled import LabelledScores, score_labelled
from r2d2.evaluation.opening import open_encoder
from r2d2.evaluation.run import about, choose_benchmark, choose_splits, tell_dropped
from r2d2.evaluation.settings import VALIDATION, EvaluationSettings
from r2d2.files import write_text
from r2d2.ranking.metrics import grouped_interval, usable_scores, weighted_auc
from r2d2.table import PairsTable
from r2d2.training.run_folder import METRICS, REPORT

log = logging.getLogger(__name__)


def evaluate_matching(
    source: str | Path,
    table_path: str | Path,
    out: Path,
    settings: EvaluationSettings = EvaluationSettings(),
) -> Path:
    """Measure a model on a table whose rows carry labels; write metrics.json and report.html.

    Args:
        source: a model of any kind that `open_encoder` knows.
        table_path: a pairs table with labels.
        out: where to.
        settings: what to measure.

    Returns:
        The report's path.

    Raises:
        R2D2Error: whatever the user can mend, such as a table without labels.
    """
    table = PairsTable.open(table_path)
    benchmark = choose_benchmark(table, settings.benchmark)
    splits = choose_splits(table, settings.splits)
    opened = open_encoder(source, text_length=settings.text_length, dim=settings.dim)
    needed = list(dict.fromkeys([*splits, *([VALIDATION] if _labelled(table) else [])]))
    scored: dict[str, LabelledScores] = {}
    with progress.bars() as update:
        for split in needed:
            scored[split] = score_labelled(
                opened.encoder,
                table,
                split,
                settings.batch_size,
                partial(_tell, update, split),
                sample=settings.sample,
                seed=settings.seed,
            )
    for split in splits:
        tell_dropped(scored[split].dropped)
    chosen = None
    if VALIDATION in scored:
        scores, match = _arrays(scored[VALIDATION])
        chosen = best_threshold(scores, match)
    metrics: dict[str, Any] = {
        split: figures(
            scored[split], chosen, probabilities=opened.encoder.has_match,
            resamples=settings.resamples, seed=settings.seed, own=split == VALIDATION,
        )
        for split in splits
    }  # fmt: skip
    metrics["run"] = about("matching", opened, table, settings, benchmark) | {
        "setting": settings.setting,
        "score": "match score" if opened.encoder.has_match else "cosine",
        "cut": {split: opened.cut_counts(scored[split].texts) for split in splits},
    }
    write_text(out / METRICS, json.dumps(metrics, ensure_ascii=False, indent=2) + "\n")
    return write_comparison([out], out / REPORT)[0]


def figures(
    scored: LabelledScores,
    chosen: Threshold | None,
    *,
    probabilities: bool,
    resamples: int,
    seed: int,
    own: bool = False,
) -> dict[str, Any]:
    """All figures of a split, in %.

    Args:
        scored: scores and labels.
        chosen: the threshold of `val`; None: chosen here, on the pairs it is measured on.
        probabilities: the scores are such, and calibration has a meaning.
        resamples: of the images, for intervals.
        seed: of the resampling.
        own: this is `val` itself.
    """
    scores, match = _arrays(scored)
    here = best_threshold(scores, match)
    threshold = here if chosen is None else chosen
    result: dict[str, Any] = {
        "matching": {
            "auc": float(weighted_auc(scores, match, np.ones(len(match)))),
            "average_precision": average_precision(scores, match),
            "accuracy": accuracy_at(scores, match, threshold.value),
            "threshold": threshold.value,
            "threshold_chosen_on": "itself" if chosen is None or own else VALIDATION,
            "best_accuracy": here.accuracy,
            "pairs": len(match),
            "matches": int(match.sum()),
            "skipped": scored.dropped.total,
        }
    }
    if probabilities:
        bins = reliability(np.clip(np.nan_to_num(scores, posinf=1, neginf=0), 0, 1), match)
        result["calibration"] = {
            "ece": calibration_error(bins),
            "bins": [asdict(one) for one in bins],
        }
    if resamples:
        _, group = np.unique(np.array(scored.image_ids), return_inverse=True)
        rank = np.unique(scores, return_inverse=True)[1]
        ranks = rank.astype(np.float64)  # order is all that counts
        right = ((scores >= threshold.value) == match).astype(np.float64)

        result["intervals"] = {
            "auc": grouped_interval(
                lambda w: float(weighted_auc(ranks, match, w)), group, resamples, seed
            ),
            "average_precision": grouped_interval(
                lambda w: average_precision(ranks, match, w), group, resamples, seed
            ),
            "accuracy": grouped_interval(
                lambda w: float(100 * (w * right).sum() / w.sum()), group, resamples, seed
            ),
        }
    return result


def _tell(update: progress.Update, split: str, what: str, done: int, total: int) -> None:
    update(f"{what} {split}", done, total)


def _labelled(table: PairsTable) -> bool:
    """Whether `val` can choose the threshold."""
    if VALIDATION not in table.splits():
        return False
    labels = set(table.labels(table.rows(VALIDATION)))
    return {0, 1} <= labels


def _arrays(
    scored: LabelledScores,
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.bool_]]]:
    match = scored.labels.numpy().astype(bool)
    return usable_scores(scored.scores.double().numpy(), match), match
