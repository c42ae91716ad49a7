"""The part of metrics.json of one task: recalls of each stage, their spread, and what each adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.second_stage import TaskScores
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.ranking.metrics import (
    chance_recalls,
    interval,
    recall,
    recall_gains,
    recalls,
    resampled_recalls,
    roc_auc,
)

CURVE_AT = (1, 2, 3, 5, 10, 20, 50, 100)  # ranks at which the curve of recall is drawn
STAGES = {"prerank": "pre-ranking", "pooled": "pooled states", "two_stage": "two-stage"}
GAINS = {"pooled": "pooled_gain", "two_stage": "gain"}  # what a stage adds, in metrics.json


@dataclass(frozen=True)
class Ranking:
    """The result of one direction of one task."""

    queries: Tensor  # (q,) int64: positions of images for i2t, of texts for t2i
    prerank: Tensor  # (q,) int64, ranks by cosine alone
    pooled: Tensor | None  # (q,) int64, ranks after the middle stage; None: there is none
    ranks: Tensor  # (q,) int64, ranks after the last stage
    top: Tensor  # (q, up to SHOWN) int64, positions on the other side, best first
    right: Tensor  # like top, bool
    two_stage: bool = False  # whether there is a second stage


def task_metrics(scores: TaskScores, weight: float | None) -> dict[str, Any]:
    """One task's part of metrics.json."""
    i2t, t2i = scores.task.i2t, scores.task.t2i
    first = None if i2t is None else i2t.first
    published = {
        "prerank": recalls(None if first is None else first.published, t2i.first.published)
    }
    metrics: dict[str, Any] = {
        "prerank": recalls(None if first is None else first.ranks, t2i.first.ranks)
    }
    if t2i.pooled is not None:
        middle = None if i2t is None else i2t.last
        metrics["pooled"] = recalls(None if middle is None else middle.ranks, t2i.pooled.ranks)
        published["pooled"] = recalls(
            None if middle is None else middle.published, t2i.pooled.published
        )
    if scores.t2i is not None and weight is not None:
        again = scores.i2t
        metrics["two_stage"] = recalls(
            None if again is None else again.ranks(weight), scores.t2i.ranks(weight)
        )
        published["two_stage"] = recalls(
            None if again is None else again.published(weight), scores.t2i.published(weight)
        )
    metrics["published"] = published
    pairs = scores.task.matching
    if len(pairs):  # there are none where each text is true of each image
        auc = roc_auc(scores.pair_scores, pairs.label)
        metrics["matching"] = {"auc": auc, "pairs": len(pairs), "negatives": pairs.negatives}
    metrics["chance"] = chance_recalls(None if i2t is None else i2t.relevance, t2i.relevance)
    texts = len(t2i.queries)
    metrics["queries"] = {"images": 0 if i2t is None else len(i2t.queries), "texts": texts}
    metrics["gallery"] = {
        "images": len(t2i.gallery), "texts": texts if i2t is None else len(i2t.gallery),
    }  # fmt: skip
    return metrics


def spread_metrics(
    metrics: Mapping[str, Any],
    rankings: Mapping[str, Ranking],
    data: EvaluationSet,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Recall at more ranks, the intervals of each stage, and what each adds to the one before.

    `metrics`: of the same task, with the recalls of each stage.
    """
    spread: dict[str, Any] = {
        "curve": {
            direction: {str(at): recall(r.ranks, at) for at in CURVE_AT}
            for direction, r in rankings.items()
        }
    }
    if settings.resamples:
        image = torch.tensor(data.text_image)
        groups = {
            direction: r.queries if direction == "i2t" else image[r.queries]
            for direction, r in rankings.items()
        }
        stages = {"prerank": {direction: r.prerank for direction, r in rankings.items()}}
        pooled = {d: r.pooled for d, r in rankings.items() if r.pooled is not None}
        if pooled:
            stages["pooled"] = pooled
        if any(r.two_stage for r in rankings.values()):
            stages["two_stage"] = {direction: r.ranks for direction, r in rankings.items()}
        resampled = {
            stage: resampled_recalls(ranks, groups, settings.resamples, settings.seed)
            for stage, ranks in stages.items()
        }
        spread["intervals"] = {
            stage: {name: interval(values) for name, values in of_stage.items()}
            for stage, of_stage in resampled.items()
        }
        for before, stage in pairwise(stages):
            spread[GAINS[stage]] = recall_gains(
                (metrics[before], resampled[before]), (metrics[stage], resampled[stage])
            )
    return spread
