"""All figures of a model on one corpus: pre-ranking, two-stage and matching, each split by itself.

Every image and text is encoded once, and every pair that any ranking or matching set asks for is
matched once. Memory holds the embeddings, a block of scores and the best k of each query; hidden
states lie on disk (states.py).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.cost import Stopwatch
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import encode
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.second_stage import SecondStage, TaskScores, check_cascade
from r2d2.evaluation.states import Precision
from r2d2.evaluation.task import Direction, TaskPlan, make_task
from r2d2.files import write_text
from r2d2.ranking.first_stage import BLOCK_CELLS
from r2d2.ranking.metrics import chance_recalls, recall_intervals, recalls, roc_auc, worst_if_broken
from r2d2.ranking.two_stage import WEIGHTS, MatchedCandidates, best_weight, sweep_weights

log = logging.getLogger(__name__)

OFFICIAL_WEIGHT = 1.0  # of the match score, where there is no validation split to choose it on
VALIDATION = "val"
SHOWN = 10  # items of a ranking that are kept: for the report, and for files to submit
CURVE_AT = (1, 2, 3, 5, 10, 20, 50, 100)  # ranks at which the curve of recall is drawn


@dataclass(frozen=True)
class MemoryLimits:
    """What may be held at a time."""

    block_cells: int = BLOCK_CELLS  # scores of queries with items, in float64
    states: Precision = "float32"  # of hidden states on disk; float16 halves them


@dataclass(frozen=True)
class Ranking:
    """What one direction of one task ended in."""

    queries: Tensor  # (q,) int64: positions of images for i2t, of texts for t2i
    prerank: Tensor  # (q,) int64, ranks by cosine alone
    ranks: Tensor  # (q,) int64, ranks after the last stage there is
    top: Tensor  # (q, up to SHOWN) int64, positions on the other side, best first
    right: Tensor  # like top, bool
    two_stage: bool = False  # whether there is a second stage


@dataclass(frozen=True)
class MatchingScores:
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
    width: int  # numbers of an embedding
    matching: dict[str, MatchingScores] = field(default_factory=dict)  # by task

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
    cascade: int | None = None,
    batch_size: int = 256,
    splits: Sequence[str] = ("test", "test_novel"),
    full: Sequence[str] = ("test",),
    weight_gallery: Literal["split", "full"] = "full",
    t2i_only: bool = False,
    resamples: int = 0,
    seed: int = 0,
    memory: MemoryLimits = MemoryLimits(),
    matching: bool = True,
    watch: Stopwatch | None = None,
    progress: Progress | None = None,
) -> Results:
    """Rank and match each split.

    Args:
        model: see `DualEncoder`.
        data: the whole corpus.
        top_k: candidates that the second stage sees.
        weight: of the match score; None: the best on the validation split, or the official 1 where
            there is none or it is measured itself: what chooses must not be what is reported.
        cascade: candidates that both cross encoders score, the best by the cheaper one
            (cascade.py); None: all.
        batch_size: items or pairs a forward pass.
        splits: ranked against themselves; one that the data lack is absent from the results.
        full: ranked against the images and texts of the whole corpus, as NAME_full.
        weight_gallery: what validation is ranked against when the weight is chosen; "full" has the
            finer scale.
        t2i_only: texts ask for images and no more, as on MUGE; R@M is then a mean of three.
        resamples: of the images, for intervals of 95%; 0: none.
        seed: of the resampling.
        memory: what may be held.
        matching: also the AUC over pairs made of the groups of near misses, or else of the texts.
        watch: gets the time of the stages `images`, `texts`, `rank` and `match`; see `cost`.
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
    if cascade is not None:
        check_cascade(model, cascade)
    watch = Stopwatch() if watch is None else watch
    encoded = encode(model, data, batch_size, progress, memory.states, watch)
    data = encoded.data
    there = {data.splits[i] for i in data.text_image}
    plans = [TaskPlan(name, name, t2i_only=t2i_only) for name in splits]
    plans += [TaskPlan(f"{name}_full", name, True, t2i_only) for name in full]
    choosing = model.has_match and weight is None and can_choose(there, splits)
    if choosing:
        plans.append(TaskPlan("", VALIDATION, weight_gallery == "full", t2i_only))
    with watch.time("rank"):
        tasks = [
            make_task(encoded, plan, top_k, memory.block_cells, matching=matching)
            for plan in plans
            if plan.split in there
        ]
    for task in tasks:
        watch.count("rank", sum(len(way.queries) for way in task.directions))
        watch.count("match", task.pairs)
    stage = SecondStage(model, encoded.images, encoded.texts, batch_size, cascade, progress)
    extra: dict[str, Any] = {"top_k": top_k, "skipped": dict(encoded.data.skipped)}
    if cascade is not None and model.has_match:
        extra["cascade"] = cascade
    validation = tasks.pop() if choosing else None
    scored: list[TaskScores] = []
    if validation is not None:
        # At once, so that each pair is matched once; but who is in a cascade's head depends on the
        # weight, which is to be chosen first.
        together = tasks if cascade is None else []
        with watch.time("match"):
            *scored, chosen_on = stage.score([*together, validation], WEIGHTS)
        curve = _weight_curve(chosen_on)
        weight = best_weight(curve)
        extra["weight_curve"] = {f"{w:g}": r_mean for w, r_mean in curve.items()}
    elif model.has_match and weight is None:
        log.warning(
            "no split '%s' to choose by: the match score keeps its official weight of 1", VALIDATION
        )
        weight = OFFICIAL_WEIGHT
    if model.has_match:
        extra["weight"] = weight
    if not scored:
        with watch.time("match"):
            scored = stage.score(tasks, [weight or 0.0])
    metrics, rankings = {}, {}
    for found in scored:
        name = found.task.name
        metrics[name] = _metrics(found, weight)
        rankings[name] = {
            way: _ranked(direction, reranked, weight)
            for way, direction, reranked in (
                ("i2t", found.task.i2t, found.i2t),
                ("t2i", found.task.t2i, found.t2i),
            )
            if direction is not None
        }
        metrics[name] |= _spread(rankings[name], data.text_image, resamples, seed)
    pairs = {found.task.name: _matching(found) for found in scored}
    width = int(encoded.images.embedding.shape[1])
    return Results(metrics | extra, rankings, data, width, pairs)


