"""The order of an epoch: a seeded permutation, optionally with near twins side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from r2d2.keyed import Draw, generator

WINDOW = 65536  # rows sorted at a time: bounds the work on a large table


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
