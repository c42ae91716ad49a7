"""The order of an epoch: every row once, and together what belongs together when asked."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from r2d2.data import order as order_module
from r2d2.data.order import Shuffle, epoch_order, epoch_shuffle, group_order

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


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000, 65537])
def test_a_shuffle_that_is_not_held_is_a_permutation(count):
    def of(seed):
        return Shuffle(count, np.random.default_rng(seed))[np.arange(count)]

    assert sorted(of(0).tolist()) == list(range(count))
    assert np.array_equal(of(0), of(0))
    if count > 100:
        assert not np.array_equal(of(0), of(1))
        assert abs(np.corrcoef(np.arange(count), of(0))[0, 1]) < 4 / np.sqrt(count)
        steps = np.abs(np.diff(of(0)))
        assert abs(steps.mean() / count - 1 / 3) < 0.05  # as far apart as by chance


def test_a_shuffle_that_is_not_held_is_even():
    """Over many seeds each row stands in each place about equally often."""
    count, seeds = 23, 4600
    met = np.zeros((count, count))
    for seed in range(seeds):
        order = Shuffle(count, np.random.default_rng(seed))[np.arange(count)]
        met[np.arange(count), order] += 1
    expected = seeds / count
    chi = ((met - expected) ** 2 / expected).sum()
    freedom = (count - 1) ** 2
    assert abs(chi - freedom) < 6 * np.sqrt(2 * freedom), chi


def test_only_a_large_table_is_shuffled_unheld(monkeypatch):
    assert isinstance(epoch_shuffle(50, 0, 0), np.ndarray)
    assert np.array_equal(epoch_shuffle(len(TEXTS), 3, 2), epoch_order(TEXTS, 3, 2))
    monkeypatch.setattr(order_module, "WHOLE", 49)
    assert isinstance(epoch_shuffle(50, 0, 0), Shuffle)
    first, other = (epoch_shuffle(50, 0, epoch)[np.arange(50)] for epoch in (0, 1))
    assert not np.array_equal(first, other)
    far = Shuffle(250_000_000, np.random.default_rng(0))[np.array([0, 249_999_999])]
    assert ((far >= 0) & (far < 250_000_000)).all()


GROUPS = np.repeat(np.arange(20), [1, 2, 3, 4, 7] * 4)


def runs(order):
    """The group and the length of each run of rows of one group."""
    groups = GROUPS[order]
    cuts = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]
    return [(int(groups[a]), b - a) for a, b in pairwise(cuts)]


def test_rows_of_a_group_stand_side_by_side():
    sizes = Counter(GROUPS.tolist())
    for epoch in range(4):
        order = group_order(GROUPS, 0, epoch, neighbours=8)
        assert sorted(order.tolist()) == list(range(len(GROUPS)))
        assert Counter(dict(runs(order))) == sizes
    orders = [
        group_order(GROUPS, seed, epoch, 8) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[3])


def test_a_large_group_is_cut():
    order = group_order(GROUPS, 0, 0, neighbours=3)
    assert sorted(order.tolist()) == list(range(len(GROUPS)))
    parts = Counter(GROUPS[order[start:]][0] for start in range(len(order)))
    assert parts == Counter(GROUPS.tolist())
    # A group of 7 is three runs of 3, 3 and 1 that stand apart; two may meet by chance.
    seven = [length for group, length in runs(order) if group == 4]
    assert sorted(seven) in ([1, 3, 3], [3, 4], [1, 6])


def test_groups_and_the_rows_within_them_are_shuffled_evenly():
    first_group, first_row = Counter(), Counter()
    for epoch in range(400):
        order = group_order(GROUPS, 0, epoch, neighbours=8)
        first_group[GROUPS[order[0]]] += 1
        first_row[next(row for row in order.tolist() if GROUPS[row] == 4)] += 1
    assert len(first_group) == 20
    assert max(first_group.values()) < 42  # of 20 expected: five standard deviations
    assert len(first_row) == 7
    assert max(first_row.values()) < 92  # of 57 expected
