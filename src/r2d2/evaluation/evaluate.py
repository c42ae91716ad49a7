"""All figures of a model on one corpus: pre-ranking, two-stage and matching, each split by itself.

Every image and text is encoded once, and every pair that any ranking or matching set asks for is
matched once.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import Encoded, encode
from r2d2.evaluation.matching import roc_auc
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.rerank import Reranked, best_weight, match_scores, sweep_weights
from r2d2.evaluation.retrieval import against, chance_recalls, recalls
from r2d2.evaluation.task import Direction, Task, make_task
from r2d2.files import write_text

log = logging.getLogger(__name__)

OFFICIAL_WEIGHT = 1.0  # of the match score, where there is no validation split to choose it on
VALIDATION = "val"
SHOWN = 5  # items of a ranking kept for the report


@dataclass(frozen=True)
class Ranking:
    """What one direction of one task ended in."""

    queries: Tensor  # (q,) int64: positions of images for i2t, of texts for t2i
    prerank: Tensor  # (q,) int64, ranks by cosine alone
    ranks: Tensor  # (q,) int64, ranks after the last stage there is
    top: Tensor  # (q, up to SHOWN) int64, positions on the other side, best first
    right: Tensor  # like top, bool


@dataclass(frozen=True)
class Matching:
    """The pairs behind one task's AUC."""

    image: Tensor  # (p,) int64, positions of the images
    text: Tensor  # (p,) int64, positions of the texts
    label: Tensor  # (p,) bool
    score: Tensor  # (p,) match score, or cosine


