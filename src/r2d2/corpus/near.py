"""All pairs of 64-bit hashes within a Hamming radius, without comparing all with all.

The bits are cut into radius + 2 bands. Two hashes that differ in at most `radius` bits agree in at
least two bands; so for every two bands, only hashes that agree in both are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from r2d2.corpus.phash import distance

BITS = 64
CHUNK = 1 << 22  # pairs compared at a time: bounds memory
BLOCK = 1 << 11  # hashes compared all with all, before there are leaders
Hashes = npt.NDArray[np.uint64]
Pairs = npt.NDArray[np.int64]


def near_pairs(hashes: Hashes, radius: int) -> Pairs:
    """Pairs (p, 2), i < j, of hashes (n,), all different, at most `radius` bits apart; sorted."""
    found = [np.empty((0, 2), np.int64)]
    for first, second in combinations(_bands(radius + 2), 2):
        mask = first | second
        order = np.argsort(hashes & mask, kind="stable")
        sorted_keys = (hashes & mask)[order]
        for left, right in _same(sorted_keys):
            a, b = order[left], order[right]
            close = distance(hashes[a], hashes[b]) <= radius
            if close.any():
                pair = np.stack([a[close], b[close]], axis=1)
                pair.sort(axis=1)
                found.append(pair)
    # A pair that agrees in more than two bands came more than once.
    return np.unique(np.concatenate(found), axis=0)


def near_groups(hashes: Hashes, radius: int) -> npt.NDArray[np.int64]:
    """The group (n,) of each hash (n,): the place of its leader.

    Within a group every hash is at most `radius` bits from the leader. To join whatever is near to
    a member would chain pictures together that share nothing: a is near b, b near c, and so on.
    In the order given, a hash joins the first leader that it is near to, else it leads.
    """
    distinct, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # of the distinct ones, as they appear
    ordered = distinct[order]
    leader = np.arange(len(ordered))
    leaders = np.empty(0, np.int64)
    start = 0
    while start < len(ordered):  # a block at a time: only leaders are compared with what follows
        block = np.arange(start, min(len(ordered), start + max(BLOCK, len(leaders) // 2)))
        start = int(block[-1]) + 1
        joined = _first_near(ordered[leaders], ordered[block], radius)
        leader[block[joined >= 0]] = leaders[joined[joined >= 0]]
        rest = block[joined < 0]
        pairs = near_pairs(ordered[rest], radius)
        for earlier, later in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))].tolist():
            if leader[rest[later]] == rest[later] and leader[rest[earlier]] == rest[earlier]:
                leader[rest[later]] = rest[earlier]
        leaders = np.concatenate([leaders, rest[leader[rest] == rest]])
    rank = np.argsort(order, kind="stable")
    found: npt.NDArray[np.int64] = first[order][leader[rank]][place.reshape(-1)]
    return found


def _first_near(leaders: Hashes, hashes: Hashes, radius: int) -> npt.NDArray[np.int64]:
    """The place (n,) of the first leader near each hash; -1 where none is."""
    best = np.full(len(hashes), len(leaders), np.int64)
    for first, second in combinations(_bands(radius + 2), 2) if len(leaders) else ():
        mask = first | second
        keys = leaders & mask
        order = np.argsort(keys, kind="stable")
        low, high = (
            np.searchsorted(keys[order], hashes & mask, side) for side in ("left", "right")
        )
        for which, offset in _spread(high - low):
            there = order[low[which] + offset]
            close = distance(leaders[there], hashes[which]) <= radius
            np.minimum.at(best, which[close], there[close])
    return np.where(best < len(leaders), best, -1)


def _spread(counts: Pairs) -> Iterator[tuple[Pairs, Pairs]]:
    """(which, 0), (which, 1), ... counts[which] times, a bounded number at a time."""
    done = 0
    while done < len(counts):
        # as many as fit; a single one may have more than that
        total = np.cumsum(counts[done : done + CHUNK])
        take = max(1, int(np.searchsorted(total, CHUNK, side="right")))
        some = counts[done : done + take]
        which = np.repeat(np.arange(done, done + len(some)), some)
        if len(which):
            yield which, np.arange(len(which)) - np.repeat(np.cumsum(some) - some, some)
        done += take


def _bands(count: int) -> list[np.uint64]:
    """Masks of `count` bands, of equal width but for one bit."""
    edges = [BITS * n // count for n in range(count + 1)]
    return [np.uint64(((1 << high) - 1) ^ ((1 << low) - 1)) for low, high in pairwise(edges)]


def _same(keys: Hashes) -> Iterator[tuple[Pairs, Pairs]]:
    """Places (left, right) of all two equal ones of sorted keys, a bounded number at a time."""
    n = len(keys)
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[:n])
    sizes = np.diff(np.append(starts, n))
    ends = np.repeat(starts + sizes, sizes)  # of each place's bucket
    for left, offset in _spread(ends - np.arange(n) - 1):  # with each later one in the bucket
        yield left, left + 1 + offset