def can_choose(there: Collection[str], measured: Collection[str]) -> bool:
    """Whether the weight of the match score may be chosen on the validation split."""
    return VALIDATION in there and VALIDATION not in measured


def _weight_curve(validation: TaskScores) -> dict[float, float]:
    """R@M in % on the validation split under each weight."""
    assert validation.t2i is not None
    return sweep_weights(validation.i2t, validation.t2i)


def _metrics(scored: TaskScores, weight: float | None) -> dict[str, Any]:
    """One task's part of metrics.json."""
    task = scored.task
    i2t, t2i = task.i2t, task.t2i
    first = None if i2t is None else i2t.first
    published = {
        "prerank": recalls(None if first is None else first.published, t2i.first.published)
    }
    found: dict[str, Any] = {
        "prerank": recalls(None if first is None else first.ranks, t2i.first.ranks)
    }
    if scored.t2i is not None and weight is not None:
        again = scored.i2t
        found["two_stage"] = recalls(
            None if again is None else again.ranks(weight), scored.t2i.ranks(weight)
        )
        published["two_stage"] = recalls(
            None if again is None else again.published(weight), scored.t2i.published(weight)
        )
    found["published"] = published
    if len(task.matching):  # none where each text is true of each image
        auc = roc_auc(scored.pair_scores, task.matching.label)
        pairs = task.matching
        found["matching"] = {"auc": auc, "pairs": len(pairs), "negatives": pairs.negatives}
    found["chance"] = chance_recalls(None if i2t is None else i2t.relevance, t2i.relevance)
    images = len(t2i.gallery) if i2t is None else len(i2t.queries)
    found["queries"] = {"images": 0 if i2t is None else images, "texts": len(t2i.queries)}
    texts = len(t2i.queries) if i2t is None else len(i2t.gallery)
    found["gallery"] = {"images": len(t2i.gallery), "texts": texts}
    return found


def _spread(
    rankings: Mapping[str, Ranking], text_image: Sequence[int], resamples: int, seed: int
) -> dict[str, Any]:
    """Recall at more ranks, and the intervals of both stages."""
    found: dict[str, Any] = {
        "curve": {
            way: {str(at): 100 * float((r.ranks <= at).double().mean()) for at in CURVE_AT}
            for way, r in rankings.items()
        }
    }
    if resamples:
        image = torch.tensor(text_image)
        groups = {
            way: r.queries if way == "i2t" else image[r.queries] for way, r in rankings.items()
        }
        stages = {"prerank": {way: r.prerank for way, r in rankings.items()}}
        if any(r.two_stage for r in rankings.values()):
            stages["two_stage"] = {way: r.ranks for way, r in rankings.items()}
        found["intervals"] = {
            stage: recall_intervals(ranks, groups, resamples, seed)
            for stage, ranks in stages.items()
        }
    return found


def _matching(scored: TaskScores) -> MatchingScores:
    pairs = scored.task.matching
    return MatchingScores(pairs.image, pairs.text, pairs.label, scored.pair_scores)


def _ranked(
    direction: Direction, reranked: MatchedCandidates | None, weight: float | None
) -> Ranking:
    """Ranks, and the first items as they count: of equal scores the right one stands last."""
    first = direction.first
    scores, ranks = first.cosine, first.ranks
    if reranked is not None and weight is not None:
        scores, ranks = reranked.scores(weight), reranked.ranks(weight)
    last = first.relevant.long().sort(dim=1, stable=True).indices
    order = (
        worst_if_broken(scores, first.relevant)
        .gather(1, last)
        .sort(dim=1, descending=True, stable=True)
    )
    top = last.gather(1, order.indices)[:, :SHOWN]
    items = direction.gallery[first.items.gather(1, top)]
    right = first.relevant.gather(1, top)
    return Ranking(direction.queries, first.ranks, ranks, items, right, reranked is not None)
