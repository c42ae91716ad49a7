"""Two-stage ranking: the best k by cosine, then the cross encoders' match score on these.

What is computed is kept apart (`Candidates`, match scores), so that the weight between the two can
be swept without running the model again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.evaluation.blocks import dense_block, sparse_block
from r2d2.evaluation.cascade import Cascade
from r2d2.evaluation.retrieval import (
    Relevance,
    published_ranks,
    recalls,
    two_stage_ranks,
)

# Cosines of a trained model differ by some hundredths among the candidates, match scores by up to
# 1: the useful range lies between "the match score breaks ties" and "it decides alone", so the grid
# is about even in the logarithm. 0 is pre-ranking itself, 1 the official setting.
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

BLOCK_CELLS = 2**23  # scores held at a time: 64 MiB in float64
TILE = 4096  # items whose scores are made at a time
SPARSE = 64  # scores a right answer, on average: from there on answers are held as pairs


@dataclass(frozen=True)
class Candidates:
    """The first stage of q queries against c items: the k best by cosine, best first."""

    items: Tensor  # (q, k) int64, positions in the gallery
    cosine: Tensor  # (q, k)
    relevant: Tensor  # (q, k) bool
    ranks: Tensor  # (q,) int64, of the best match by cosine alone
    below: Tensor  # (q,) int64, the two-stage rank where no candidate is a match
    own: Tensor  # (q, k) bool, what the published protocol takes for a match
    published: Tensor  # (q,) int64, ranks by cosine as the official code counts them


def best_by_cosine(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    top_k: int,
    block_cells: int = BLOCK_CELLS,
    own: Relevance | None = None,
) -> Candidates:
    """Pre-ranking, exact, in blocks of queries.

    Args:
        queries: (q, d) unit length.
        gallery: (c, d) unit length.
        relevance: of these queries and items.
        top_k: k, cut to c. Among equal cosines the earlier item is taken; one that is not finite
            comes first, where it takes a place from the others.
        block_cells: scores held at a time.
        own: relevance of the published protocol; None: the same.

    Returns:
        On the CPU.

    Raises:
        R2D2Error: top_k is below 1, or a query has no match.
    """
    if top_k < 1:
        raise R2D2Error(f"top_k is {top_k}: it must be at least 1")
    if (len(queries), len(gallery)) != (len(relevance), relevance.gallery):
        raise R2D2Error(
            f"{len(queries)} queries and {len(gallery)} items, "
            f"but relevance of {len(relevance)} and {relevance.gallery}: they must be the same"
        )
    if queries.device.type == "mps":  # which has no float64
        queries, gallery = queries.cpu(), gallery.cpu()
    k = min(top_k, len(gallery))
    rows = max(1, block_cells // max(1, len(gallery)))
    finite = _all_finite(queries, gallery)
    columns = gallery.double().T
    # Written into place, and scores into one store: small tensors that outlive each block's large
    # ones leave holes that the allocator keeps, gigabytes of them.
    total = len(queries)
    found = Candidates(
        items=torch.empty(total, k, dtype=torch.long),
        cosine=torch.empty(total, k),
        relevant=torch.empty(total, k, dtype=torch.bool),
        ranks=torch.empty(total, dtype=torch.long),
        below=torch.empty(total, dtype=torch.long),
        own=torch.empty(total, k, dtype=torch.bool),
        published=torch.empty(total, dtype=torch.long),
    )
    whole = [getattr(found, field.name) for field in fields(Candidates)]
    store = torch.empty(min(rows, total), len(gallery), device=queries.device)
    for start in range(0, total, rows):
        stop = min(start + rows, total)
        scores = _cosines(queries[start:stop], columns, store[: stop - start])
        few = scores.numel() // SPARSE
        if finite and all(r is None or r.answers(start, stop) <= few for r in (relevance, own)):
            right = relevance.pairs(start, stop, scores.device)
            given = right if own is None else own.pairs(start, stop, scores.device)
            block = sparse_block(scores, right, given, k)
        else:
            relevant = relevance.mask(start, stop).to(scores.device)
            mine = relevant if own is None else own.mask(start, stop).to(scores.device)
            block = dense_block(scores, relevant, mine, k)
        for place, part in zip(whole, block, strict=True):
            place[start:stop] = part
    return found


def _cosines(queries: Tensor, columns: Tensor, out: Tensor) -> Tensor:
    """Queries (b, d) with the items that are the float64 columns (d, c), into `out` (b, c) float32.

    In float32 the last bit differs with a column's place: equal items would not tie. A tile of
    columns at a time, so that its float64 scores stay within the cache: a third of the time less.
    """
    asking = queries.double()
    for at in range(0, columns.shape[1], TILE):
        out[:, at : at + TILE] = asking @ columns[:, at : at + TILE]
    return out


def _all_finite(queries: Tensor, gallery: Tensor) -> bool:
    """Whether all scores will be finite float32."""
    if not len(queries) or not len(gallery):
        return False
    largest = queries.abs().amax().double() * gallery.abs().amax().double() * queries.shape[1]
    return bool(largest < torch.finfo(torch.float32).max)  # which NaN is not


@dataclass(frozen=True)
class Reranked:
    """Both stages of one direction, the weight still open."""

    candidates: Candidates
    match: Tensor  # (q, k) match score of each candidate; of a cascade, where it is known, else NaN
    cascade: Cascade | None = None

    def scores(self, weight: float) -> Tensor:
        """Of the candidates, (q, k): weight x match + cosine; as `Cascade.scores` orders them."""
        if self.cascade is not None:
            return self.cascade.scores(self.candidates.cosine, self.match, weight)
        scores: Tensor = weight * self.match + self.candidates.cosine
        return scores

    def ranks(self, weight: float) -> Tensor:
        """Two-stage rank of each query's best match, (q,) int64."""
        first = self.candidates
        return two_stage_ranks(self.scores(weight), first.relevant, first.below)

    def published(self, weight: float) -> Tensor:
        """The same as the official code counts it, (q,) int64; k + 1 where none is a candidate."""
        first = self.candidates
        return published_ranks(self.scores(weight), first.own, first.items)


def sweep_weights(
    i2t: Reranked | None, t2i: Reranked, weights: Sequence[float] = WEIGHTS
) -> dict[float, float]:
    """Two-stage R@M in % under each weight."""
    return {
        w: recalls(None if i2t is None else i2t.ranks(w), t2i.ranks(w))["r_mean"] for w in weights
    }


def best_weight(curve: Mapping[float, float]) -> float:
    """The weight with the highest R@M of `sweep_weights`, the smallest of several.

    For the validation split only, never for test.
    """
    return min(curve, key=lambda weight: (-curve[weight], weight))
