"""All pairs of 64-bit hashes within a Hamming radius, without comparing all with all.

The bits are cut into radius + 2 bands. Two hashes that differ in at most `radius` bits agree in at
least two bands; so for every two bands, only hashes that agree in both are compared (multi-index
hashing: Norouzi, Punjani and Fleet, CVPR 2012). Where too many agree, as pictures of one template
do, the same is done again among them with the bits that are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

CHUNK = 1 << 21  # pairs compared at a time: bounds memory
HEAVY = 1 << 20  # pairs that agree in two bands, from which on they are cut further
BLOCK = 1 << 10  # hashes compared all with all, before there are leaders
PAIRS = 1 << 20  # that a larger block may have: bounds memory
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

ALL_BITS = tuple(range(64))


def near_pairs(hashes: Hashes, radius: int) -> Places:
    """Pairs (p, 2), i < j, of hashes (n,) at most `radius` bits apart; each once, sorted."""
    pairs = np.concatenate([np.empty((0, 2), np.int64), *_pairs(hashes, radius)])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def near_groups(hashes: Hashes, radius: int) -> Places:
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
    start, size = 0, BLOCK
    while start < len(ordered):  # a block at a time: only leaders are compared with what follows
        block = np.arange(start, min(len(ordered), start + size))
        joined = first_near(ordered[leaders], ordered[block], radius)
        rest = block[joined < 0]
        pairs = _few_pairs(ordered[rest], radius, None if size <= BLOCK else PAIRS)
        if pairs is None:  # a shorter block finds its leaders first, and they take in the others
            size = max(BLOCK, size // 4)
            continue
        leader[block[joined >= 0]] = leaders[joined[joined >= 0]]
        for earlier, later in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))].tolist():
            if leader[rest[later]] == rest[later] and leader[rest[earlier]] == rest[earlier]:
                leader[rest[later]] = rest[earlier]
        leaders = np.concatenate([leaders, rest[leader[rest] == rest]])
        start += len(block)
        size = max(BLOCK, len(leaders) // 2)
    rank = np.argsort(order, kind="stable")
    groups: Places = first[order][leader[rank]][place.reshape(-1)]
    return groups


def _pairs(hashes: Hashes, radius: int) -> Iterator[Places]:
    for left, right in close(hashes, hashes, radius, ALL_BITS):
        yield np.stack([left, right], axis=1)[left < right]


def _few_pairs(hashes: Hashes, radius: int, most: int | None) -> Places | None:
    """`near_pairs`, unless there are more than `most`."""
    blocks, count = [np.empty((0, 2), np.int64)], 0
    for pairs in _pairs(hashes, radius):
        blocks.append(pairs)
        count += len(pairs)
        if most is not None and count > most:
            return None
    return np.concatenate(blocks)


def first_near(leaders: Hashes, hashes: Hashes, radius: int) -> Places:
    """The place (n,) of the first leader near each hash; -1 where none is."""
    best = np.full(len(hashes), len(leaders), np.int64)
    for left, right in close(leaders, hashes, radius, ALL_BITS):
        np.minimum.at(best, right, left)
    return np.where(best < len(leaders), best, -1)


def close(
    a: Hashes, b: Hashes, radius: int, free: tuple[int, ...]
) -> Iterator[tuple[Places, Places]]:
    """Places in `a` and `b` of all two hashes within the radius; each pair once, some at a time.

    Outside of the bits `free`, all hashes must agree.
    """
    if not len(a) or not len(b):
        return
    # A bit that all share parts none of them.
    varies = int(np.bitwise_or.reduce(a ^ a[0]) | np.bitwise_or.reduce(b ^ a[0]))
    free = tuple(bit for bit in free if varies >> bit & 1)
    count = radius + 2
    if comb(count, 2) >= 2 ** (2 * len(free) / count):  # bands would repeat more than they part
        for right, left in _spread(np.full(len(b), len(a))):
            near = np.bitwise_count(a[left] ^ b[right]) <= radius
            yield left[near], right[near]
        return
    edges = [len(free) * n // count for n in range(count + 1)]
    bands = [free[low:high] for low, high in pairwise(edges)]
    masks = [np.uint64(sum(1 << bit for bit in band)) for band in bands]
    for one, two in combinations(range(count), 2):
        rest = tuple(sorted(set(free) - {*bands[one], *bands[two]}))
        # A pair that agrees in more than two bands is found by the first two of them alone.
        before = [masks[n] for n in range(two) if n != one]
        for left, right in _agreeing(a, b, masks[one] | masks[two], radius, rest):
            differ = a[left] ^ b[right]
            new = np.bitwise_count(differ) <= radius
            for mask in before:
                new &= (differ & mask) != 0
            if new.any():
                yield left[new], right[new]


def _agreeing(
    a: Hashes, b: Hashes, mask: np.uint64, radius: int, rest: tuple[int, ...]
) -> Iterator[tuple[Places, Places]]:
    """Pairs that agree in the bits of `mask`; of too many, only those that are close."""
    order = np.argsort(a & mask, kind="stable")
    keys = (a & mask)[order]
    low, high = (np.searchsorted(keys, b & mask, side) for side in ("left", "right"))
    counts = high - low
    heavy = np.flatnonzero(np.bincount(low, weights=counts) > HEAVY)
    known = np.flatnonzero(counts)
    known = known[np.argsort(low[known], kind="stable")] if len(heavy) else known
    for start in heavy.tolist():
        first, last = (np.searchsorted(low[known], start, side) for side in ("left", "right"))
        right = known[first:last]
        left = order[start : high[right[0]]]
        counts[right] = 0
        for i, j in close(a[left], b[right], radius, rest):
            yield left[i], right[j]
    for which, offset in _spread(counts):
        yield order[low[which] + offset], which


def _spread(counts: Places) -> Iterator[tuple[Places, Places]]:
    """(which, 0), (which, 1), ... counts[which] times, a bounded number at a time."""
    done = 0
    while done < len(counts):
        # as many as fit; a single one may have more than that
        total = np.cumsum(counts[done : done + CHUNK])
        take = max(1, int(np.searchsorted(total, CHUNK, side="right")))
        block = counts[done : done + take]
        which = np.repeat(np.arange(done, done + len(block)), block)
        if len(which):
            yield which, np.arange(len(which)) - np.repeat(np.cumsum(block) - block, block)
        done += take
