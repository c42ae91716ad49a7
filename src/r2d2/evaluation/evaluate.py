"""The metrics of a model on one corpus: the stages of ranking, and matching, split by split.

Every image and text is encoded once, and every pair that any ranking or matching set needs is
matched once. Memory holds the embeddings, a block of scores and the best k of each query; hidden
states are on disk (states.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from r2d2.evaluation.cost import Stopwatch
from r2d2.evaluation.dataset import EvaluationSet
from r2d2.evaluation.encode import encode
from r2d2.evaluation.pooled_stage import PooledStage, check_choice, check_pooling
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.second_stage import SecondStage, TaskScores, check_cascade
from r2d2.evaluation.settings import (
    VALIDATION,
    EvaluationSettings,
    RankingSettings,
    can_choose,
)
from r2d2.evaluation.task import Direction, TaskPlan, make_task
from r2d2.evaluation.task_metrics import Ranking, spread_metrics, task_metrics
from r2d2.files import write_text
from r2d2.ranking.metrics import worst_if_broken
from r2d2.ranking.two_stage import WEIGHTS, MatchedCandidates, best_weight, sweep_weights

log = logging.getLogger(__name__)

OFFICIAL_WEIGHT = 1.0  # of the match score, where there is no validation split to choose it on
TOP_K = 32  # candidates, for embeddings that were made elsewhere
SPLITS = ("test", "test_novel")
SHOWN = 10  # items of a ranking that are kept: for the report, and for files to submit


@dataclass(frozen=True)
class MatchingScores:
    """The pairs behind the AUC of one task."""

    image: Tensor  # (p,) int64, positions of the images
    text: Tensor  # (p,) int64, positions of the texts
    label: Tensor  # (p,) bool
    score: Tensor  # (p,) match score, or cosine


@dataclass(frozen=True)
class Results:
    """What `evaluate` returns."""

    metrics: dict[str, Any]  # the layout of metrics.json; recalls and AUC in %
    rankings: dict[str, dict[str, Ranking]]  # by task, then "i2t" and "t2i"
    data: EvaluationSet  # what the positions in `rankings` refer to
    width: int  # numbers of an embedding
    matching: dict[str, MatchingScores]  # by task

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows and texts left out, by kind."""
        return self.data.skipped

    def save(self, path: str | Path, train: Mapping[str, Any] | None = None) -> None:
        """Write metrics.json whole or not at all; `train` is added under that name.

        Raises:
            R2D2Error: the file cannot be written.
        """
        metrics = self.metrics if train is None else {**self.metrics, "train": dict(train)}
        text = json.dumps(metrics, ensure_ascii=False, indent=2, allow_nan=False)
        write_text(Path(path), text + "\n")


