"""Merging loses no text and no click, wherever the parts are cut."""

import hashlib
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_logs import silent, write_bucket
from r2d2.corpus.clicks.buckets import BucketLayout, write_layout
from r2d2.corpus.clicks.checks import EXAMINED_UNIT, INLINE
from r2d2.corpus.clicks.ctr import Prior, smoothed
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.clicks.unite import MERGE_COLUMNS, UNITED_IMAGES, unite
from r2d2.corpus.config import RankConfig
from r2d2.corpus.rows import (
    IMAGE_COLUMNS,
    IMAGES,
    PAIR_COLUMNS,
    PAIRS,
    part_file,
    part_range,
    parts_of,
    read_images,
    read_pairs,
    write_images,
    write_rows,
)
from r2d2.corpus.runner import Runner

IDS = [hashlib.sha256(bytes([n])).hexdigest()[:32] for n in range(12)]
PRIOR = Prior(1.0, 20.0)


def lay_out(folder, pairs, images, parts):
    """Stage folders with these rows, cut into parts."""
    for n in range(parts):
        first, last = part_range(n, parts)
        here = sorted(row for row in pairs if first <= row[0] < last)
        rows = [dict(zip(PAIR_COLUMNS.names, row, strict=True)) for row in here]
        write_rows(part_file(folder / "p", PAIRS, n), pa.Table.from_pylist(rows, PAIR_COLUMNS))
        there = sorted(i for i in images if first <= i < last)
        some = [{"image_id": i, "final_id": i[::-1], "image": i.encode()} for i in there]
        schema = pa.schema(
            [
                *IMAGE_COLUMNS,
                ("final_id", pa.string()),
                ("width", pa.int32()),
                ("height", pa.int32()),
            ]
        )
        write_images(part_file(folder / "i", IMAGES, n), schema, some)


def write_sums(folder, pairs, buckets):
    """What was summed before anything was ranked."""
    for n in range(buckets):
        first, last = part_range(n, buckets)
        rows = [
            (INLINE + row[0], TEXTS.index(row[2]), row[1], row[3], row[4],
             None if row[5] is None else int(row[5] * EXAMINED_UNIT))
            for row in pairs if first <= row[0] < last
        ]  # fmt: skip
        write_bucket(folder, n, rows)
    write_layout(folder, BucketLayout((0,) * buckets, buckets))


def run(folder, pairs, images, groups, parts, most=99, prior=PRIOR, unranked=None, least=0.0):
    """`unranked`: pairs of the log beside those that ranked; None: they are not looked for."""
    lay_out(folder, pairs, images, parts)
    if unranked is not None:
        write_sums(folder / "log", [*pairs, *unranked], parts)
    merged = [
        {"image_id": i, "into": min(group), "picture": max(group), "final_id": f"f{min(group)}"}
        for group in groups
        for i in group
    ]
    merge = folder / "merge.parquet"
    rows = sorted(merged, key=lambda row: row["image_id"])
    write_rows(merge, pa.Table.from_pylist(rows, MERGE_COLUMNS))
    counts = unite(
        folder / "p", folder / "i", merge if groups else None, folder / "o",
        RankConfig(max_queries=most), prior, Runner(), silent,
        summed=None if unranked is None else folder / "log", least=least,
    )  # fmt: skip
    out = folder / "o"
    found_pairs = [
        row for n in range(parts) for row in read_pairs(part_file(out, PAIRS, n)).to_pylist()
    ]
    found_images = [row for n in range(parts) for row in read_images(part_file(out, IMAGES, n))]
    return counts, found_pairs, found_images


