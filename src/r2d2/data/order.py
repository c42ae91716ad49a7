"""The order of an epoch: a seeded permutation, optionally with near twins side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from r2d2.keyed import Draw, generator


def epoch_order(
    texts: Sequence[str], seed: int, epoch: int, neighbours: int = 1, window: int = 65536
) -> npt.NDArray[np.int64]:
    """A permutation of the rows for one epoch.

    FGR learns from what stands beside a pair in its batch. A batch of thousands holds near twins by
    chance; a small one almost never does, and match against mismatch is then told by the coarsest
    feature. So runs of `neighbours` rows whose texts are alike stay together: neighbours in
    alphabetical order, by beginning in even epochs and by ending in odd ones. The runs are cut at
    another place each epoch and shuffled, so every epoch still shows each row once.

    Args:
        texts: one a row.
        seed: of the run.
        epoch: counted from 0.
        neighbours: length of a run; 1 is a plain permutation.
        window: rows sorted at a time, drawn at random: bounds the work on a large table.

    Returns:
        (n,) int64.
    """
    random = generator(seed, epoch, Draw.ORDER)
    order = random.permutation(len(texts))
    if neighbours == 1:
        return order
    direction = 1 if epoch % 2 == 0 else -1
    parts = []
    for start in range(0, len(order), window):
        rows = order[start : start + window].tolist()
        rows.sort(key=lambda row: texts[row][::direction])
        cut = int(random.integers(neighbours))
        runs = [rows[:cut], *(rows[i : i + neighbours] for i in range(cut, len(rows), neighbours))]
        parts += [row for place in random.permutation(len(runs)) for row in runs[place]]
    return np.array(parts, dtype=np.int64)
