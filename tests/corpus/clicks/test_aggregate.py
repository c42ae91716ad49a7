import base64
import hashlib
from collections import defaultdict
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_logs import FORMATS, read_sums, silent, write_log
from r2d2.corpus.clicks.aggregate import aggregate, block_rows
from r2d2.corpus.clicks.buckets import read_layout
from r2d2.corpus.clicks.engine import open_database
from r2d2.corpus.clicks.rank import rank
from r2d2.corpus.clicks.text_keys import KeyCollisionError, TextKeys, check_keys
from r2d2.corpus.config import RankConfig, make_corpus_config
from r2d2.corpus.rows import IMAGE_COLUMNS, IMAGES, PAIRS, part_file, part_range
from r2d2.corpus.runner import Runner
from r2d2.errors import R2D2Error

A, B, C = (f"http://host/{name}.jpg" for name in "abc")
COLUMNS = ("url", "query", "impressions", "clicks", "title")
DIRTY = [
    (A, "猫", "10", "2", "一只猫"),
    (A, " 猫\u3000", "5", "1", "一只猫"),  # the same once trimmed
    (A, "小猫", "7.0", "0", None),
    (B, "猫", "3", "3", "两只猫"),
    (C, None, None, None, "没有查询"),  # a title is enough
    (None, "猫", "1", "1", None),
    ("  ", "猫", "1", "1", None),
    (A, None, "4", "1", None),
    (A, " ", "4", "1", ""),
    (A, "猫", "-1", "0", None),
    (A, "猫", "many", "0", None),
    (A, "猫", "1.5", "0", None),
    (A, "猫", None, "0", None),
    (A, "猫", "4", "NaN", None),
    (A, "猫", "4", "5", None),
    (A, "猫", "99999999999999999999", "5", None),
]
DROPPED = {
    "no image": 2,
    "no text": 2,
    "impressions are missing": 1,
    "impressions are no count": 4,
    "clicks are no count": 1,
    "more clicks than impressions": 1,
}
# url, text, source, clicks, impressions, examined
PAIRS_LEFT = [
    (A, "小猫", "query", 0, 7, 7.0),
    (A, "猫", "query", 3, 15, 15.0),
    (A, "一只猫", "title", None, None, None),
    (B, "猫", "query", 3, 3, 3.0),
    (B, "两只猫", "title", None, None, None),
    (C, "没有查询", "title", None, None, None),
]


def image_id(name):
    return hashlib.sha256(name if isinstance(name, bytes) else name.encode()).hexdigest()[:32]


def build(logs, out, *changes, memory_bytes=10**9, workers=1):
    config = make_corpus_config("zero", settings=changes)
    (count,) = aggregate(
        [str(log) for log in logs], config, out, runner=Runner(workers),
        memory_bytes=memory_bytes, update=silent,
    )  # fmt: skip
    return count, read_sums(out), read_layout(out).parts


def images_of(out):
    """The images of a log as the next stage gets them."""
    rank(out, out / "all", RankConfig(enabled=False), runner=Runner(), update=silent)
    return pa.concat_tables([pq.read_table(p) for p in sorted((out / "all" / IMAGES).iterdir())])


def expected(rows):
    order = ["query", "title", "content", "caption"]
    known = [(image_id(row[0]), *row[1:]) for row in rows]
    return sorted(known, key=lambda row: (row[0], order.index(row[2]), row[1]))


@pytest.mark.parametrize("memory", [10**9, 2000])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_dirty_log_in_every_format_and_any_cut(tmp_path, kind, memory):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in DIRTY]
    logs = [write_log(tmp_path / "a", rows[:9], kind), write_log(tmp_path / "b", rows[9:], kind)]
    if kind in ("csv", "jsonl"):
        with Path(logs[0]).open("a") as stream:
            stream.write("broken {\n")
    count, pairs, parts = build(logs, tmp_path / "out", memory_bytes=memory)
    assert pairs == expected(PAIRS_LEFT)
    malformed = {"malformed line": 1} if kind in ("csv", "jsonl") else {}
    assert count.dropped == {**DROPPED, **malformed}
    assert (count.stage, count.unit, count.kept) == ("aggregate", "rows", 5)
    assert count.notes == {
        "pairs": 6, "images": 3, "clicks": 6, "impressions": 25, "null_clicks": 0,
    }  # fmt: skip
    assert all("a." in text or "b." in text for shown in count.examples.values() for text in shown)
    assert (parts > 1) == (memory == 2000)
    images = images_of(tmp_path / "out")
    assert images.schema.equals(IMAGE_COLUMNS)
    assert images.to_pylist() == [
        {"image_id": key, "url": url, "path": None, "image": None}
        for key, url in sorted((image_id(url), url) for url in (A, B, C))
    ]
    assert not (tmp_path / "out" / "runs").exists()