pair_rows = st.lists(
    st.tuples(
        st.sampled_from(IDS), st.sampled_from(["猫", "狗", "鸟"]), st.just("query"),
        st.integers(0, 5), st.integers(5, 20), st.just(10.0), st.none(),
    ),
    min_size=1, max_size=30, unique_by=lambda row: row[:3],
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(pair_rows, st.sets(st.sampled_from(IDS), min_size=1), st.integers(1, 3), st.randoms())
def test_what_did_not_rank_counts_where_it_ranked_elsewhere(pairs, images, parts, random):
    some = sorted(images)
    random.shuffle(some)
    groups = [some[n : n + 3] for n in range(0, len(some) // 2, 3) if len(some[n : n + 3]) > 1]
    into = {i: min(group) for group in groups for i in group}
    ranked = [row for row in pairs if random.random() < 0.5]
    unranked = [row for row in pairs if row not in ranked]
    kept = {(into.get(row[0], row[0]), row[1]) for row in ranked if row[0] in images}
    expected = dict.fromkeys(kept, (0, 0))
    for image_id, text, _, clicks, impressions, _, _ in pairs:
        key = (into.get(image_id, image_id), text)
        # an image that is one with no other was ranked by all of its counts
        mine = image_id in into or any(row[:2] == (image_id, text) for row in ranked)
        if key in kept and image_id in images and mine:
            expected[key] = (expected[key][0] + clicks, expected[key][1] + impressions)
    with tempfile.TemporaryDirectory() as folder:
        counts, found, _ = run(Path(folder), ranked, images, groups, parts, unranked=unranked)
    assert {(r["image_id"], r["text"]): (r["clicks"], r["impressions"]) for r in found} == expected
    assert (len(found), counts[0].kept) == (len(expected), len(expected))
    assert counts[0].seen == len(ranked)


def test_what_ranks_no_more_once_merged_is_dropped_with_what_lived_by_it(tmp_path):
    a, b, c = sorted(IDS[:3])
    pairs = [
        (a, "猫", "query", 10, 100, 100.0, 0.1), (c, "猫", "query", 10, 100, 100.0, 0.1),
        (a, "标题", "title", None, None, None, None), (c, "标题", "title", None, None, None, None),
    ]  # fmt: skip
    more = [(b, "猫", "query", 0, 300, 300.0, None), (b, "狗", "query", 50, 100, 100.0, None)]
    least = float(smoothed(10.0, 100.0, PRIOR))
    counts, found, files = run(
        tmp_path, pairs, {a, b, c}, [[a, b]], 2, unranked=more, least=float(np.float32(least))
    )
    assert {(row["image_id"], row["text"]) for row in found} == {(c, "猫"), (c, "标题")}
    assert [row["image_id"] for row in files] == [c]
    assert counts[0].dropped == {"too low a rate once merged": 1, "no query left": 1}


@settings(max_examples=30, deadline=None)
@given(pair_rows, st.sets(st.sampled_from(IDS), min_size=1), st.integers(1, 5), st.randoms())
def test_nothing_is_lost(pairs, images, parts, random):
    some = sorted(images)
    random.shuffle(some)
    groups = [some[n : n + 3] for n in range(0, len(some) // 2, 3) if len(some[n : n + 3]) > 1]
    into = {i: min(group) for group in groups for i in group}
    expected = defaultdict(lambda: [0, 0])
    for image_id, text, _, clicks, impressions, _, _ in pairs:
        if image_id in images:
            key = (into.get(image_id, image_id), text)
            expected[key][0] += clicks
            expected[key][1] += impressions
    with tempfile.TemporaryDirectory() as folder:
        counts, found, files = run(Path(folder), pairs, images, groups, parts)
    assert {(r["image_id"], r["text"]): [r["clicks"], r["impressions"]] for r in found} == expected
    assert len(found) == len(expected)
    texts, pictures = counts
    assert texts.seen == len([p for p in pairs if p[0] not in into or p[0] in images])
    assert texts.kept == len(found)
    # every image with a text, once, sorted, with the file that stands for its group
    assert [row["image_id"] for row in files] == sorted({key[0] for key in expected})
    stands = {min(group): max(group) for group in groups}
    for row in files:
        grouped = row["image_id"] in stands
        assert row["final_id"] == (f"f{row['image_id']}" if grouped else row["image_id"][::-1])
        assert row["image"] == stands.get(row["image_id"], row["image_id"]).encode()
    leavers = sum(image_id != least for image_id, least in into.items())
    assert pictures.seen == len(images) - leavers  # counted where they were found
    assert pictures.kept == len(files)


def test_rates_are_smoothed_anew_and_the_best_queries_stay(tmp_path):
    a, b = sorted(IDS[:2])
    pairs = [
        (a, "猫", "query", 10, 100, 100.0, 0.1), (b, "猫", "query", 30, 100, 80.0, 0.3),
        (b, "狗", "query", 1, 100, 100.0, 0.01), (b, "鸟", "query", 60, 100, 100.0, 0.5),
        (b, "标题", "title", None, None, None, None),
    ]  # fmt: skip
    counts, found, _ = run(tmp_path, pairs, {a, b}, [[a, b]], 3, most=2)
    rates = {row["text"]: row["ctr"] for row in found}
    assert rates["猫"] == pytest.approx(float(smoothed(40.0, 180.0, PRIOR)))
    assert rates["标题"] is None
    assert set(rates) == {"猫", "鸟", "标题"}
    assert counts[0].dropped == {"the same text of one image": 1, "beyond max_queries": 1}
    assert (counts[1].seen, counts[1].dropped) == (1, {})


def test_without_ranking_there_is_no_rate(tmp_path):
    rows = [(IDS[0], "猫", "query", 1, 2, 2.0, None)]
    _, found, _ = run(tmp_path, rows, {IDS[0]}, [], 1, prior=None)
    assert found[0]["ctr"] is None


@given(st.integers(1, 50), st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=20))
def test_an_id_lies_in_the_part_that_holds_its_range(parts, seeds):
    ids = [hashlib.sha256(seed).hexdigest()[:32] for seed in seeds]
    for image_id, part in zip(ids, parts_of(pa.array(ids), parts).tolist(), strict=True):
        first, last = part_range(part, parts)
        assert first <= image_id < last


def test_columns_are_those_of_the_next_stage():
    assert set(UNITED_IMAGES.names) >= {"image_id", "image", "width", "height"}
