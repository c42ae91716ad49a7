"""The order of an epoch: a seeded permutation, optionally with near twins side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from r2d2.keyed import Draw, generator

WINDOW = 65536  # rows sorted at a time: bounds the work on a large table
WHOLE = 1 << 24  # rows up to which a permutation is held in memory, 128 MB
ROUNDS = 6


class Shuffle:
    """A seeded permutation of any length that is computed where it is asked for, not held.

    A Feistel network over the next power of four mixes a place by keys; what falls beyond the end
    is mixed again, until it falls within (cycle walking; Black and Rogaway 2002).
    """

    def __init__(self, count: int, random: np.random.Generator) -> None:
        self.count = count
        self._half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))  # bits
        self._low = (np.uint64(1) << self._half) - np.uint64(1)
        self._keys = random.integers(0, 1 << 64, ROUNDS, dtype=np.uint64)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows (n,) at `places` (n,)."""
        found = self._mix(places.astype(np.uint64))
        while (beyond := found >= np.uint64(self.count)).any():
            found[beyond] = self._mix(found[beyond])
        return found.astype(np.int64)

    def _mix(self, x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = x >> self._half, x & self._low
        for key in self._keys:
            left, right = right, left ^ (_scramble(right ^ key) & self._low)
        return (left << self._half) | right


def _scramble(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def epoch_shuffle(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64] | Shuffle:
    """A permutation of `count` rows for one epoch, to be indexed by places (n,) int64."""
    random = generator(seed, epoch, Draw.ORDER)
    return random.permutation(count) if count <= WHOLE else Shuffle(count, random)


def epoch_order(
    texts: Sequence[str], seed: int, epoch: int, neighbours: int = 1
) -> npt.NDArray[np.int64]:
    """A permutation of the rows for one epoch; every epoch shows each row once.

    FGR learns from what stands beside a pair in its batch. A batch of thousands holds near twins by
    chance, a small one almost never, and the match is then told by the coarsest feature. So runs of
    rows whose texts are alike can stay together: neighbours in the alphabet, by beginning in even
    epochs and by ending in odd ones, cut at another place each epoch, and shuffled.

    Args:
        texts: one a row.
        seed: of the run.
        epoch: counted from 0.
        neighbours: length of a run; 1 is a plain permutation.

    Returns:
        (n,) int64.
    """
    random = generator(seed, epoch, Draw.ORDER)
    order = random.permutation(len(texts))
    if neighbours == 1:
        return order
    direction = 1 if epoch % 2 == 0 else -1
    parts: list[int] = []
    for start in range(0, len(order), WINDOW):
        rows = order[start : start + WINDOW].tolist()
        rows.sort(key=lambda row: texts[row][::direction])
        first = int(random.integers(neighbours))
        cuts = [0, *range(first, len(rows), neighbours), len(rows)]
        runs = [rows[a:b] for a, b in pairwise(cuts)]
        parts += [row for place in random.permutation(len(runs)) for row in runs[place]]
    return np.array(parts, dtype=np.int64)


def group_order(
    groups: npt.NDArray[np.int64], seed: int, epoch: int, neighbours: int
) -> npt.NDArray[np.int64]:
    """A permutation of the rows for one epoch, in which rows of one group stand side by side.

    Near misses belong into one batch: there a difference that seldom decides does decide.

    Args:
        groups: (n,) the group of each row.
        seed: of the run.
        epoch: counted from 0.
        neighbours: length of a run at most; a larger group becomes several runs.

    Returns:
        (n,) int64: the runs shuffled, and the rows within each.
    """
    random = generator(seed, epoch, Draw.ORDER)
    order = random.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]  # group after group
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1 - abs(groups).max()))
    sizes = np.diff(starts, append=len(order))
    within = np.arange(len(order)) - np.repeat(starts, sizes)  # the row's number in its group
    run = np.cumsum(within % neighbours == 0) - 1
    place = random.permutation(run[-1] + 1)[run]
    shuffled: npt.NDArray[np.int64] = order[np.argsort(place, kind="stable")]
    return shuffled