def evaluate(
    model: DualEncoder,
    data: EvaluationSet,
    settings: EvaluationSettings = EvaluationSettings(),
    ranking: RankingSettings = RankingSettings(),
    *,
    watch: Stopwatch | None = None,
    progress: Progress | None = None,
) -> Results:
    """Rank and match each split.

    Args:
        model: see `DualEncoder`.
        data: the whole corpus.
        settings: `splits`, `batch_size`, `resamples` and `seed` are read here. A split that the
            data lack is absent from the results.
        ranking: where a split is ranked against the whole corpus (`full`), so is `val` to choose
            the weight, which gives a finer scale; else `val` is ranked against itself.
            Where there is no `val`, or it is measured itself, the weight is the official 1: what
            chooses must not be what is reported.
        watch: gets the time of the stages `images`, `texts`, `rank` and `match`; see `cost`.
        progress: called with ("images" | "texts" | "match", done, in all).

    Raises:
        R2D2Error: the model cannot rank by a cascade, or no image of the data can be used.
    """
    if ranking.cascade is not None:
        check_cascade(model, ranking.cascade)
    pooling = check_pooling(model, ranking)
    splits = SPLITS if settings.splits is None else settings.splits
    top_k = candidate_count(model, ranking)
    watch = Stopwatch() if watch is None else watch
    encoded = encode(
        model, data, settings.batch_size, progress, ranking.states, watch,
        states=None if pooling is None else True,
    )  # fmt: skip
    data = encoded.data
    present = {data.splits[i] for i in data.text_image}
    check_choice(ranking, present, splits)
    plans = [TaskPlan(name, name, t2i_only=ranking.t2i_only) for name in splits]
    plans += [TaskPlan(f"{name}_full", name, True, ranking.t2i_only) for name in ranking.full]
    choosing = model.has_match and ranking.weight is None and can_choose(present, splits)
    if choosing or ranking.chooses_pooled:
        plans.append(TaskPlan("", VALIDATION, bool(ranking.full), ranking.t2i_only))
    with watch.time("rank"):
        tasks = [
            make_task(encoded, plan, top_k, ranking.block_cells, matching=ranking.matching)
            for plan in plans
            if plan.split in present
        ]
    watch.count("rank", sum(task.queries for task in tasks))
    extra: dict[str, Any] = {"top_k": top_k, "skipped": dict(data.skipped)}
    if pooling is not None:
        middle = PooledStage.of(pooling, encoded, top_k, settings.batch_size, ranking, progress)
        tasks, extra["pooled"] = middle.rank(tasks, watch)
    if ranking.chooses_pooled and not choosing:
        del tasks[-1]  # validation, which the second stage does not need
    watch.count("match", sum(task.pairs for task in tasks))
    stage = SecondStage(
        model, encoded.images, encoded.texts, settings.batch_size, ranking.cascade, progress
    )
    if ranking.cascade is not None and model.has_match:
        extra["cascade"] = ranking.cascade
    weight = ranking.weight
    scored: list[TaskScores] = []
    if choosing:
        *tasks, validation = tasks
        # All tasks at once, so that each pair is matched once. But which candidates are the head of
        # a cascade depends on the weight, so that it must be chosen first.
        together = tasks if ranking.cascade is None else []
        with watch.time("match"):
            *scored, on_validation = stage.score([*together, validation], WEIGHTS)
        assert on_validation.t2i is not None  # the model has a match head
        curve = sweep_weights(on_validation.i2t, on_validation.t2i)
        weight = best_weight(curve)
        extra["weight_curve"] = {f"{w:g}": r_mean for w, r_mean in curve.items()}
    elif model.has_match and weight is None:
        log.warning(
            "there is no split '%s' to choose the weight of the match score on: it keeps its "
            "official value of 1", VALIDATION,
        )  # fmt: skip
        weight = OFFICIAL_WEIGHT
    if model.has_match:
        extra["weight"] = weight
    if not scored:
        with watch.time("match"):
            scored = stage.score(tasks, [weight or 0.0])
    metrics: dict[str, Any] = {}
    rankings: dict[str, dict[str, Ranking]] = {}
    pairs: dict[str, MatchingScores] = {}
    for scores in scored:
        name, task = scores.task.name, scores.task
        rankings[name] = {
            key: _ranking(direction, matched, weight)
            for key, direction, matched in (
                ("i2t", task.i2t, scores.i2t), ("t2i", task.t2i, scores.t2i)
            )
            if direction is not None
        }  # fmt: skip
        metrics[name] = task_metrics(scores, weight)
        metrics[name] |= spread_metrics(metrics[name], rankings[name], data, settings)
        made = task.matching
        pairs[name] = MatchingScores(made.image, made.text, made.label, scores.pair_scores)
    width = int(encoded.images.embedding.shape[1])
    return Results(metrics | extra, rankings, data, width, pairs)


def candidate_count(model: DualEncoder, ranking: RankingSettings) -> int:
    """How many candidates of a query the second stage ranks again."""
    return ranking.top_k or int(getattr(model, "top_k", TOP_K))


def _ranking(
    direction: Direction, matched: MatchedCandidates | None, weight: float | None
) -> Ranking:
    """Ranks, and the first items as they count: of equal scores the right one stands last."""
    last = direction.last
    scores, ranks = last.cosine, last.ranks
    if matched is not None and weight is not None:
        scores, ranks = matched.scores(weight), matched.ranks(weight)
    right_last = last.relevant.long().sort(dim=1, stable=True).indices
    scores = worst_if_broken(scores, last.relevant).gather(1, right_last)
    order = scores.sort(dim=1, descending=True, stable=True).indices
    top = right_last.gather(1, order)[:, :SHOWN]
    items = direction.gallery[last.items.gather(1, top)]
    right = last.relevant.gather(1, top)
    pooled = None if direction.pooled is None else direction.pooled.ranks
    return Ranking(
        direction.queries, direction.first.ranks, pooled, ranks, items, right, matched is not None
    )
