"""The second stage of many tasks: all their pairs are scored together, or by a cascade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.pairs import By, match_scores, require_halves
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.settings import BATCH_SIZE
from r2d2.evaluation.states import StateStore
from r2d2.evaluation.task import Direction, Task
from r2d2.ranking.two_stage import Cascade, MatchedCandidates


@dataclass(frozen=True)
class TaskScores:
    """The match scores of a task; those of its candidates are None without a match head."""

    task: Task
    i2t: MatchedCandidates | None
    t2i: MatchedCandidates | None
    pair_scores: Tensor  # (p,) of the matching pairs: match score, or cosine


@dataclass(frozen=True)
class PairRequest:
    """Pairs to score: the candidates of a direction, or independent pairs."""

    image: Tensor  # (p,) positions of the images
    text: Tensor  # (p,) positions of the texts
    cosine: Tensor | None = None  # (q, k) of candidates, best first, with p = q k


@dataclass(frozen=True)
class SecondStage:
    """The cross encoders of a model, applied to an encoded corpus."""

    model: DualEncoder
    images: StateStore
    texts: StateStore
    batch_size: int = BATCH_SIZE
    cascade: int | None = None  # candidates that both cross encoders score; None: all
    progress: Progress | None = None

    def match(
        self, requests: Sequence[PairRequest], weights: Sequence[float]
    ) -> list[tuple[Tensor, Cascade | None]]:
        """Match scores (p,) of the pairs of each request; a pair in several is scored once.

        Under a cascade both cross encoders score only the pairs in a head under one of the weights,
        and pairs that are no candidates of a direction. The scores of the others are NaN.
        """
        if not requests:
            return []
        sizes = [len(request.image) for request in requests]
        image = torch.cat([request.image for request in requests])
        text = torch.cat([request.text for request in requests])
        if self.cascade is None:
            split_scores = torch.split(self._scores(image, text, "both"), sizes)
            return [(scores, None) for scores in split_scores]
        by_text = self._scores(image, text, "text")
        cascades: list[Cascade | None] = []
        in_head = []
        for request, scores in zip(requests, torch.split(by_text, sizes), strict=True):
            if request.cosine is None:
                cascades.append(None)
                in_head.append(torch.ones_like(scores, dtype=torch.bool))
                continue
            cascade = Cascade(scores.view_as(request.cosine), self.cascade)
            heads = torch.zeros_like(request.cosine, dtype=torch.bool)
            for weight in weights:
                if weight > 0:
                    heads |= cascade.in_head(request.cosine, weight)
            cascades.append(cascade)
            in_head.append(heads.flatten())
        both = torch.cat(in_head)
        scores = torch.full_like(by_text, torch.nan)
        scores[both] = (by_text[both] + self._scores(image[both], text[both], "image")) / 2
        return list(zip(torch.split(scores, sizes), cascades, strict=True))

    def score(self, tasks: Sequence[Task], weights: Sequence[float]) -> list[TaskScores]:
        """Score all pairs of the tasks by the match head, or by cosine where the model has none."""
        if not self.model.has_match:
            return [TaskScores(task, None, None, self._cosine(task)) for task in tasks]
        requests = [request for task in tasks for request in _requests(task)]
        matched = iter(self.match(requests, weights))
        return [
            TaskScores(
                task,
                None if task.i2t is None else _reranked(task.i2t, *next(matched)),
                _reranked(task.t2i, *next(matched)),
                next(matched)[0],
            )
            for task in tasks
        ]

    def _scores(self, image: Tensor, text: Tensor, by: By) -> Tensor:
        return match_scores(
            self.model, self.images, self.texts, image, text,
            by=by, batch_size=self.batch_size, progress=self.progress,
        )  # fmt: skip

    def _cosine(self, task: Task) -> Tensor:
        f_image = self.images.embedding[task.matching.image].double()
        f_text = self.texts.embedding[task.matching.text].double()
        return (f_image * f_text).sum(dim=1).float().cpu()


def check_cascade(model: DualEncoder, head: int) -> None:
    """Check the settings of a cascade.

    Raises:
        R2D2Error: the head is empty, or the model cannot score by one cross encoder alone.
    """
    if head < 1:
        raise R2D2Error(f"cascade is {head}: it must be at least 1")
    if model.has_match:
        require_halves(model)


def _requests(task: Task) -> list[PairRequest]:
    """The pairs of a task: the candidates of i2t, those of t2i, and the matching pairs."""
    texts, images = task.t2i.pairs()
    of_images = [] if task.i2t is None else [PairRequest(*task.i2t.pairs(), task.i2t.last.cosine)]
    pairs = task.matching
    return [
        *of_images,
        PairRequest(images, texts, task.t2i.last.cosine),
        PairRequest(pairs.image, pairs.text),
    ]


def _reranked(direction: Direction, match: Tensor, cascade: Cascade | None) -> MatchedCandidates:
    return MatchedCandidates(direction.last, match.view_as(direction.last.cosine), cascade)
