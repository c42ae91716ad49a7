"""Splits by group: never torn, never above their shares, the same in any order."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cli import refused
from r2d2.downstream.config import SplitShares
from r2d2.downstream.groups import split_groups


def leaders(labels):
    first = {}
    return np.array([first.setdefault(x, n) for n, x in enumerate(labels)])


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=80, max_size=200), st.integers(0, 9))
def test_groups_stay_whole_and_shares_are_kept(labels, seed):
    labels = [*labels, *range(100, 140)]  # some stand alone
    groups = leaders(labels)
    ids = [f"i{n:04d}" for n in range(len(labels))]
    splits = split_groups(ids, groups, SplitShares(), seed)
    for group in set(groups.tolist()):
        assert len({s for s, g in zip(splits, groups, strict=True) if g == group}) == 1
    counts, largest = Counter(splits), max(Counter(labels).values())
    for name in ("val", "test"):
        assert round(0.1 * len(labels)) - largest < counts[name] <= round(0.1 * len(labels))


def test_single_pictures_are_split_exactly():
    ids = [f"i{n}" for n in range(1000)]
    splits = split_groups(sorted(ids), np.arange(1000), SplitShares(), 0)
    assert Counter(splits) == {"train": 800, "val": 100, "test": 100}
    assert splits != split_groups(sorted(ids), np.arange(1000), SplitShares(), 1)


def test_a_split_that_cannot_be_filled():
    said = refused(split_groups, [f"i{n}" for n in range(9)], np.arange(9), SplitShares(), 0)
    assert "too small for the split" in said
    assert "9 usable pictures" in said
    one = np.zeros(100, np.int64)
    assert "largest holds 100" in refused(
        split_groups, [f"i{n:03d}" for n in range(100)], one, SplitShares(), 0
    )
    alone = split_groups(["a", "b", "c"], np.arange(3), SplitShares(0.0, 0.0), 0)
    assert alone == ["train"] * 3


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.1)])
def test_shares_that_cannot_be(shares):
    assert "split" in refused(SplitShares, *shares)
