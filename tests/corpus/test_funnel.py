"""The funnel adds up: rows, images, texts, clicks and impressions, within stages and between."""

import json
import re
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.corpus_builds import DIRTY, built, jpeg, scene
from r2d2.corpus.funnel import Flow, StageCount, StageCounter, add_counts
from r2d2.corpus.rows import DROPPED, DroppedFile
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable

PICTURES = [jpeg(scene(n, (200, 150))) for n in range(3)]
PICTURES += [jpeg(scene(n, (160, 120)), 60) for n in range(2)]  # smaller copies of two of them
PICTURES += [jpeg(scene(7, (60, 80))), b"not a picture", None]
QUERIES = ["红色的汽车", "紅色的汽車", "雪地里的小狗", "加微信abc12345", "山间的湖泊", None]

ROWS = st.lists(
    st.tuples(
        st.integers(0, len(PICTURES) - 1),
        st.sampled_from(QUERIES),
        st.one_of(st.integers(1, 1000), st.sampled_from([None, -1])),
        st.one_of(st.integers(0, 30), st.sampled_from([None, -1])),
        st.sampled_from([None, "一只小狗", "澳门六合彩开奖"]),
    ),
    max_size=40,
)
ANCHOR = (PICTURES[0], "红色的汽车", 100, 50, None)  # so that something is left
CHANGES = [
    (),
    ("rank.copies=true",),
    ("rank.threshold=0.1",),
    ("rank.max_queries=1",),
    ("sample.share=0.5",),
    ("dedup.radius=null", "dedup.exact=false"),
]


def of_unit(counts, *units):
    return [count for count in counts if count.unit in units]


def check_chain(counts):
    """What a stage keeps is what the next one of its unit sees."""
    for before, after in pairwise(of_unit(counts, "images")):
        assert before.kept == after.seen, (before, after)
    for before, after in pairwise(of_unit(counts, "pairs", "texts")):
        assert before.kept == after.seen, (before, after)
    for name in ("clicks", "impressions"):
        flowing = [count for count in counts if count.flows]
        assert {count.stage for count in flowing} == {count.stage for count in counts}
        for before, after in pairwise(flowing):
            assert before.flows[name].kept == after.flows[name].seen, (name, before, after)


def amounts(rows):
    """Clicks and impressions of the log, of the numbers that are counts."""
    clicks = sum(row[3] for row in rows if row[3] is not None and row[3] >= 0)
    shown = sum(row[2] for row in rows if row[2] is not None and row[2] >= 0)
    return {"clicks": clicks, "impressions": shown}


def totals(path):
    table = PairsTable.open(path)
    pairs = table.take(table.rows(), ["clicks", "impressions", "texts"])
    return {
        "clicks": sum(pair.clicks or 0 for pair in pairs),
        "impressions": sum(pair.impressions or 0 for pair in pairs),
    }


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # to shrink would take minutes
)
@given(ROWS, st.sampled_from(CHANGES))
def test_every_stage_adds_up(tmp_path_factory, rows, changes):
    rows = [ANCHOR, *((PICTURES[row[0]], *row[1:]) for row in rows)]
    folder = tmp_path_factory.mktemp("funnel")
    failure = ""
    try:
        found = built(folder, rows, changes)
    except R2D2Error as error:
        failure = str(error)
    if failure:  # a sample of few images, or a cut by rate of what copies were shown for
        assert failure.startswith("nothing is left to write")
        assert changes in (("sample.share=0.5",), ("rank.threshold=0.1",))
        return
    counts = [count for stage in found.stages for count in stage.counts]
    assert counts[0].seen == len(rows)
    first, last = counts[0].flows, [count for count in counts if count.flows][-1].flows
    assert {name: flow.seen for name, flow in first.items()} == amounts(rows)
    assert {name: flow.kept for name, flow in last.items()} == totals(found.table)
    assert of_unit(counts, "images")[-1].kept == found.images
    check_chain(counts)


def test_a_duplicate_is_counted_once(tmp_path):
    found = built(tmp_path)
    counts = [count for stage in found.stages for count in stage.counts]
    check_chain(counts)
    named = {(count.stage, count.unit): count for count in counts}
    assert named["de-duplicate", "images"].dropped == {"within 4 bits": 1}
    assert named["unite", "images"].dropped == {}


