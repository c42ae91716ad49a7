"""One block of the first stage: the best k items of each query, and the ranks of its matches.

There are two implementations of the same: one with masks over all scores, for any scores, and one
with the matches as pairs, for finite scores, which reads them three times instead of some forty.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from r2d2.ranking.metrics import published_ranks, rank_of_best

GROUP = 64  # items whose maximum is compared first when the best are searched
Pairs = tuple[Tensor, Tensor]  # row and item of each right answer, (p,) int64, each once


def dense_block(scores: Tensor, relevant: Tensor, own: Tensor, k: int) -> tuple[Tensor, ...]:
    """The fields of `Candidates` for one block, whatever the scores.

    Args:
        scores: (b, c).
        relevant: (b, c) bool.
        own: (b, c) bool, what the published protocol takes for a match.
        k: candidates.
    """
    order = scores.masked_fill(~torch.isfinite(scores), torch.inf)
    chosen, items = best_places(order, k)
    ranks = rank_of_best(scores, relevant)
    # Outside the candidates, every item that scores at least as high counts as above a match, and
    # all candidates are among these. Where there is no usable match, everything counts as above.
    usable = relevant & ~chosen & torch.isfinite(scores)
    best = scores.masked_fill(~usable, -torch.inf).amax(dim=1, keepdim=True)
    below = 1 + (~relevant & (order >= best)).sum(dim=1)
    published = published_ranks(scores, own, torch.arange(scores.shape[1], device=scores.device))
    return (
        items, scores.gather(1, items), relevant.gather(1, items), ranks, below,
        own.gather(1, items), published,
    )  # fmt: skip


def sparse_block(scores: Tensor, right: Pairs, own: Pairs, k: int) -> tuple[Tensor, ...]:
    """The same with matches as pairs; scores must be finite, and each row must have a match.

    What stands at least as high as the best right answer is counted over all items, and the right
    ones among it are then taken off.
    """
    rows, items_right = right
    b, c = scores.shape
    items = best_items(scores, k)
    value, best = _best_of(scores, right)
    above = _count(scores >= best[:, None])
    ranks = 1 + above - rows[value >= best[rows]].bincount(minlength=b)
    chosen = (items[rows] == items_right[:, None]).any(dim=1)
    # Where all matches of a row are candidates, everything else counts as above.
    below = 1 + c - rows.bincount(minlength=b)
    left = rows[~chosen], items_right[~chosen]
    if len(left[0]):
        below = torch.where(*_below(scores, value, right, left, (best, ranks)), below)
    relevant = _among(items, right, c)
    return (
        items, scores.gather(1, items), relevant, ranks, below,
        relevant if own is right else _among(items, own, c), _published(scores, own),
    )  # fmt: skip


def _below(
    scores: Tensor, value: Tensor, right: Pairs, left: Pairs, known: Pairs
) -> tuple[Tensor, Tensor]:
    """Rows with a right answer outside the candidates, (b,) bool, and the rank of the best one."""
    rows, (best, ranks) = right[0], known
    _, outside = _best_of(scores, left)
    has_outside = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    has_outside[left[0]] = True
    below = ranks.clone()  # where the best of all is outside
    again = (has_outside & (outside != best)).nonzero()[:, 0]
    if len(again):
        counted = _count(scores[again] >= outside[again, None])
        high = rows[value >= outside[rows]].bincount(minlength=len(scores))
        below[again] = 1 + counted - high[again]
    return has_outside, below


def _published(scores: Tensor, own: Pairs) -> Tensor:
    """See `published_ranks`: of equal scores the later position comes first."""
    rows, positions = own
    value, best = _best_of(scores, own)
    last = torch.full((len(scores),), -1, dtype=torch.long, device=scores.device)
    top = value == best[rows]
    last = last.scatter_reduce(0, rows[top], positions[top], "amax")
    above = _count(scores > best[:, None])
    tied = (_count(scores >= best[:, None]) - above > 1).nonzero()[:, 0]
    ranks = 1 + above
    if len(tied):
        after = torch.arange(scores.shape[1], device=scores.device) > last[tied, None]
        ranks[tied] += ((scores[tied] == best[tied, None]) & after).sum(dim=1)
    return ranks


def best_items(scores: Tensor, k: int) -> Tensor:
    """The k best of finite scores (b, c), best first; of equal ones the earlier: (b, k) int64.

    They lie in the k groups with the highest best member, of equal groups the earlier: each of
    these has a member that comes before anything outside of them.
    """
    b, c = scores.shape
    whole = c // GROUP
    if c < 2 * k * GROUP:
        return best_places(scores, k)[1]
    top = scores[:, : whole * GROUP].reshape(b, whole, GROUP).amax(dim=2)  # a view
    if c % GROUP:
        top = torch.cat([top, scores[:, whole * GROUP :].amax(dim=1, keepdim=True)], dim=1)
    groups = best_places(top, k)[1].sort(dim=1).values
    inside = torch.arange(GROUP, device=scores.device)
    positions = (groups[:, :, None] * GROUP + inside).view(b, -1)
    candidates = scores.gather(1, positions.clamp(max=c - 1)).masked_fill(
        positions >= c, -torch.inf
    )
    return positions.gather(1, best_places(candidates, k)[1])


def best_places(order: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of (b, c): as a mask (b, c), and as places (b, k), best first, then earlier.

    Scores must be numbers; infinite ones may be among them.
    """
    # topk does not define the order of ties: take all above the k-th value, then the first equal.
    kth = order.topk(k, dim=1).values[:, -1:]
    above, equal = order > kth, order == kth
    chosen = above | (equal & (equal.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    items = chosen.nonzero()[:, 1].view(-1, k)
    ranked = order.gather(1, items).sort(dim=1, descending=True, stable=True).indices
    return chosen, items.gather(1, ranked)


def _best_of(scores: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Score of each pair (p,), and the best of each row (b,); -inf where a row has none."""
    value = scores[pairs]
    best = torch.full((len(scores),), -torch.inf, device=scores.device)
    return value, best.scatter_reduce(0, pairs[0], value, "amax")


def _among(items: Tensor, pairs: Pairs, c: int) -> Tensor:
    """Which of the items (b, k) are right, bool."""
    rows = torch.arange(len(items), device=items.device)[:, None]
    return torch.isin(rows * c + items, pairs[0] * c + pairs[1])


def _count(mask: Tensor) -> Tensor:
    """How many values of each row are True, (b,) int64."""
    if mask.device.type != "cpu":
        return mask.sum(dim=1)
    # on the CPU torch adds up int64 one by one: ten times slower
    return torch.tensor([np.count_nonzero(row) for row in mask.numpy()], dtype=torch.long)
