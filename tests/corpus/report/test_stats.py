"""What a table holds in figures, against counting by hand; clusters that are plain to see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_logs import silent
from helpers.photographs import encode, noise
from r2d2.corpus.images.clusters import k_means, nearest
from r2d2.corpus.report import stats
from r2d2.corpus.report.report import write_corpus_report
from r2d2.corpus.report.stats import Histogram, table_stats
from r2d2.table import Pair, PairsTable, Text, write_table

FILE = encode(noise((120, 110)))


def table_of(path, pairs):
    write_table(path, pairs)
    return PairsTable.open(path)


def pair(n, texts, **more):
    return Pair(f"{n:032x}", FILE, tuple(texts), **{"split": "train", **more})


def test_figures_are_those_of_counting_by_hand(tmp_path):
    pairs = [
        pair(0, [Text("一只小狗", "title"), Text("小狗在雪地里", "query", 0.02, "a", 3, 100)],
             width=120, height=110, clicks=3, impressions=100, ctr=0.02),
        pair(1, [Text("小狗", "query", 0.2, "b", 9, 20)], split="val", width=60, height=600,
             clicks=9, impressions=20, ctr=0.2),
        pair(2, [Text("一只小狗", "caption")]),
    ]  # fmt: skip
    found = table_stats(table_of(tmp_path / "t.lance", pairs), silent)
    assert (found.images, found.texts, found.distinct_texts) == (3, 4, 3)
    assert found.splits == {"train": 2, "val": 1}
    assert found.sources == {"caption": 1, "query": 2, "title": 1}
    assert (found.clicks, found.impressions) == (12, 120)
    assert found.texts_an_image.counts[:2] == (2, 1)
    assert found.mean_length == pytest.approx((4 + 6 + 2 + 4) / 4)
    assert dict(zip(found.lengths.edges, found.lengths.counts, strict=True))[3] == 2
    sides = dict(zip(found.sides.edges, found.sides.counts, strict=True))
    assert (sides[0], sides[100], sum(sides.values())) == (1, 1, 2)  # 60 and 110 pixels
    assert sum(found.ctr.counts) == 2
    assert found.top_words["小狗"] == 4
    assert 0 < found.content_share < 1
    assert found.balance is None  # too few pictures to tell


@given(st.lists(st.floats(-1, 10), max_size=40), st.lists(st.floats(-1, 10), max_size=40))
@settings(max_examples=30, deadline=None)
def test_histograms_add_up(one, other):
    edges = (0, 1, 2.5, 7)
    both = Histogram.of(one, edges) + Histogram.of(other, edges)
    assert both == Histogram.of([*one, *other], edges)
    naive = [sum(max(x, 0) >= e for x in [*one, *other]) for e in edges]
    assert both.counts == tuple(a - b for a, b in zip(naive, [*naive[1:], 0], strict=True))


def test_many_distinct_texts_are_estimated(monkeypatch):
    monkeypatch.setattr(stats._DistinctTexts, "MOST", 512)
    count = stats._DistinctTexts()
    for start in range(0, 20_000, 1000):
        count.add([f"text {n}" for n in range(start, start + 1000)])
        count.add(["text 1", "text 2"])  # again
    assert abs(count.estimate() / 20_000 - 1) < 0.15


def test_balance_tells_even_from_lopsided(tmp_path):
    """By a model that tells pictures apart by their id's last digit, written into the file."""
    found = {}
    for name, draw in (("even", range(160)), ("lopsided", [n if n % 8 == 7 else 0 for n in
                                                           range(160)])):  # fmt: skip
        pairs = [
            Pair(f"{n:032x}", bytes([kind % 8]), (Text("小狗", "caption"),), "train")
            for n, kind in enumerate(draw)
        ]

        def encode_images(files):
            return np.eye(8, dtype=np.float32)[[file[0] for file in files]]

        table = table_of(tmp_path / f"{name}.lance", pairs)
        found[name] = table_stats(table, silent, encode_images, "digits").balance
    assert found["even"].features == "digits"
    assert found["even"].pictures == 160
    assert sum(found["even"].shares) == pytest.approx(1)
    assert found["lopsided"].evenness < 0.5 < found["even"].evenness
    assert found["lopsided"].largest_tenth > 0.8


def test_clusters_that_are_far_apart_are_found():
    rng = np.random.default_rng(0)
    middles = np.array([[0, 0], [100, 0], [0, 100]], np.float32)
    points = np.repeat(middles, 50, axis=0) + rng.normal(0, 1, (150, 2)).astype(np.float32)
    centres = k_means(points, 3, seed=4)
    reach = ((centres[:, None] - middles[None]) ** 2).sum(-1)
    assert sorted(reach.argmin(1).tolist()) == [0, 1, 2]
    assert reach.min(1).max() < 1
    naive = ((points[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
    assert nearest(points, centres).tolist() == naive.tolist()


def test_two_corpora_stand_beside_each_other(tmp_path):
    one = table_stats(table_of(tmp_path / "a.lance", [pair(0, [Text("小狗", "title")])]), silent)
    more = [pair(n, [Text("一只小猫", "query", 0.5)], split="val") for n in range(3)]
    other = table_stats(table_of(tmp_path / "b.lance", more), silent)
    write_corpus_report(tmp_path / "c.html", "a and b", {"a": one, "b": other})
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Words of meaning: a" in page
    assert "小猫" in page
    assert page.count("100.0%") >= 4  # shares, of splits and sources
    assert "The funnel" not in page


def test_blocks_of_rows_add_up_to_the_whole_table(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pairs = [
        pair(n, [Text(f"一只小狗{k}", "query", 0.01 * k, clicks=k, impressions=9)
                 for k in rng.integers(1, 90, rng.integers(1, 4)).tolist()],
             width=int(rng.integers(40, 900)), height=300, clicks=int(n), impressions=100)
        for n in range(60)
    ]  # fmt: skip
    table = table_of(tmp_path / "t.lance", pairs)
    whole = table_stats(table, silent)
    monkeypatch.setattr(stats, "READ_ROWS", 7)
    assert table_stats(table, silent) == whole
    monkeypatch.setattr(stats._DistinctTexts, "MOST", 20)
    some = table_stats(table, silent)
    monkeypatch.setattr(stats, "READ_ROWS", 100)
    assert some == table_stats(table, silent)
    assert some.distinct_texts != whole.distinct_texts
