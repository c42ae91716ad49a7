"""The first stage: for each query the best k of a gallery by cosine, exactly, in blocks."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.ranking.blocks import dense_block, sparse_block
from r2d2.ranking.relevance import Relevance

BLOCK_CELLS = 2**23  # scores held at a time: 64 MiB in float64
TILE = 4096  # items whose scores are computed at a time
SPARSE = 64  # scores for each match, on average: from this number on matches are held as pairs


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
    """Rank items by cosine, exactly, in blocks of queries.

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
    candidates = Candidates(
        items=torch.empty(total, k, dtype=torch.long),
        cosine=torch.empty(total, k),
        relevant=torch.empty(total, k, dtype=torch.bool),
        ranks=torch.empty(total, dtype=torch.long),
        below=torch.empty(total, dtype=torch.long),
        own=torch.empty(total, k, dtype=torch.bool),
        published=torch.empty(total, dtype=torch.long),
    )
    whole = [getattr(candidates, field.name) for field in fields(Candidates)]
    store = torch.empty(min(rows, total), len(gallery), device=queries.device)
    for start in range(0, total, rows):
        stop = min(start + rows, total)
        scores = _cosines(queries[start:stop], columns, store[: stop - start])
        few = scores.numel() // SPARSE
        if finite and all(r is None or r.pair_bound(start, stop) <= few for r in (relevance, own)):
            right = relevance.pairs(start, stop, scores.device)
            own_pairs = right if own is None else own.pairs(start, stop, scores.device)
            block = sparse_block(scores, right, own_pairs, k)
        else:
            relevant = relevance.mask(start, stop).to(scores.device)
            mine = relevant if own is None else own.mask(start, stop).to(scores.device)
            block = dense_block(scores, relevant, mine, k)
        for target, part in zip(whole, block, strict=True):
            target[start:stop] = part
    return candidates


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