def test_the_report_shows_the_sums_of_every_stage(tmp_path):
    found = built(tmp_path)
    counts = [count for stage in found.stages for count in stage.counts]
    page = found.report.read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for count in counts:
        for end in ("seen", "kept") if count.flows else ():
            clicks, shown = (getattr(count.flows[n], end) for n in ("clicks", "impressions"))
            assert f"{clicks:,} clicks of {shown:,}" in text, count
    funnel = json.loads(found.report.with_suffix(".json").read_text(encoding="utf-8"))["funnel"]
    assert funnel[0]["flows"]["clicks"]["seen"] == amounts(DIRTY)["clicks"]
    assert "clicks of" in found.card.read_text(encoding="utf-8")


def test_a_crawl_has_no_sums(tmp_path):
    rows = [(PICTURES[n], None, None, None, f"第{n}张照片里的风景") for n in range(3)]
    found = built(tmp_path, rows, ("rank.enabled=false", "log.clicks=none", "log.query=none"))
    assert not any(count.flows for stage in found.stages for count in stage.counts)
    assert not re.search(r"[0-9] clicks of", found.report.read_text(encoding="utf-8"))


def test_a_flow_that_loses_something_is_an_error():
    with pytest.raises(ValueError, match=r"rank: 10 clicks \+ 2 added, but 7 kept"):
        StageCount("rank", "pairs", 1, 1, flows={"clicks": Flow(10, 7, {"min_clicks": 3}, 2)})
    parts = [
        StageCount("rank", "pairs", 2, 1, {"x": 1}, flows={"clicks": Flow(n, 1, {"x": n - 1})})
        for n in (3, 5)
    ]
    whole = add_counts([*parts, StageCount("rank", "pairs", 0, 0)])
    assert whole.flows == {"clicks": Flow(8, 2, {"x": 6})}
    assert StageCount.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


def test_a_tally_counts_as_add_counts_does(tmp_path):
    """Item after item or part after part; and what it drops is written where that is asked for."""
    items = [(None if n % 3 else f"rule {n % 2}", {"clicks": n, "image_id": f"{n}"}) for n in
             range(40_000)]  # fmt: skip
    (tmp_path / DROPPED).mkdir()
    with DroppedFile(tmp_path, "own", "images", "0") as file:
        whole, parts = (
            StageCounter("own", "images", file),
            [StageCounter("own", "images") for _ in range(3)],
        )
        for n, (rule, row) in enumerate(items):
            whole.add(rule, row, row["image_id"], reason="why")
            parts[n * 3 // len(items)].add(rule, row, row["image_id"])
    count = whole.count()
    assert count == add_counts(part.count() for part in parts)
    assert count.dropped == {"rule 0": 6667, "rule 1": 6667}
    assert count.examples["rule 1"] == ("3", "9", "15", "21", "27", "33", "39", "45")
    assert count.flows["clicks"].kept == sum(n for n in range(40_000) if n % 3)
    rows = pq.read_table(tmp_path / DROPPED / "images-0.parquet").to_pylist()
    expected = [(rule, row["image_id"], row["clicks"]) for rule, row in items if rule]
    assert [(row["rule"], row["image_id"], row["clicks"]) for row in rows] == expected
    assert {(row["stage"], row["unit"], row["reason"]) for row in rows} == {
        ("own", "images", "why")
    }


def test_examples_do_not_depend_on_the_order():
    counts = []
    for order in (range(100), range(99, -1, -1)):
        tally = StageCounter("fetch", "addresses")
        for n in order:
            tally.add("gone", {}, f"address {n}", key=f"{n:03d}")
        counts.append(tally.count())
    assert counts[0] == counts[1]
    assert counts[0].examples["gone"][0] == "address 0"


def test_what_is_not_kept_leaves_no_file(tmp_path):
    with DroppedFile(tmp_path, "own", "images", "0") as file:
        file.add("rule", {})
    (tmp_path / DROPPED).mkdir()
    with DroppedFile(tmp_path, "own", "images", "0"):
        pass

    def broken_off():
        with DroppedFile(tmp_path, "own", "images", "0") as file:
            file.add("rule", {})
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    assert [path.name for path in tmp_path.rglob("*")] == [DROPPED]