@dataclass(frozen=True)
class Results:
    """What `evaluate` found."""

    metrics: dict[str, Any]  # the layout of metrics.json; recalls and AUC in %
    rankings: dict[str, dict[str, Ranking]]  # by task, then "i2t" and "t2i"
    data: EvaluationSet  # what the positions in `rankings` refer to
    matching: dict[str, Matching] = field(default_factory=dict)  # by task

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows and texts left out, by kind."""
        return self.data.skipped

    def save(self, path: str | Path, train: Mapping[str, Any] | None = None) -> None:
        """Write metrics.json whole or not at all; `train` is added under that name.

        Raises:
            R2D2Error: the file cannot be written.
        """
        found = self.metrics if train is None else {**self.metrics, "train": dict(train)}
        text = json.dumps(found, ensure_ascii=False, indent=2, allow_nan=False)
        write_text(Path(path), text + "\n")


def evaluate(
    model: DualEncoder,
    data: EvaluationSet,
    *,
    top_k: int = 32,
    weight: float | None = None,
    batch_size: int = 256,
    splits: Sequence[str] = ("test", "test_novel"),
    full: Sequence[str] = ("test",),
    weight_gallery: Literal["split", "full"] = "full",
    progress: Progress | None = None,
) -> Results:
    """Rank and match each split.

    Args:
        model: see `DualEncoder`.
        data: the whole corpus.
        top_k: candidates that the second stage sees.
        weight: of the match score; None: the best on the validation split, or the official 1.
        batch_size: items or pairs a forward pass.
        splits: ranked against themselves; one that the data lack is absent from the results.
        full: ranked against the images and texts of the whole corpus, as NAME_full.
        weight_gallery: what validation is ranked against when the weight is chosen; "full" has the
            finer scale.
        progress: called with ("images" | "texts" | "match", done, in all).

    Raises:
        R2D2Error: a setting is out of its range, or no image of the data can be used.
    """
    if batch_size < 1:
        raise R2D2Error(f"batch_size is {batch_size}: it must be at least 1")
    if top_k < 1:
        raise R2D2Error(f"top_k is {top_k}: it must be at least 1")
    if weight is not None and not (math.isfinite(weight) and weight >= 0):
        raise R2D2Error(f"the weight of the match score is {weight}: it must be 0 or more")
    encoded = encode(model, data, batch_size, progress)
    there = set(encoded.data.splits)
    plan = [(name, name, False) for name in splits] + [
        (f"{name}_full", name, True) for name in full
    ]
    choosing = model.has_match and weight is None and VALIDATION in there
    if choosing:
        plan.append(("", VALIDATION, weight_gallery == "full"))
    tasks = [make_task(encoded, name, s, top_k, whole=w) for name, s, w in plan if s in there]
    scored = _match_once(model, encoded, tasks, batch_size, progress)
    extra: dict[str, Any] = {"top_k": top_k, "skipped": dict(encoded.data.skipped)}
    if choosing:
        curve = _weight_curve(scored.pop())
        weight = best_weight(curve)
        extra["weight_curve"] = {f"{w:g}": r_mean for w, r_mean in curve.items()}
    elif model.has_match and weight is None:
        log.warning("no split %r: the match score keeps its official weight of 1", VALIDATION)
        weight = OFFICIAL_WEIGHT
    if model.has_match:
        extra["weight"] = weight
    return Results(
        {found.task.name: _metrics(found, weight) for found in scored} | extra,
        {
            found.task.name: {
                "i2t": _ranked(found.task.i2t, found.i2t, weight),
                "t2i": _ranked(found.task.t2i, found.t2i, weight),
            }
            for found in scored
        },
        encoded.data,
        {found.task.name: _matching(found) for found in scored},
    )


@dataclass(frozen=True)
class _Scored:
    """A task, its candidates matched; without a match head their scores are None."""

    task: Task
    i2t: Reranked | None
    t2i: Reranked | None
    pair_scores: Tensor  # (p,) of the matching pairs: match score, or cosine


def _match_once(
    model: DualEncoder,
    encoded: Encoded,
    tasks: Sequence[Task],
    batch_size: int,
    progress: Progress | None,
) -> list[_Scored]:
    """Run the match head over all that the tasks ask, in one go."""
    images, texts = encoded.images, encoded.texts
    if not model.has_match:
        return [_Scored(task, None, None, _pair_cosine(encoded, task)) for task in tasks]
    asked = [pairs for task in tasks for pairs in task.pairs()]
    if not asked:
        return []
    image_index, text_index = (torch.cat(column) for column in zip(*asked, strict=True))
    scores = match_scores(
        model, images, texts, image_index, text_index, batch_size=batch_size, progress=progress
    )
    parts = iter(torch.split(scores, [len(image) for image, _ in asked]))
    return [
        _Scored(
            task, _reranked(task.i2t, next(parts)), _reranked(task.t2i, next(parts)), next(parts)
        )
        for task in tasks
    ]


def _reranked(direction: Direction, match: Tensor) -> Reranked:
    return Reranked(direction.first, match.view_as(direction.first.cosine))


def _pair_cosine(encoded: Encoded, task: Task) -> Tensor:
    f_image = encoded.images.embedding[task.matching.image].double()
    f_text = encoded.texts.embedding[task.matching.text].double()
    return (f_image * f_text).sum(dim=1).float().cpu()


def _weight_curve(validation: _Scored) -> dict[float, float]:
    """R@M in % on the validation split under each weight."""
    assert validation.i2t is not None
    assert validation.t2i is not None
    return sweep_weights(validation.i2t, validation.t2i)


def _metrics(scored: _Scored, weight: float | None) -> dict[str, Any]:
    """One task's part of metrics.json."""
    task = scored.task
    i2t, t2i = task.i2t, task.t2i
    found: dict[str, Any] = {"prerank": recalls(i2t.first.ranks, t2i.first.ranks)}
    if scored.i2t is not None and scored.t2i is not None and weight is not None:
        found["two_stage"] = recalls(scored.i2t.ranks(weight), scored.t2i.ranks(weight))
    if len(task.matching):  # none where each text is true of each image
        auc = roc_auc(scored.pair_scores, task.matching.label)
        found["matching"] = {"auc": auc, "pairs": len(task.matching)}
    found["chance"] = chance_recalls(i2t.relevance, t2i.relevance)
    found["queries"] = {"images": len(i2t.queries), "texts": len(t2i.queries)}
    found["gallery"] = {"images": len(t2i.gallery), "texts": len(i2t.gallery)}
    return found


def _matching(scored: _Scored) -> Matching:
    pairs = scored.task.matching
    return Matching(pairs.image, pairs.text, pairs.label, scored.pair_scores)


def _ranked(direction: Direction, reranked: Reranked | None, weight: float | None) -> Ranking:
    """Ranks, and the first items as they count: of equal scores the right one stands last."""
    first = direction.first
    scores, ranks = first.cosine, first.ranks
    if reranked is not None and weight is not None:
        scores, ranks = reranked.scores(weight), reranked.ranks(weight)
    last = first.relevant.long().sort(dim=1, stable=True).indices
    order = (
        against(scores, first.relevant).gather(1, last).sort(dim=1, descending=True, stable=True)
    )
    top = last.gather(1, order.indices)[:, :SHOWN]
    items = direction.gallery[first.items.gather(1, top)]
    return Ranking(direction.queries, first.ranks, ranks, items, first.relevant.gather(1, top))
