"""Order the rows of an epoch by a seeded permutation, optionally with similar rows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from r2d2.keyed import Draw, generator

WINDOW = 65536  # how many rows are sorted at a time, which bounds the work on a large table
WHOLE = 1 << 24  # up to so many rows, a permutation is held in memory (128 MB)
ROUNDS = 6


class Shuffle:
    """A seeded permutation of any length that is computed position by position, not stored.

    A Feistel network permutes the numbers below the next power of four. A result beyond the end of
    the permutation is permuted again until it is within (cycle walking; Black and Rogaway 2002).
    """

    def __init__(self, count: int, random: np.random.Generator) -> None:
        self.count = count
        self._half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))  # bits
        self._low = (np.uint64(1) << self._half) - np.uint64(1)
        self._keys = random.integers(0, 1 << 64, ROUNDS, dtype=np.uint64)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the rows (n,) at positions (n,)."""
        rows = self._mix(positions.astype(np.uint64))
        while (beyond := rows >= np.uint64(self.count)).any():
            rows[beyond] = self._mix(rows[beyond])
        return rows.astype(np.int64)

    def _mix(self, x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = x >> self._half, x & self._low
        for key in self._keys:
            left, right = right, left ^ (_scramble(right ^ key) & self._low)
        return (left << self._half) | right


def _scramble(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Apply the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def epoch_shuffle(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64] | Shuffle:
    """Return a permutation of `count` rows for one epoch, to be indexed by positions (n,) int64."""
    random = generator(seed, epoch, Draw.ORDER)
    return random.permutation(count) if count <= WHOLE else Shuffle(count, random)


def epoch_order(
    texts: Sequence[str], seed: int, epoch: int, neighbours: int = 1
) -> npt.NDArray[np.int64]:
    """Return a permutation of the rows for one epoch, with similar texts side by side.

    FGR draws its negatives from the batch of a pair. A batch of thousands of pairs has similar ones
    by chance, but a small batch almost never has, and then coarse features are enough to tell a
    match. So rows with similar texts can be kept together. Texts are sorted, by their beginnings in
    even epochs and by their ends in odd ones, and cut into runs, at other positions in each epoch.
    The runs are then shuffled.

    Args:
        texts: a text of each row.
        seed: of the training run.
        epoch: counted from 0.
        neighbours: the length of a run; 1 is a plain permutation.

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
        parts += [row for number in random.permutation(len(runs)) for row in runs[number]]
    return np.array(parts, dtype=np.int64)


def group_order(
    groups: npt.NDArray[np.int64], seed: int, epoch: int, neighbours: int
) -> npt.NDArray[np.int64]:
    """Return a permutation of the rows for one epoch, in which the rows of a group are adjacent.

    Near misses should be in the same batch, because only there a model must tell them apart.

    Args:
        groups: (n,) the group of each row.
        seed: of the training run.
        epoch: counted from 0.
        neighbours: the largest length of a run; a larger group becomes several runs.

    Returns:
        (n,) int64, with the runs shuffled, and the rows within each run.
    """
    random = generator(seed, epoch, Draw.ORDER)
    order = random.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]  # sorted by group
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1 - abs(groups).max()))
    sizes = np.diff(starts, append=len(order))
    within = np.arange(len(order)) - np.repeat(starts, sizes)  # the row's number in its group
    run = np.cumsum(within % neighbours == 0) - 1
    run_position = random.permutation(run[-1] + 1)[run]
    shuffled: npt.NDArray[np.int64] = order[np.argsort(run_position, kind="stable")]
    return shuffled
