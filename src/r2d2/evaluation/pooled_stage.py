"""The middle stage of many tasks: MaxSim of words with the pooled states of pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.cost import FLOAT_BYTES, Stopwatch
from r2d2.evaluation.encode import EncodedSet, batches
from r2d2.evaluation.pairs import by_image, score_pairs
from r2d2.evaluation.protocol import DualEncoder, Progress
from r2d2.evaluation.settings import VALIDATION, RankingSettings, can_choose
from r2d2.evaluation.states import StateStore
from r2d2.evaluation.task import Direction, Task
from r2d2.model.encoded_states import EncodedStates
from r2d2.models import MultiVectorModel
from r2d2.ranking.first_stage import Candidates, best_by_cosine
from r2d2.ranking.pooled import PooledCandidates, maxsim
from r2d2.ranking.two_stage import best_weight, sweep_weights

CANDIDATES_RATIO = 4  # candidates that the middle stage sees for each one that it keeps


@dataclass(frozen=True)
class PooledTask:
    """A task after the middle stage; its weight can still be chosen."""

    task: Task
    i2t: PooledCandidates | None
    t2i: PooledCandidates

    def best(self, weight: float) -> Task:
        """The task with the candidates that the middle stage keeps under a weight."""
        i2t = self.task.i2t
        if i2t is not None and self.i2t is not None:
            i2t = replace(i2t, pooled=self.i2t.best(weight))
        return replace(self.task, i2t=i2t, t2i=replace(self.task.t2i, pooled=self.t2i.best(weight)))


@dataclass(frozen=True)
class PooledStage:
    """The pooled states of all pictures and the token states of all texts, on disk."""

    encoded: EncodedSet
    images: StateStore  # (n, N, d)
    texts: StateStore  # (m, L, d), of which the words are real
    candidates: int  # of a query, that this stage ranks
    batch_size: int
    ranking: RankingSettings
    progress: Progress | None = None

    @staticmethod
    @torch.no_grad()
    def of(
        model: MultiVectorModel,
        encoded: EncodedSet,
        top_k: int,
        batch_size: int,
        ranking: RankingSettings,
        progress: Progress | None = None,
    ) -> PooledStage:
        """Pool the states of an encoded corpus; `top_k`: candidates that this stage keeps."""
        assert ranking.pooled_states is not None
        images, texts = StateStore(states=True), StateStore(states=True)
        for batch in batches(len(encoded.images), batch_size):
            side = encoded.images.take(torch.tensor(batch))
            images.add(_without_embedding(model.pooled_states(side, ranking.pooled_states), None))
        for batch in batches(len(encoded.texts), batch_size):
            side = encoded.texts.take(torch.tensor(batch))
            texts.add(_without_embedding(*model.token_states(side)))
        images.done()
        texts.done()
        candidates = CANDIDATES_RATIO * top_k
        return PooledStage(encoded, images, texts, candidates, batch_size, ranking, progress)

    def rank(self, tasks: Sequence[Task], watch: Stopwatch) -> tuple[list[Task], dict[str, Any]]:
        """Choose the candidates that the second stage gets of each task.

        Args:
            tasks: the last is validation, where the weight of MaxSim is to be chosen.
            watch: gets the time of the stage `pooled`, of a query each.

        Returns:
            The tasks with their candidates, and what metrics.json tells of this stage.
        """
        with watch.time("pooled"):
            scored = self._score(tasks)
        watch.count("pooled", sum(task.queries for task in tasks))
        states, weight = self.ranking.pooled_states, self.ranking.pooled_weight
        assert states is not None
        width = int(self.encoded.images.embedding.shape[1])
        about: dict[str, Any] = {
            "states": states,
            "bytes_per_image": states * width * FLOAT_BYTES,
            "candidates": self.candidates,
        }
        if weight is None:
            curve = sweep_weights(scored[-1].i2t, scored[-1].t2i)
            weight = best_weight(curve)
            about["weight_curve"] = {f"{w:g}": r_mean for w, r_mean in curve.items()}
        return [task.best(weight) for task in scored], about | {"weight": weight}

    def _score(self, tasks: Sequence[Task]) -> list[PooledTask]:
        """MaxSim of the candidates of the tasks; a pair that is in several is scored once."""
        f_image, f_text = self.encoded.images.embedding, self.encoded.texts.embedding
        wide, pairs = [], []
        for task in tasks:
            if task.i2t is not None:
                wide.append(self._wide(task.i2t, f_image, f_text))
                pairs.append(task.i2t.pairs_with(wide[-1].items))
            wide.append(self._wide(task.t2i, f_text, f_image))
            texts, images = task.t2i.pairs_with(wide[-1].items)
            pairs.append((images, texts))
        image, text = (torch.cat(side) for side in zip(*pairs, strict=True))
        scores = torch.split(self._maxsim(image, text), [len(images) for images, _ in pairs])
        parts = iter(zip(wide, scores, strict=True))

        def ranked(direction: Direction) -> PooledCandidates:
            candidates, maxsim_scores = next(parts)
            return PooledCandidates(
                direction.first, candidates, maxsim_scores.view_as(candidates.cosine)
            )

        return [
            PooledTask(task, None if task.i2t is None else ranked(task.i2t), ranked(task.t2i))
            for task in tasks
        ]

    def _wide(self, direction: Direction, queries: Tensor, gallery: Tensor) -> Candidates:
        """The candidates of this stage, by cosine of the embeddings of both sides."""
        return best_by_cosine(
            queries[direction.queries], gallery[direction.gallery], direction.relevance,
            self.candidates, self.ranking.block_cells, direction.own,
        )  # fmt: skip

    @torch.no_grad()
    def _maxsim(self, image: Tensor, text: Tensor) -> Tensor:
        """MaxSim (p,) of pairs of positions."""

        def score(images: Tensor, texts: Tensor) -> Tensor:
            tokens = self.texts.take(texts)
            return maxsim(tokens.states, tokens.real(), self.images.take(images).states)

        told = None if self.progress is None else partial(self.progress, "pooled states")
        return score_pairs(score, image, text, self.texts.length, by_image, self.batch_size, told)


def check_pooling(model: DualEncoder, ranking: RankingSettings) -> MultiVectorModel | None:
    """The model, if it can pool its states as the settings say; None: they ask for no pooling.

    Raises:
        R2D2Error: its encoders give embeddings only, or no such number of pooled states.
    """
    if ranking.pooled_states is None:
        return None
    if not isinstance(model, MultiVectorModel):
        raise R2D2Error(
            "pooled states are made of hidden states, and this model gives embeddings only: leave "
            "--pooled-states out"
        )
    model.check_pooling(ranking.pooled_states)
    return model


def check_choice(
    ranking: RankingSettings, present: Collection[str], measured: Collection[str]
) -> None:
    """Check that the weight of MaxSim can be chosen, where it is to be.

    Raises:
        R2D2Error: there is no validation split, or it is measured itself.
    """
    if ranking.chooses_pooled and not can_choose(present, measured):
        state = "is measured itself" if VALIDATION in present else "is not there"
        raise R2D2Error(
            f"the weight of --pooled-states is chosen on the split '{VALIDATION}', which {state}: "
            "give --pooled-weight"
        )


def _without_embedding(vectors: Tensor, real: Tensor | None) -> EncodedStates:
    """Vectors (n, L, d) as states; the embeddings are in another store."""
    if vectors.device.type == "mps":  # which has no float64, in which they are compared
        vectors, real = vectors.cpu(), None if real is None else real.cpu()
    return EncodedStates(vectors, real, vectors.new_zeros(len(vectors), 0))
