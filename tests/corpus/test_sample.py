"""Shares nest, whatever the order, and splits stay where they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.corpus.config import SampleConfig
from r2d2.corpus.sample import in_sample, numbers, sample_table, splits
from r2d2.table import Pair, PairsTable, Text, write_table

ids = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=40, unique=True)
shares = st.floats(0, 1)


def chosen(some, share):
    return set(np.array(some, dtype=object)[in_sample(some, SampleConfig(share))])


@given(ids, shares, shares, st.randoms())
def test_a_smaller_share_lies_within_a_larger(some, one, other, random):
    low, high = sorted((one, other))
    chosen = {
        share: {
            i for i, kept in zip(some, in_sample(some, SampleConfig(share)), strict=True) if kept
        }
        for share in (low, high)
    }
    assert chosen[low] <= chosen[high]
    shuffled = list(some)
    random.shuffle(shuffled)
    again = in_sample(shuffled, SampleConfig(high))
    assert {i for i, kept in zip(shuffled, again, strict=True) if kept} == chosen[high]


@given(ids)
def test_nothing_and_all(some):
    assert not in_sample(some, SampleConfig(0.0)).any()
    assert in_sample(some, SampleConfig(1.0)).all()


def test_shares_and_splits_are_as_large_as_asked():
    some = [f"image {n}" for n in range(20_000)]
    config = SampleConfig(0.3, {"val": 0.1, "test": 0.2})
    assert in_sample(some, config).mean() == pytest.approx(0.3, abs=0.01)
    names = np.array(splits(some, config))
    for name, share in (("val", 0.1), ("test", 0.2), ("train", 0.7)):
        assert (names == name).mean() == pytest.approx(share, abs=0.01)
    # the split does not depend on the share, nor the share on the split
    kept = in_sample(some, config)
    assert (names[kept] == "val").mean() == pytest.approx(0.1, abs=0.02)
    assert not np.array_equal(numbers(some, 0, "share"), numbers(some, 1, "share"))


def test_a_table_is_sampled_row_by_row(tmp_path):
    rows = [
        Pair(f"i{n}", b"x%d" % n, (Text("猫", "title"),), "val" if n % 5 else "a")
        for n in range(300)
    ]
    write_table(tmp_path / "t.lance", rows, metadata={"licence": "ours"})
    table = PairsTable.open(tmp_path / "t.lance")
    config = SampleConfig(0.4)
    count = sample_table(table, tmp_path / "s.lance", config, lambda *a: None)
    sampled = PairsTable.open(tmp_path / "s.lance")
    expected = [
        row
        for row, kept in zip(rows, in_sample([r.image_id for r in rows], config), strict=True)
        if kept
    ]
    assert sampled.take(sampled.rows()) == expected
    assert count == len(expected)
    assert sampled.metadata["licence"] == "ours"
