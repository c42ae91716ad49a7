"""Split a set 8:1:1 by groups, so that pictures that are alike are in the same split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from r2d2.corpus.report.sample import numbers
from r2d2.downstream.config import SplitShares
from r2d2.errors import R2D2Error

TRAIN, VAL, TEST = "train", "val", "test"
FEWEST = 2  # the least number of pictures of a split: with one there is nothing to confuse it with


def split_groups(
    image_ids: Sequence[str],
    groups: npt.NDArray[np.int64],
    shares: SplitShares,
    seed: int,
) -> list[str]:
    """Return the split of each picture.

    Groups are taken in the order of a hash of their smallest image_id. A group goes to test if it
    still fits there, else to val if it fits there, else to train. So the held-out splits never
    exceed their shares, and they miss them by less than the size of one group.

    Args:
        image_ids: (n,) ascending, so that the first position of a group has its smallest id.
        groups: (n,) the first place of each one's group.
        shares: of val and test.
        seed: of the set.

    Raises:
        R2D2Error: a split that is asked for would hold fewer than two pictures.
    """
    n = len(image_ids)
    leaders, sizes = np.unique(groups, return_counts=True)
    size = dict(zip(leaders.tolist(), sizes.tolist(), strict=True))
    draws = numbers([image_ids[place] for place in leaders.tolist()], seed, "split")
    room = {TEST: round(shares.test * n), VAL: round(shares.val * n)}
    chosen: dict[int, str] = {}
    for leader in leaders[np.argsort(draws, kind="stable")].tolist():
        split = next((name for name, free in room.items() if size[leader] <= free), TRAIN)
        chosen[leader] = split
        if split != TRAIN:
            room[split] -= size[leader]
    names = [chosen[group] for group in groups.tolist()]
    counts = Counter(names)
    wanted = {TRAIN: 1.0, VAL: shares.val, TEST: shares.test}
    for name, share in wanted.items():
        if share > 0 and counts[name] < FEWEST:
            largest = max(size.values(), default=0)
            raise R2D2Error(
                f"the table is too small for the split: {n} usable pictures in {len(size)} groups "
                f"of like ones (the largest holds {largest}) give '{name}' {counts[name]}: add "
                f"pictures, or change size, split.val, split.test or same.radius"
            )
    return names
