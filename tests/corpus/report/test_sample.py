"""Shares nest, whatever the order, and splits stay where they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.cli import call_cli
from r2d2.corpus.config import RankConfig, SampleConfig
from r2d2.corpus.report.sample import in_sample, numbers, sample_table, splits
from r2d2.errors import R2D2Error
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.table_queries import TableQuery, read_queries, write_queries

ids = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=40, unique=True)
shares = st.floats(0, 1, exclude_min=True)


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
def test_next_to_nothing_and_all(some):
    assert not in_sample(some, SampleConfig(1e-16)).any()
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


def test_a_share_that_keeps_nothing_stops_at_once(tmp_path, monkeypatch, capsys):
    rows = [Pair(f"i{n}", b"x", (Text("猫", "title"),), "train") for n in range(20)]
    write_table(tmp_path / "t.lance", rows)
    write_table(tmp_path / "none.lance", [])

    def said(table, *more):
        code, _, lines = call_cli(
            monkeypatch, capsys, "corpus", "sample", tmp_path / table, "--out",
            tmp_path / "s.lance", *more,
        )  # fmt: skip
        assert code == 2
        assert not (tmp_path / "s.lance").exists()
        return lines[-1]

    for share in ("0", "-0.5", "1.5", "nan"):
        assert f"(--share) is {float(share):g}: give more than 0" in said(
            "t.lance", f"--share={share}"
        )
    assert "a share of 0.0001 keeps none of the 20 images of" in said("t.lance", "--share=0.0001")
    assert "keeps none of the 0 images of" in said("none.lance", "--share=1")
    with pytest.raises(R2D2Error, match=r"rank\.top_share is 0, which keeps no pair"):
        RankConfig(top_share=0.0)


def test_metadata_and_queries_go_along(tmp_path):
    rows = [Pair(f"i{n}", b"x%d" % n, (Text("猫", "title"),), "test") for n in range(30)]
    write_table(tmp_path / "in.lance", rows, metadata={"licence": "CC BY 4.0"})
    queries = [TableQuery("8", "碎花裙", "test")]
    write_queries(tmp_path / "in.lance", queries)
    table = PairsTable.open(tmp_path / "in.lance")
    sample_table(table, tmp_path / "out.lance", SampleConfig(0.5), lambda *told: None)
    assert read_queries(tmp_path / "out.lance") == queries
    assert PairsTable.open(tmp_path / "out.lance").metadata["licence"] == "CC BY 4.0"
    write_queries(tmp_path / "other.lance", [TableQuery("9", "桌子", "val")])
    with pytest.raises(R2D2Error, match=r"other\.queries\.jsonl exists"):
        sample_table(table, tmp_path / "other.lance", SampleConfig(0.5), lambda *told: None)
    assert not (tmp_path / "other.lance").exists()