def test_what_one_statement_sums_goes_with_the_memory(tmp_path):
    rows = 600_000  # of each file; two of them are more than the least that a statement sums
    log = tmp_path / "log"
    log.mkdir()
    for n in range(2):
        number = (np.arange(rows) + n * 1000) % 20_000  # each pair is in both files
        table = pa.table(
            {
                "url": np.char.add("http://", (number % 500).astype(str)),
                "query": np.char.add("红", (number // 500).astype(str)),
                "impressions": np.full(rows, 3),
                "clicks": number % 3,
            }
        )
        pq.write_table(table, log / f"{n}.parquet")
    sums, buckets = [], []
    for memory in (10**9, 10**6):
        out = tmp_path / str(memory)
        _, pairs, _ = build([log], out, memory_bytes=memory)
        sums.append(pairs)
        buckets.append(len(read_layout(out).images))
    assert buckets == [1, 2]
    assert len(sums[0]) == 20_000
    assert sum(pair[-1] for pair in sums[0]) == 2 * 3 * rows  # impressions
    assert sums[0] == sums[1]
    assert [block_rows(memory) for memory in (1, 10**9, 10**12)] == [1 << 20, 125_000_000, 1 << 27]


def test_a_log_is_summed_in_smaller_blocks_where_the_memory_does_not_suffice(tmp_path, monkeypatch):
    monkeypatch.setattr("r2d2.corpus.clicks.aggregate.BLOCK_ROWS", (1 << 10, 1 << 27))
    log, files, rows = tmp_path / "log", 8, 10_000
    log.mkdir()
    for n in range(files):  # 48 MB of distinct addresses, which 64 MB do not hold with their keys
        numbers = [str(number) for number in range(n * rows, (n + 1) * rows)]
        urls = [f"http://host/{number}/{'x' * 600}" for number in numbers]
        table = pa.table({"url": urls, "query": numbers, "clicks": [1] * rows})
        pq.write_table(table, log / f"{n}.parquet")
    config = make_corpus_config(settings=["rank.enabled=false"])
    (count,) = aggregate(
        [str(log)], config, tmp_path / "out", runner=Runner(), memory_bytes=10**7, update=silent
    )
    assert len(read_layout(tmp_path / "out").images) > 1
    assert count.kept == count.notes["clicks"] == count.notes["images"] == files * rows


def test_parts_are_ranges_of_ids(tmp_path):
    rows = [
        {"url": f"http://{n}", "query": "q", "impressions": "1", "clicks": "1"} for n in range(50)
    ]
    _, pairs, parts = build([write_log(tmp_path / "a", rows, "csv")], tmp_path / "out", workers=4)
    assert parts == 4
    assert len(pairs) == len(images_of(tmp_path / "out")) == 50
    for part in range(parts):
        first, last = part_range(part, parts)
        for kind in (PAIRS, IMAGES):
            ids = pq.read_table(part_file(tmp_path / "out" / "all", kind, part))[
                "image_id"
            ].to_pylist()
            assert ids == sorted(ids)
            assert all(first <= key < last for key in ids)


log_rows = st.lists(
    st.tuples(
        st.sampled_from([A, B, C, None]),
        st.sampled_from(["猫", "狗", " 猫", "", None]),
        st.integers(-1, 9),
        st.integers(-1, 9),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=40,
)


@given(log_rows, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_sums_are_those_of_the_naive_twin_in_any_order(tmp_path_factory, rows, files, random):
    folder = tmp_path_factory.mktemp("twin")
    chances = (1.0, 0.3, 0.1)
    sums = defaultdict(lambda: [0, 0, 0.0])
    for url, query, impressions, clicks, position in rows:
        text = (query or "").strip()
        if url and text and 0 <= clicks <= impressions and position >= 1:
            found = sums[url, text]
            found[0] += clicks
            found[1] += impressions
            found[2] += impressions * chances[min(position, 3) - 1]
    names = ("url", "query", "impressions", "clicks", "position")
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    random.shuffle(rows)
    types = dict.fromkeys(names[2:], pa.int64())
    logs = [
        write_log(folder / str(n), rows[n::files], "parquet", types)
        for n in range(files)
        if rows[n::files]
    ]
    settings = ["rank.examination=[1.0, 0.3, 0.1]", "rank.enabled=false"]
    count, pairs, _ = build(logs, folder / "out", *settings, memory_bytes=3000)
    assert count.seen == len(rows)
    found = {(row[0], row[1]): row[3:] for row in pairs}
    assert found.keys() == {(image_id(url), text) for url, text in sums}
    for (url, text), (clicks, impressions, examined) in sums.items():
        assert found[image_id(url), text][:2] == (clicks, impressions)
        assert found[image_id(url), text][2] == pytest.approx(examined, abs=1e-5)


def test_an_address_with_spaces_around_it_is_one_image_in_every_bucket(tmp_path, monkeypatch):
    monkeypatch.setattr("r2d2.corpus.clicks.aggregate.BLOCK_ROWS", (8, 8))
    addresses = [f"http://host/{n}" for n in range(16)]
    rows = [
        {"url": url, "query": "猫", "impressions": 2, "clicks": 1}
        for address in addresses
        for url in (address, f" {address}\u3000")
    ]
    types = {"impressions": pa.int64(), "clicks": pa.int64()}
    logs = [write_log(tmp_path / "a", rows, "parquet", types)]
    _, pairs, _ = build(logs, tmp_path / "out", "rank.enabled=false")
    assert len(read_layout(tmp_path / "out").images) == 4
    assert pairs == expected([(url, "猫", "query", 2, 4, 4.0) for url in addresses])
    assert sorted(images_of(tmp_path / "out")["url"].to_pylist()) == sorted(addresses)


@pytest.mark.parametrize("rows_of_block", [8, 1 << 20])
def test_texts_of_one_key_are_summed_again_by_another_hash(tmp_path, monkeypatch, rows_of_block):
    monkeypatch.setattr("r2d2.corpus.clicks.aggregate.BLOCK_ROWS", (rows_of_block, rows_of_block))
    pairs = [(f"http://host/{n % 5}", f"q{n % 7}") for n in range(35)]
    types = {"impressions": pa.int64(), "clicks": pa.int64()}
    rows = [{"url": u, "query": q, "impressions": 3, "clicks": 1} for u, q in pairs]
    logs = [write_log(tmp_path / str(n), rows[n::2], "parquet", types) for n in range(2)]
    wanted = expected([(url, query, "query", 1, 3, 3.0) for url, query in pairs])
    config = make_corpus_config(settings=["rank.enabled=false"])
    for bits in (2, 64):  # two bits are four keys, so the seven texts cannot have one each
        out = tmp_path / f"out-{bits}"
        aggregate(
            logs, config, out, runner=Runner(), memory_bytes=10**9, update=silent,
            keys=TextKeys(bits=bits),
        )  # fmt: skip
        assert read_sums(out) == wanted


def test_two_texts_of_one_key_and_two_keys_of_one_text_are_noticed(tmp_path):
    with open_database(tmp_path, 10**9) as base:
        base.run("CREATE TABLE good AS FROM (VALUES (1, 'a'), (2, 'b'), (3, NULL)) t(key, text)")
        check_keys(base, "good")
        for extra in ("(2, 'c')", "(4, 'b')"):
            table = f"(FROM good UNION ALL FROM (VALUES {extra}))"
            with pytest.raises(KeyCollisionError):
                check_keys(base, table)


def test_images_inline_are_known_by_their_bytes_and_kept_once(tmp_path):
    data = [b"first" * 10, b"second" * 10]
    rows = [
        {"image": data[0], "url": "http://b", "query": "猫", "clicks": 1},
        {"image": data[0], "url": "http://a", "query": "猫", "clicks": 0},
        {"image": data[1], "url": None, "query": "狗", "clicks": 1},
        {"image": None, "url": "http://a", "query": "狗", "clicks": 1},
        {"image": b"", "url": None, "query": "狗", "clicks": 1},
    ]
    types = {"image": pa.binary(), "clicks": pa.int32()}
    count, pairs, _ = build([write_log(tmp_path / "a", rows, "parquet", types)], tmp_path / "p")
    assert count.dropped == {"no image": 1}
    assert pairs == expected(
        [
            (data[0], "猫", "query", 1, 2, 2.0),  # one impression a row where there is no column
            (data[1], "狗", "query", 1, 1, 1.0),
            ("http://a", "狗", "query", 1, 1, 1.0),
        ]
    )
    images = {row["image_id"]: (row["url"], row["image"])
              for row in images_of(tmp_path / "p").to_pylist()}  # fmt: skip
    assert images == {
        image_id(data[0]): ("http://a", data[0]),  # the least address
        image_id(data[1]): (None, data[1]),
        image_id("http://a"): ("http://a", None),
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_images_as_base64_are_those_of_their_bytes_in_every_format(tmp_path, kind):
    data = [bytes(range(256)), b"second" * 10]
    cells = [
        base64.b64encode(data[0]),
        base64.encodebytes(data[0]),  # in lines
        base64.urlsafe_b64encode(data[0]).rstrip(b"="),
        base64.b64encode(data[1]),
        b"",
        b"%%% no base64",
    ]
    rows = [
        {"image": cell.decode(), "url": A, "query": "猫", "clicks": "1"} for cell in cells
    ]  # fmt: skip
    count, pairs, _ = build([write_log(tmp_path / "log", rows, kind)], tmp_path / "out")
    assert count.dropped == {"image is no base64": 1}
    assert "url=" in count.examples["image is no base64"][0]
    assert pairs == expected(
        [(data[0], "猫", "query", 3, 3, 3.0), (data[1], "猫", "query", 1, 1, 1.0),
         (A, "猫", "query", 1, 1, 1.0)]
    )  # fmt: skip
    images = {row["image_id"]: row["image"] for row in images_of(tmp_path / "out").to_pylist()}
    assert images == {image_id(data[0]): data[0], image_id(data[1]): data[1], image_id(A): None}


def test_an_image_of_several_logs_has_the_least_of_its_addresses(tmp_path):
    types = {"image": pa.binary(), "clicks": pa.int32()}
    logs = [
        write_log(
            tmp_path / f"{number}",
            [{"image": b"same", "url": url, "query": "q", "clicks": 1}],
            "parquet",
            types,
        )
        for number, url in enumerate(("http://b", None, "http://a", "http://c"))
    ]
    build(logs, tmp_path / "out")
    assert images_of(tmp_path / "out")["url"].to_pylist() == ["http://a"]


@pytest.mark.parametrize(
    ("impressions", "good"),
    [
        (pa.array([2.0, 1.5, -1.0, float("nan"), float("inf"), 1e30, None]), 1),
        (pa.array([2, -1, None], pa.int32()), 1),
        (pa.array([2, 2**63, 2**40, None], pa.uint64()), 1),
        (pa.array(["2.00", "2.50", None]).cast(pa.decimal128(10, 2)), 1),
        (pa.array(["2", "two", None]).dictionary_encode(), 1),
        (pa.array(["0.2E+1", "25e-1", "1e99", "e1", None]), 1),  # as Spark and Excel write numbers
        (pa.nulls(1), 0),
    ],
)
def test_counts_of_any_type(tmp_path, impressions, good):
    count = len(impressions)
    table = pa.table({"url": [A] * count, "query": ["q"] * count, "impressions": impressions,
                      "clicks": [1] * count})  # fmt: skip
    pq.write_table(table, tmp_path / "log.parquet")
    found, pairs, _ = build([tmp_path / "log.parquet"], tmp_path / "out", "rank.enabled=false")
    assert found.kept == good
    wrong = {"impressions are missing": 1, "impressions are no count": count - good - 1}
    assert found.dropped == {reason: rows for reason, rows in wrong.items() if rows}
    assert [row[4] for row in pairs] == [2] * good


def test_groups_of_images_are_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("r2d2.corpus.rows.GROUP_BYTES", 3000)
    rows = [{"image": bytes([n]) * 1000, "query": "q", "clicks": 1} for n in range(7)]
    types = {"image": pa.binary(), "clicks": pa.int32()}
    build([write_log(tmp_path / "a", rows, "parquet", types)], tmp_path / "out")
    images_of(tmp_path / "out")
    file = pq.ParquetFile(part_file(tmp_path / "out" / "all", IMAGES, 0))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 2, 2, 1]


def test_paths_belong_to_the_folder_of_their_log(tmp_path):
    logs = []
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        rows = [{"path": "./1.jpg", "query": "q", "clicks": "1"}]
        logs.append(write_log(tmp_path / name / "log", rows, "csv"))
    _, pairs, _ = build(logs, tmp_path / "both")
    keys = {image_id(str(tmp_path / name / "1.jpg")) for name in ("x", "y")}
    assert {row[0] for row in pairs} == keys
    paths = images_of(tmp_path / "both")["path"].to_pylist()
    assert {Path(path).resolve() for path in paths} == {
        tmp_path / "x" / "1.jpg",
        tmp_path / "y" / "1.jpg",
    }
    _, pairs, _ = build(logs[:1], tmp_path / "one")
    assert [row[0] for row in pairs] == [image_id(str(tmp_path / "x/1.jpg"))]


def test_a_crawl_has_no_counts(tmp_path):
    rows = [
        {"url": A, "caption": "猫", "query": "小猫"},
        {"url": A, "caption": "猫", "query": None},
    ]
    log = write_log(tmp_path / "a", rows, "parquet")
    count, pairs, _ = build([log], tmp_path / "out", "rank.enabled=false")
    nothing = (None, None, None)
    assert pairs == expected([(A, "小猫", "query", *nothing), (A, "猫", "caption", *nothing)])
    assert count.notes["clicks"] == 0


def test_text_that_is_no_utf8_is_counted(tmp_path):
    table = pa.table(
        {
            "url": pa.array([b"http://a", b"http://b", b"\xff"]),
            "query": pa.array([b"\xe7\x8c\xab", b"\xff\xfe\x81", b"q"]),
            "clicks": [1, 1, 1],
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    count, pairs, _ = build([tmp_path / "log.parquet"], tmp_path / "out")
    assert count.dropped == {"not UTF-8": 2}
    assert [row[1] for row in pairs] == ["猫"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("change", ["rank.enabled=true", "rank.enabled=false"])
def test_logs_of_names_alone_stop_the_build(tmp_path, caplog, kind, change):
    names = {"url": A, "query": "猫", "impressions": "3", "clicks": "1"}
    full = write_log(tmp_path / "full", [names], kind)
    empty = tmp_path / f"empty.{kind}"
    if kind == "csv":
        empty.write_text(",".join(names) + "\n")
    elif kind == "jsonl":
        empty.write_text("\n\n")
    else:
        table = pa.table({name: pa.array([], pa.string()) for name in names})
        write = pq.write_table if kind == "parquet" else lance.write_dataset
        write(table, empty)
    said = r"logs (name their columns and )?hold no rows? .*empty\."
    with pytest.raises(R2D2Error, match=said) as caught:
        build([str(empty)], tmp_path / "out", change)
    assert "click" not in str(caught.value)
    count, _, _ = build([full, str(empty)], tmp_path / "both", change)
    assert count.kept == 1
    if kind in ("csv", "parquet"):
        assert f"1 of 2 logs hold no row: {empty}" in caplog.text


def test_a_log_without_a_row_that_can_be_used_stops_the_build(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("url,query,impressions,clicks\nhttp://a,cat\n,cat,3,1\n")
    said = r"not one of 2 rows of the logs can be used \(malformed line: 1, .*log\.csv.*mend"
    with pytest.raises(R2D2Error, match=said):
        build([str(log)], tmp_path / "out")


def test_logs_without_a_click_stop_the_build(tmp_path):
    rows = [{"url": A, "query": "猫", "impressions": "3", "clicks": "0"}]
    log = write_log(tmp_path / "log", rows, "csv")
    with pytest.raises(R2D2Error, match=r"no click in 1 rows.*rank\.enabled=false"):
        build([log], tmp_path / "out")
    assert build([log], tmp_path / "out", "rank.enabled=false")[0].kept == 1


class Stopped(Exception):
    pass


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_stage_goes_on(tmp_path, workers):
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in DIRTY]
    kinds = ("parquet", "csv", "jsonl")
    logs = [write_log(tmp_path / kind, rows[n::3], kind) for n, kind in enumerate(kinds)]
    whole, pairs, _ = build(logs, tmp_path / "whole", memory_bytes=2000, workers=workers)
    out, config = tmp_path / "out", make_corpus_config("zero")
    written = {}
    for stop in range(2, 7):  # one call at the start of each step, one after each job
        calls = iter(range(stop))

        def update(*_, calls=calls):
            if next(calls, None) is None:
                raise Stopped

        with pytest.raises(Stopped):
            aggregate(logs, config, out, runner=Runner(workers), memory_bytes=2000, update=update)
        now = {path.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*.json")}
        assert now.items() >= written.items()  # what was done is not done again
        written = now
    assert len(written) > len(logs)
    count, found, _ = build(logs, out, memory_bytes=2000, workers=workers)
    assert count == whole
    assert found == pairs


def test_runs_of_other_settings_are_not_used(tmp_path):
    rows = [{"url": A, "query": "猫", "impressions": "4", "clicks": "1", "position": "2"}]
    log = write_log(tmp_path / "log", rows, "csv")

    def update(what, done, total):
        if what == "summing up" and done == total:
            raise Stopped

    with pytest.raises(Stopped):
        aggregate(
            [log], make_corpus_config("zero"), tmp_path / "out", runner=Runner(),
            memory_bytes=10**9, update=update,
        )  # fmt: skip
    assert len(list((tmp_path / "out" / "runs").glob("*.json"))) == 3
    _, pairs, _ = build([log], tmp_path / "out", "rank.examination=[1, 0.5]")
    assert [row[5] for row in pairs] == [2.0]


def test_threads_give_the_same(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"url": f"http://{rng.integers(40)}", "query": f"q{rng.integers(9)}", "clicks": 1}
        for _ in range(300)
    ]
    types = {"clicks": pa.int64()}
    logs = [write_log(tmp_path / str(n), rows[n::4], "parquet", types) for n in range(4)]
    one = build(logs, tmp_path / "one", memory_bytes=20_000)
    two = build(logs, tmp_path / "two", memory_bytes=40_000, workers=2)
    assert one[0] == two[0]
    assert one[1] == two[1]


@pytest.mark.parametrize("kind", FORMATS)
def test_texts_are_checked_alike_before_and_after_they_are_grouped(tmp_path, kind):
    """A log of addresses and queries alone takes another statement than one with titles."""
    names = ("url", "query", "impressions", "clicks")
    more = [
        (A, "小\ufffd狗", "9", "many", None),  # of two reasons the first one counts
        ("http://\ufffd", None, "9", "1", None),
        (" " + B + "\t", "NULL", "-1", "1", None),
        (" " + B + "\t", "猫 ", "2", None, None),
        ("nan", "null", "x", "1", None),
    ]
    rows = [*DIRTY, *more]
    whole, bare = (
        [dict(zip(fields, row, strict=False)) for row in rows if row[1] or row[4] is None]
        for fields in (COLUMNS, names)
    )
    for row in whole:
        row["title"] = None
    counts, sums = zip(
        *(
            build([write_log(tmp_path / name, some, kind)], tmp_path / f"out-{name}")[:2]
            for name, some in (("whole", whole), ("bare", bare))
        ),
        strict=True,
    )
    assert sums[0] == sums[1]
    assert (image_id(B), "猫", 3, 5) in [(*row[:2], *row[3:5]) for row in sums[0]]  # 3 and 2
    assert counts[0].dropped == counts[1].dropped
    assert counts[0].dropped.get("not UTF-8", 0) == (2 if kind in ("parquet", "lance") else 0)
    assert counts[0].flows == counts[1].flows
    assert (counts[0].kept, counts[0].notes) == (counts[1].kept, counts[1].notes)


@pytest.mark.parametrize("shown", [1, 0, None])
@pytest.mark.parametrize("extra", [{}, {"position": 1}])
def test_a_row_without_text_is_counted_though_all_numbers_are_sound(tmp_path, shown, extra):
    rows = [
        {"url": A, "query": "猫", "impressions": 5, "clicks": 2, **extra},
        {"url": A, "query": "猫", "impressions": 1, "clicks": None, **extra},
        {"url": A, "query": " ", "impressions": shown, "clicks": 0, **extra},
    ]
    if shown is None:  # a log in which each row is one impression
        rows = [{k: v for k, v in row.items() if k != "impressions"} for row in rows]
        rows[0]["clicks"] = 1
    types = dict.fromkeys(("impressions", "clicks", "position"), pa.int64())
    log = write_log(tmp_path / "a", rows, "parquet", types)
    count, pairs, _ = build([log], tmp_path / "out")
    assert (count.seen, count.kept, count.dropped) == (3, 2, {"no text": 1})
    assert count.notes["null_clicks"] == 1
    impressions = 2 if shown is None else 6
    assert [pair[1:5] for pair in pairs] == [("猫", "query", rows[0]["clicks"], impressions)]
