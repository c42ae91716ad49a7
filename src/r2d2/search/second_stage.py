"""The second stage of a search: candidates by both cross encoders, or by a cascade of them.

`second_order` puts the candidates in their new order, beside the points that words give them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from r2d2.index.gallery.protocol import Floats
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import Pairs
from r2d2.models import CrossEncoderModel, ImageTextModel
from r2d2.ranking.two_stage import Cascade, two_stage_scores
from r2d2.search.first_stage import Doubles, FirstStage
from r2d2.search.query import Stage

Pair = tuple[EncodedStates, EncodedStates]  # image and text, each an EncodedStates of one
STAGES = ("both", "text")  # as candidates stand below each other; then those that were not scored


@dataclass(frozen=True)
class CandidatePairs:
    """The candidates of one query."""

    pairs: Sequence[Pair | None]  # in the order of pre-ranking; None: its image cannot be read
    cosine: Floats  # as many
    cascade: int | None  # how many are scored by both cross encoders; None: all


@dataclass(frozen=True)
class CandidateScore:
    """What the cross encoders say of a candidate."""

    match: float  # (p_T + p_I) / 2; at the stage "text" p_T
    stage: Stage


def match_again(
    model: ImageTextModel, queries: Sequence[CandidatePairs]
) -> list[list[CandidateScore | None]]:
    """Match scores of the candidates of several queries; None where an image cannot be read.

    A cascade scores all candidates by text, and by both those that then lead by
    weight x p_T + cosine; the model must be one of `CrossEncoderModel`.
    """
    if not isinstance(model, CrossEncoderModel):
        return _by_both_at_once(model, queries)
    positions = [
        (q, c)
        for q, query_pairs in enumerate(queries)
        for c, p in enumerate(query_pairs.pairs)
        if p
    ]
    pairs = [pair for query_pairs in queries for pair in query_pairs.pairs if pair]
    by_text = _scores(model, model.match_text, pairs)
    scores: list[list[CandidateScore | None]] = [
        [None] * len(query_pairs.pairs) for query_pairs in queries
    ]
    for (query, candidate), score in zip(positions, by_text, strict=True):
        scores[query][candidate] = CandidateScore(score, "text")
    heads = [
        _head(query_pairs, f, model.match_weight)
        for query_pairs, f in zip(queries, scores, strict=True)
    ]
    chosen = [n for n, (query, candidate) in enumerate(positions) if candidate in heads[query]]
    by_image = _scores(model, model.match_image, [pairs[n] for n in chosen])
    for n, score in zip(chosen, by_image, strict=True):
        query, candidate = positions[n]
        scores[query][candidate] = CandidateScore((by_text[n] + score) / 2, "both")
    return scores


def _head(
    candidates: CandidatePairs, scores: Sequence[CandidateScore | None], weight: float
) -> set[int]:
    """The candidates that both cross encoders are to score; of equals those that lead now."""
    scored = [position for position, score in enumerate(scores) if score is not None]
    if candidates.cascade is None or candidates.cascade >= len(scored):
        return set(scored)
    by_text = torch.tensor([[score.match for score in scores if score]], dtype=torch.float64)
    cosine = torch.tensor([[float(candidates.cosine[position]) for position in scored]])
    in_head = Cascade(by_text, candidates.cascade).in_head(cosine, weight)[0]
    return {position for position, leads in zip(scored, in_head.tolist(), strict=True) if leads}


def _by_both_at_once(
    model: ImageTextModel, queries: Sequence[CandidatePairs]
) -> list[list[CandidateScore | None]]:
    """Of a model whose cross encoders cannot be asked one by one, as that of a pair graph."""

    def score(images: EncodedStates, texts: EncodedStates, pairs: Pairs) -> Tensor:
        return model.match(images[pairs[0]], texts[pairs[1]])

    scores = iter(
        _scores(model, score, [pair for query in queries for pair in query.pairs if pair])
    )
    return [
        [CandidateScore(next(scores), "both") if pair else None for pair in query.pairs]
        for query in queries
    ]


def _scores(
    model: ImageTextModel,
    score: Callable[[EncodedStates, EncodedStates, Pairs], Tensor],
    pairs: Sequence[Pair],
) -> list[float]:
    """A score of pairs; what is an item's is computed once a batch."""
    scores: list[float] = []
    for start in range(0, len(pairs), model.batch_size):
        part = pairs[start : start + model.batch_size]
        images, image_index = _distinct([image for image, _ in part])
        texts, text_index = _distinct([text for _, text in part])
        device = images.embedding.device
        index = image_index.to(device), text_index.to(device)
        scores += score(images, texts, index).float().cpu().tolist()
    return scores


def _distinct(sides: Sequence[EncodedStates]) -> tuple[EncodedStates, Tensor]:
    """The distinct ones (by identity) in one object, and the place of each of the n in it."""
    positions: dict[int, int] = {}
    kept: list[EncodedStates] = []
    for side in sides:
        if id(side) not in positions:
            positions[id(side)] = len(kept)
            kept.append(side)
    return EncodedStates.cat(kept), torch.tensor([positions[id(side)] for side in sides])


def second_score(
    weight: float, first: FirstStage, match: Sequence[CandidateScore | None]
) -> Doubles:
    """Weight x match + cosine of the candidates (m,), the first of the results."""
    scores = np.array([m.match if m else 0.0 for m in match], np.float64)
    return two_stage_scores(first.cosine[: len(match)].astype(np.float64), scores, weight)


def second_order(
    first: FirstStage, match: Sequence[CandidateScore | None], score: Doubles
) -> npt.NDArray[np.int64]:
    """The places of all results (n,), best first.

    The second stage sorts the candidates (m,); a cascade's tail falls behind its head, and what
    could not be read behind both. By their new ranks the candidates get the points that they had by
    their cosines' ranks, beside those of the words, which stay. So without words their order is
    that of the second stage, and with the weight 0 that of the first.
    """
    count = len(match)
    stages = np.array([2 if m is None else STAGES.index(m.stage) for m in match], np.int64)
    best_first = np.lexsort((np.arange(count), -score, stages))
    points = np.empty(count)
    points[best_first] = np.sort(first.picture_points[:count])[::-1]
    total = points + first.word_points[:count]
    rank = np.empty(count, np.int64)
    rank[best_first] = np.arange(count)
    order = np.lexsort((rank, -total))
    return np.concatenate([order, np.arange(count, len(first))])
