"""The second stage of a search, in which cross encoders score the candidates of the first stage.

In a cascade, the text-to-image cross encoder scores all candidates, and both cross encoders score
only the best. `second_order` sorts the results again, by these scores and by the points for words.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from r2d2.data.preprocessing import Pixels
from r2d2.images.decode import BadImage
from r2d2.index.gallery.protocol import Floats, Gallery
from r2d2.model.encoded_states import EncodedStates
from r2d2.model.r2d2 import Pairs
from r2d2.models import CrossEncoderModel, ImageTextModel
from r2d2.ranking.two_stage import Cascade, two_stage_scores
from r2d2.search.first_stage import Doubles, FirstStage
from r2d2.search.query import Stage

Pair = tuple[EncodedStates, EncodedStates]  # image and text, each an EncodedStates of one
STAGES = ("both", "text")  # in the order of the results; candidates without a score come last
KEPT_BYTES = 256 << 20  # the size of the cache of encoded images
FILES_AT_ONCE = 64  # how many files are in memory at a time


class ImageStates:
    """A cache of the encoded images of a gallery; it drops the least recently used ones first."""

    def __init__(
        self, model: ImageTextModel, gallery: Gallery, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._model = model
        self._gallery = gallery
        self._limit = kept_bytes
        self._held: OrderedDict[int, EncodedStates] = OrderedDict()
        self._bytes = 0

    def get(self, rows: Sequence[int]) -> dict[int, EncodedStates]:
        """Return the encoded images at `rows`; images that cannot be read are left out."""
        states: dict[int, EncodedStates] = {}
        missing: list[int] = []
        for row in dict.fromkeys(rows):
            if row in self._held:
                self._held.move_to_end(row)
                states[row] = self._held[row]
            else:
                missing.append(row)
        for start in range(0, len(missing), FILES_AT_ONCE):
            part = missing[start : start + FILES_AT_ONCE]
            readable: list[int] = []
            pixels: list[Pixels] = []
            for row, file in zip(part, self._gallery.files(part), strict=True):
                try:
                    pixels.append(self._model.read(file))
                    readable.append(row)
                except BadImage:  # the image could be read when it was indexed, so its cosine holds
                    continue
            if not pixels:
                continue
            encoded = self._model.encode_pixels(pixels)
            for number, row in enumerate(readable):
                view = encoded[number : number + 1]
                image = EncodedStates(  # a copy, since a view would keep the whole batch alive
                    view.states.clone(),
                    None if view.mask is None else view.mask.clone(),
                    view.embedding.clone(),
                )
                states[row] = image
                self._keep(row, image)
        return states

    def _keep(self, row: int, image: EncodedStates) -> None:
        self._held[row] = image
        self._bytes += _size(image)
        while self._bytes > self._limit and self._held:
            _, old = self._held.popitem(last=False)
            self._bytes -= _size(old)


def _size(image: EncodedStates) -> int:
    return int(image.states.nbytes + image.embedding.nbytes)


@dataclass(frozen=True)
class CandidatePairs:
    """The m candidates of one query."""

    pairs: Sequence[Pair | None]  # in the order of the first stage; None: the image is unreadable
    cosine: Floats  # (m,)
    cascade: int | None  # how many candidates both cross encoders score; None: all


@dataclass(frozen=True)
class CandidateScore:
    """The match score of a candidate."""

    match: float  # (p_T + p_I) / 2, or p_T where only the cross encoder by text scored it
    stage: Stage


def match_again(
    model: ImageTextModel, queries: Sequence[CandidatePairs]
) -> list[list[CandidateScore | None]]:
    """Return the match scores of the candidates of several queries.

    A score is None where an image is unreadable. A cascade scores all candidates by text, and those
    with the largest weight x p_T + cosine also by image. It needs a `CrossEncoderModel`.
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
    """Return the candidates that both cross encoders score; ties keep the order of the stage."""
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
    """Score pairs with a model that only gives the mean of both cross encoders, such as ONNX."""

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
    """Return the scores of pairs; within a batch, each image and text is passed only once."""
    scores: list[float] = []
    for start in range(0, len(pairs), model.batch_size):
        part = pairs[start : start + model.batch_size]
        images, image_index = _distinct([image for image, _ in part])
        texts, text_index = _distinct([text for _, text in part])
        device = images.embedding.device
        index = image_index.to(device), text_index.to(device)
        scores += score(images, texts, index).float().cpu().tolist()
    return scores


def _distinct(encoded: Sequence[EncodedStates]) -> tuple[EncodedStates, Tensor]:
    """Join the distinct ones of n objects, and return the position of each of the n, (n,)."""
    positions: dict[int, int] = {}
    kept: list[EncodedStates] = []
    for states in encoded:
        if id(states) not in positions:
            positions[id(states)] = len(kept)
            kept.append(states)
    return EncodedStates.cat(kept), torch.tensor([positions[id(states)] for states in encoded])


def second_score(
    weight: float, first: FirstStage, match: Sequence[CandidateScore | None]
) -> Doubles:
    """Return weight x match + cosine (m,) of the candidates, which are the first m results."""
    scores = np.array([m.match if m else 0.0 for m in match], np.float64)
    return two_stage_scores(first.cosine[: len(match)].astype(np.float64), scores, weight)


def second_order(
    first: FirstStage, match: Sequence[CandidateScore | None], score: Doubles
) -> npt.NDArray[np.int64]:
    """Return the positions (n,) of all results, the best first.

    The m candidates are sorted by their scores: first those that both cross encoders scored, then
    those that only one scored, then those whose image is unreadable. The points that the candidates
    had for the ranks of their cosines are distributed again in this new order, and the points for
    words are added as before. So without words the candidates are in the order of the second stage,
    and with a weight of 0 in that of the first stage.
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
