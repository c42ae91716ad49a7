"""The order of an epoch: every row once, and together what belongs together when asked."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from r2d2.data import order as order_module
from r2d2.data.order import epoch_order

TEXTS = [
    f"{base}，{tone}" for base in "猫狗鸟鱼马牛羊鹅" for tone in ("红", "蓝", "绿", "黄", "白")
]


@pytest.mark.parametrize("neighbours", [1, 2, 4, 7, 40, 100])
@pytest.mark.parametrize("window", [65536, 13])
def test_every_row_once_an_epoch(neighbours, window, monkeypatch):
    monkeypatch.setattr(order_module, "WINDOW", window)
    for epoch in range(4):
        order = epoch_order(TEXTS, 0, epoch, neighbours)
        assert sorted(order.tolist()) == list(range(len(TEXTS)))


def test_order_is_a_function_of_seed_and_epoch():
    first = epoch_order(TEXTS, 0, 0, 4)
    assert np.array_equal(first, epoch_order(TEXTS, 0, 0, 4))
    assert not np.array_equal(first, epoch_order(TEXTS, 0, 2, 4))
    assert not np.array_equal(first, epoch_order(TEXTS, 1, 0, 4))


def share_beside(order, same):
    return np.mean([same(TEXTS[a], TEXTS[b]) for a, b in pairwise(order)])


def test_beginnings_meet_in_even_epochs_and_endings_in_odd_ones():
    def begin(a, b):
        return a[0] == b[0]

    def end(a, b):
        return a[-1] == b[-1]

    plain, even, odd = (epoch_order(TEXTS, 0, e, neighbours=g) for e, g in ((0, 1), (0, 5), (1, 5)))
    assert share_beside(plain, begin) < 0.3
    assert share_beside(even, begin) > 0.55
    assert share_beside(even, end) < 0.3
    assert share_beside(odd, end) > 0.7
    assert share_beside(odd, begin) < 0.3


def test_runs_are_cut_elsewhere_each_epoch():
    met = Counter()
    for epoch in range(0, 160, 2):
        order = epoch_order(TEXTS, 0, epoch, neighbours=4)
        met.update(frozenset(pair) for pair in pairwise(order.tolist()))
    ranked = sorted(range(len(TEXTS)), key=lambda row: TEXTS[row])
    # Each pair of alphabetical neighbours stands side by side in many epochs, in none always.
    often = [met[frozenset(pair)] for pair in pairwise(ranked)]
    assert min(often) >= 30
    assert max(often) < 80
