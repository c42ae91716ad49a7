"""A whole build: a small log with every kind of dirt ends in the rows and counts that it should."""

import csv
import io
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.calls import cut_at, watched
from helpers.cli import call_cli
from helpers.corpus_builds import (
    DIRTY,
    NO_DEDUP,
    SCENES,
    SETTINGS,
    TINTED,
    Colours,
    built,
    jpeg,
    png,
    scene,
    write_log,
)
from r2d2.commands.corpus import size
from r2d2.corpus import output
from r2d2.corpus.build import build_corpus
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.rank import rank
from r2d2.corpus.clicks.unite import unite
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.output import write_corpus
from r2d2.corpus.report.finish import left_aside
from r2d2.data.emoji import emoji_pairs
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable, Text, join_shards, write_table

DATA = Path(__file__).parents[2] / "../shared/data"
PHOTOGRAPHS = DATA / "flickr8k-cn/val.parquet"
EMOJI = DATA / "emoji-zh/keywords.parquet"


def contents(path):
    """What a table holds, pictures by size."""
    table = PairsTable.open(path)
    return {
        (pair.width, pair.height, pair.split): sorted(
            (t.source, t.text, t.clicks, t.impressions) for t in pair.texts
        )
        for pair in table.take(table.rows())
    }


def texts_of(path):
    """What each picture of a table was shown for, sorted."""
    table = PairsTable.open(path)
    pairs = table.take(table.rows())
    return sorted(sorted((t.text, t.clicks, t.impressions) for t in p.texts) for p in pairs)


EXPECTED = [
    [("query", "红色的汽车", 500, 1500), ("query", "蓝天白云", 2, 1000),
     ("title", "一辆红色的汽车", None, None)],
    [("query", "小狗在奔跑", 20, 50), ("query", "雪地里的小狗", 100, 500),
     ("title", "一只小狗", None, None)],
    [("title", "山间的湖泊", None, None)],
]  # fmt: skip


def test_a_dirty_log_ends_in_the_rows_it_should(tmp_path):
    found = built(tmp_path)
    table = PairsTable.open(found.table)
    pairs = table.take(table.rows())
    texts = sorted(
        sorted((t.source, t.text, t.clicks, t.impressions) for t in pair.texts) for pair in pairs
    )
    assert texts == sorted(EXPECTED)
    assert {(pair.width, pair.height) for pair in pairs} == {(200, 150)}  # the largest copy is kept
    assert {pair.image for pair in pairs} == {SCENES[0], SCENES[1], SCENES[3]}
    counts = {(c.stage, c.unit): c for stage in found.stages for c in stage.counts}
    # 17 rows: two with impossible counts, one without a query, one without an image
    assert counts["aggregate", "rows"].seen == 17
    assert sum(counts["aggregate", "rows"].dropped.values()) == 4
    assert counts["rank", "pairs"].dropped == {"min_clicks": 1}
    assert counts["text filter", "texts"].dropped == {"contacts": 1, "words: gambling": 1}
    assert counts["text filter", "images"].dropped == {"no text left": 1}
    assert counts["image filter", "images"].dropped == {
        "unreadable": 1, "near blank": 1, "too small": 1, "too long": 1,
    }  # fmt: skip
    assert counts["de-duplicate", "images"].dropped == {"within 4 bits": 1}
    assert counts["unite", "texts"].dropped == {"its image was dropped": 4}
    assert (found.images, found.texts) == (3, 7)


def test_a_smoothed_rate_orders_and_weighs(tmp_path):
    found = built(tmp_path)
    table = PairsTable.open(found.table)
    pair = next(p for p in table.take(table.rows()) if p.image == SCENES[0])
    weights = {t.text: t.weight for t in pair.texts}
    assert weights["红色的汽车"] > 20 * weights["蓝天白云"] > 0
    assert weights["一辆红色的汽车"] == 1.0
    assert (pair.clicks, pair.impressions) == (502, 2500)
    assert weights["蓝天白云"] < pair.ctr < weights["红色的汽车"]
    assert len({t.text_id for t in pair.texts}) == 3


def test_spellings_add_up_before_anything_is_ranked(tmp_path):
    rows = [
        (SCENES[0], "紅色的汽車", 1000, 0, None),  # no click: alone it would not be ranked at all
        (SCENES[0], "红色的汽车", 100, 20, None),
        (SCENES[1], "小狗&amp;小猫", 100, 1, None),  # two clicks only together
        (SCENES[1], " 小狗\u200b&小猫", 50, 1, None),
        (SCENES[2], "❤️ iPhone 爱心 壁纸？", 100, 1, None),
        (SCENES[2], "❤ <em>iphone</em> 爱心壁纸?", 30, 1, None),
    ]
    found = built(tmp_path, rows, ("rank.min_clicks=2",))
    heart = [("❤ iphone 爱心壁纸?", 2, 130)]
    assert texts_of(found.table) == [heart, [("小狗&小猫", 2, 150)], [("红色的汽车", 20, 1100)]]
    assert found.stages[0].counts[0].notes["pairs"] == 3
    own = built(tmp_path / "own", rows, ("query.simplified=false",))
    assert texts_of(own.table) == [heart, [("小狗&小猫", 2, 150)], [("红色的汽车", 20, 100)]]


def write_copies(folder, rows):
    """A log by path; paths that start alike are copies of one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "query", "clicks", "impressions"])
        for path, *row in rows:
            (folder / path).write_bytes(SCENES[int(path[0])])
            writer.writerow([path, *row])
    return str(folder / "log.csv")


COPIES = [
    # path, query, clicks, impressions
    ("0a.jpg", "红色的汽车", 20, 100),
    ("0b.jpg", "红色的汽车", 0, 300),  # no click: it did not rank, but it was shown
    ("0b.jpg", "停着的汽车", 5, 50),
    ("0c.jpg", "红色的汽车", 10, 100),
    ("0d.jpg", "红色的汽车", 0, 400),  # its only query
    ("1a.jpg", "雪地里的小狗", 30, 100),
    ("2a.jpg", "一碗牛肉面", 0, 100),
    ("0a.jpg", "从未被点击", 0, 70),
]


@pytest.mark.parametrize("memory", [2000, 10**9])
def test_all_that_the_copies_of_a_picture_were_shown_for_counts(tmp_path, memory):
    log = write_copies(tmp_path, COPIES)

    def count(name, *settings):
        config = make_corpus_config("zero", settings=[*SETTINGS, *settings])
        found = build_corpus([log], tmp_path / name, config, memory_bytes=memory, keep_work=True)
        return texts_of(found.table), found

    dog = [("雪地里的小狗", 30, 100)]
    texts, found = count("plain.lance")
    assert texts == [[("停着的汽车", 5, 50), ("红色的汽车", 30, 500)], dog]
    table = PairsTable.open(found.table)
    weights = {t.text: t.weight for p in table.take(table.rows()) for t in p.texts}
    prior = json.loads(next(tmp_path.rglob("02-rank/prior.json")).read_text())
    rate = (30 + prior["alpha"]) / (500 + prior["alpha"] + prior["beta"])
    assert weights["红色的汽车"] == pytest.approx(rate)

    counts = [count for stage in found.stages for count in stage.counts]
    said = left_aside(make_corpus_config("zero"), counts)
    assert said.startswith("2 images, shown 500 times, have no query that ranked")  # 0d and 2a
    assert said[1:] in found.report.read_text(encoding="utf-8")
    alone = make_corpus_config("zero", settings=["dedup.exact=false", "dedup.radius=null"])
    assert not left_aside(alone, counts)

    texts, found = count("copies.lance", "rank.copies=true")
    assert "have no query that ranked" not in found.report.read_text(encoding="utf-8")
    assert texts == [[("停着的汽车", 5, 50), ("红色的汽车", 30, 900)], dog]
    counts = {(c.stage, c.unit): c for stage in found.stages for c in stage.counts}
    assert counts["de-duplicate", "images"].dropped == {"the same file": 3}
    assert counts["unite", "images"].dropped == {"no text left": 1}

    # each copy ranks by itself, their sum does not
    texts, found = count("cut.lance", "rank.threshold=0.09")
    assert texts == [[("停着的汽车", 5, 50)], dog]
    counts = {(c.stage, c.unit): c for stage in found.stages for c in stage.counts}
    assert counts["unite", "texts"].dropped["too low a rate once merged"] == 1


@pytest.mark.parametrize(("memory", "workers"), [(40_000, 1), (2_000_000_000, 2)])
def test_the_same_whatever_the_cut_and_the_workers(tmp_path, memory, workers):
    rows = [*DIRTY, *((SCENES[n % 6], f"第{n}个查询", 100 + n, n) for n in range(40))]
    rows = [(*row, None)[:5] for row in rows]
    plain = built(tmp_path / "plain", rows)
    more = {"memory_bytes": memory, "workers": workers}
    other = built(tmp_path / "other", rows[::-1], keep_work=True, **more)
    parts = list((tmp_path / "other").rglob("02-rank/pairs/part-*.parquet"))
    assert (len(parts) > 4) == (memory < 10**6)
    one, two = (PairsTable.open(b.table) for b in (plain, other))
    assert one.fingerprint == two.fingerprint
    assert [p.image for p in one.take(one.rows())] == [p.image for p in two.take(two.rows())]


def test_a_build_that_is_cut_off_goes_on(tmp_path):
    stages = (aggregate, rank, find_duplicates, unite, write_corpus)
    with watched(*stages) as calls, cut_at(unite):
        built(tmp_path)
    assert not (tmp_path / "zero.lance").exists()
    assert [call.name for call in calls] == ["aggregate", "rank", "find_duplicates", "unite"]
    with watched(*stages) as calls:
        built(tmp_path)
    assert [call.name for call in calls] == ["unite", "write_corpus"]
    assert not (tmp_path / "zero.lance.build").exists()
    whole = built(tmp_path / "whole")
    assert (
        PairsTable.open(tmp_path / "zero.lance").fingerprint
        == PairsTable.open(whole.table).fingerprint
    )


@pytest.mark.parametrize("step", [join_shards, output._swap])
def test_a_table_is_never_half_written(tmp_path, step):
    first = PairsTable.open(built(tmp_path).table).fingerprint
    change = ("dedup.radius=null",)
    with cut_at(step):
        built(tmp_path, settings=change, overwrite=True)
    with cut_at(step):
        built(tmp_path, settings=change, out="fresh.lance")
    assert PairsTable.open(tmp_path / "zero.lance").fingerprint == first
    assert not (tmp_path / "fresh.lance").exists()
    built(tmp_path, settings=change, overwrite=True)
    assert len(PairsTable.open(tmp_path / "zero.lance")) == 4
    assert not list(tmp_path.glob(".zero.lance*"))


def test_other_settings_run_anew_what_depends_on_them(tmp_path):
    built(tmp_path, keep_work=True)
    stages = (aggregate, rank, find_duplicates)
    with watched(*stages) as calls:
        built(tmp_path, settings=("dedup.radius=null",), overwrite=True, keep_work=True)
    assert [call.name for call in calls] == ["find_duplicates"]
    assert len(PairsTable.open(tmp_path / "zero.lance")) == 4
    # the log itself changed
    rows = [row for row in DIRTY if row[1] != "红色的汽车"]
    with watched(*stages) as calls:
        built(tmp_path, rows, overwrite=True)
    assert [call.name for call in calls] == ["aggregate", "rank", "find_duplicates"]


def test_a_crawl_without_clicks(tmp_path):
    rows = [{"image": SCENES[n], "caption": f"第{n}张照片里的风景"} for n in range(4)]
    (tmp_path / "crawl.parquet").parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "crawl.parquet")
    config = make_corpus_config("zero", settings=[*SETTINGS, "rank.enabled=false"])
    found = build_corpus([str(tmp_path / "crawl.parquet")], tmp_path / "c.lance", config)
    table = PairsTable.open(found.table)
    assert {t.source for p in table.take(table.rows()) for t in p.texts} == {"caption"}
    assert all(p.ctr is None and p.clicks is None for p in table.take(table.rows()))
    open_config = make_corpus_config("zero", settings=SETTINGS)  # the log has no queries
    again = build_corpus([str(tmp_path / "crawl.parquet")], tmp_path / "d.lance", open_config)
    assert PairsTable.open(again.table).fingerprint == table.fingerprint
    ranked = make_corpus_config("zero", settings=[*SETTINGS, "rank.enabled=true"])
    with pytest.raises(R2D2Error, match=r"rank\.enabled"):
        build_corpus([str(tmp_path / "crawl.parquet")], tmp_path / "e.lance", ranked)


def test_a_crawl_by_the_thresholds_of_danqing(tmp_path):
    rows = [
        (scene(0, (200, 150)), "一只棕色的小狗在雪地里奔跑"),
        (scene(1, (200, 150)), "小狗"),  # too few words
        (scene(2, (200, 150)), "很快地跑来又跑去了"),
        (scene(3, (99, 150)), "一辆红色的汽车停在路边"),
        (scene(4, (700, 200)), "一碗热气腾腾的牛肉面放在桌上"),
        (Image.fromarray(np.full((150, 200, 3), 200, np.uint8)), "一面灰色的墙上没有任何东西"),
        (scene(0, (200, 150)).rotate(180), "一只狗在白色的雪地里跑得很快"),  # of one mean colour
    ]
    crawl = pa.table({"image": [png(image) for image, _ in rows], "caption": [t for _, t in rows]})
    pq.write_table(crawl, tmp_path / "crawl.parquet")
    config = make_corpus_config("danqing", settings=["image.max_harmful=null"])
    with pytest.raises(R2D2Error, match=r"dedup\.meaning needs a model"):
        build_corpus([str(tmp_path / "crawl.parquet")], tmp_path / "d.lance", config)
    found = build_corpus(
        [str(tmp_path / "crawl.parquet")], tmp_path / "d.lance", config, model=Colours()
    )
    counts = {(c.stage, c.unit): c for stage in found.stages for c in stage.counts}
    assert counts["text filter", "texts"].dropped == {"too few words": 1, "no noun": 1}
    assert counts["image filter", "images"].dropped == {
        "too small": 1, "too long": 1, "near blank": 1,
    }  # fmt: skip
    assert sum(counts["de-duplicate", "images"].dropped.values()) == 1
    (pair,) = PairsTable.open(found.table).take([0])
    assert {text.text for text in pair.texts} == {rows[0][1], rows[6][1]}


def test_images_by_path(tmp_path):
    (tmp_path / "pictures").mkdir()
    for n in range(3):
        (tmp_path / "pictures" / f"{n}.jpg").write_bytes(SCENES[n])
    with (tmp_path / "log.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "query", "clicks", "impressions"])
        for n in range(4):  # the last is not there
            writer.writerow([f"pictures/{n}.jpg", f"第{n}张照片", 10, 100])
    config = make_corpus_config("zero", settings=SETTINGS)
    found = build_corpus([str(tmp_path / "log.csv")], tmp_path / "p.lance", config)
    assert found.images == 3
    fetch = next(stage for stage in found.stages if stage.name == "fetch")
    assert sum(fetch.counts[-1].dropped.values()) == 1


def test_shares_nest_and_keep_their_splits(tmp_path):
    rows = [(jpeg(scene(n)), f"第{n}个查询", 100, 10, None) for n in range(60)]
    splits = "sample.splits={val: 0.2, test: 0.1}"
    whole, half = (
        built(tmp_path / str(share), rows, [splits, f"sample.share={share}", *NO_DEDUP])
        for share in (1.0, 0.5)
    )
    tables = [PairsTable.open(b.table) for b in (whole, half)]
    all_of, some = ({p.image_id: p.split for p in t.take(t.rows())} for t in tables)
    assert len(all_of) == 60
    assert 18 < len(some) < 42
    assert some.items() <= all_of.items()
    assert set(all_of.values()) == {"train", "val", "test"}


def test_what_a_model_says_does_not_agree_is_dropped(tmp_path):
    settings = ("align.low=0.2", "dedup.radius=null", "image.enabled=false")
    found = built(tmp_path, TINTED, settings, model=Colours(), model_name="colours", keep_work=True)
    counts = [c for stage in found.stages if stage.name == "align" for c in stage.counts]
    assert counts[0].dropped == {"similarity too low": 1}
    assert counts[0].examples == {"similarity too low": ("蓝色的墙面",)}
    page = found.report.read_text(encoding="utf-8")
    assert "texts by cosine with their image; kept: 0.2 to any" in page
    assert "At the lower bound" in page
    dropped = page[page.index("At the lower bound") :]
    assert re.search("蓝色的墙面 <small>-?0\\.[0-9]+ dropped", dropped)
    assert re.search("绿色的草地 <small>0\\.[0-9]+ kept", dropped)
    figures = json.loads(found.report.with_suffix(".json").read_text(encoding="utf-8"))["alignment"]
    assert figures["bounds"] == {"low": 0.2, "high": None}
    assert len(figures["edges"]) == len(figures["counts"])
    assert sum(figures["counts"]) == counts[0].seen == 4
    nearest = {shown["text"]: shown for shown in figures["nearest"]["low"]}
    assert {text for text, shown in nearest.items() if not shown["kept"]} == {"蓝色的墙面"}
    assert all(shown["kept"] == (shown["similarity"] >= 0.2) for shown in nearest.values())
    assert len(nearest) == 4
    settings = ("align.high=0.5", "dedup.radius=null", "image.enabled=false")
    found = built(tmp_path / "high", TINTED, settings, model=Colours(), keep_work=True)
    counts = [c for stage in found.stages if stage.name == "align" for c in stage.counts]
    assert counts[0].dropped == {"similarity too high": 3}
    assert counts[1].dropped == {"no text left": 2}
    assert PairsTable.open(found.table).take([0])[0].texts[0].text == "蓝色的墙面"
    assert "At the upper bound" in found.report.read_text(encoding="utf-8")
    settings = ("align.low=0.2", "dedup.radius=null", "image.enabled=false")
    with pytest.raises(R2D2Error, match=r"align\.low needs a model"):
        built(tmp_path / "without", TINTED, settings)


def test_images_of_one_meaning_are_one(tmp_path):
    settings = ("dedup.meaning=0.01", "dedup.radius=null", "image.enabled=false")
    found = built(tmp_path, TINTED, settings, model=Colours())
    table = PairsTable.open(found.table)
    texts = sorted(sorted(t.text for t in p.texts) for p in table.take(table.rows()))
    assert texts == [["红色的墙面", "红色的画布", "蓝色的墙面"], ["绿色的草地"]]


def test_the_report_and_the_card(tmp_path):
    found = built(tmp_path, settings=("sample.splits={val: 0.5}",))
    page = found.report.read_text(encoding="utf-8")
    for word in (
        "The funnel",
        "within 4 bits",
        "加微信abc12345",
        "words: gambling",
        "雪地里的小狗",
    ):
        assert word in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    figures = json.loads(found.report.with_suffix(".json").read_text(encoding="utf-8"))
    assert figures["stats"]["zero.lance"]["texts"] == 7
    assert figures["funnel"][0]["stage"] == "aggregate"
    assert "alignment" not in figures
    card = found.card.read_text(encoding="utf-8")
    assert card.startswith("---\nlanguage: [zh]")
    assert "image.min_entropy=2.0" in card
    assert "| de-duplicate | images | 4 | 3 | within 4 bits 1 |" in card


def test_what_stops_a_build_at_once(tmp_path):
    with pytest.raises(R2D2Error, match=r"there is no|no log|nothing"):
        build_corpus([str(tmp_path / "none.parquet")], tmp_path / "z.lance", make_corpus_config())
    no_clicks = [(SCENES[0], "红色的汽车", 10, 0, None)]
    with pytest.raises(R2D2Error, match="click"):
        built(tmp_path, no_clicks)
    pq.write_table(pa.table({"picture": [SCENES[0]], "words": ["猫"]}), tmp_path / "odd.parquet")
    with pytest.raises(R2D2Error, match=r"picture, words"):
        build_corpus([str(tmp_path / "odd.parquet")], tmp_path / "z.lance", make_corpus_config())
    (tmp_path / "file").write_text("")
    with pytest.raises(R2D2Error, match="cannot write"):
        build_corpus(
            [write_log(tmp_path / "l.parquet")], tmp_path / "file" / "z.lance", make_corpus_config()
        )
    write_table(tmp_path / "there.lance", [])
    with pytest.raises(R2D2Error, match="exists"):
        built(tmp_path, out="there.lance")
    with pytest.raises(R2D2Error, match="nothing is left"):
        built(tmp_path / "n", settings=("image.min_side=4000",))


def test_the_commands(tmp_path, monkeypatch, capsys):
    log = write_log(tmp_path / "log.parquet")
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    code, out, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", log, "--out", tmp_path / "z.lance",
        "--memory", "500MB", *sets,
    )  # fmt: skip
    assert code == 0, lines
    assert "de-duplicate: 3 of 4 images; dropped: within 4 bits 1" in out
    assert "3 images, 7 texts" in out
    assert "no cut by rate" in out
    for command, more in (
        ("stats", ()), ("compare", (tmp_path / "h.lance",)),
    ):  # fmt: skip
        if more:
            code, _, lines = call_cli(
                monkeypatch, capsys, "corpus", "sample", tmp_path / "z.lance", "--share", 0.99,
                "--out", more[0],
            )  # fmt: skip
            assert code == 0, lines
        code, out, lines = call_cli(
            monkeypatch, capsys, "corpus", command, tmp_path / "z.lance", *more, "--out",
            tmp_path / f"{command}.html",
        )  # fmt: skip
        assert code == 0, lines
        assert (tmp_path / f"{command}.html").exists()
        assert (tmp_path / f"{command}.json").exists()
    arguments = ("corpus", "compare", tmp_path / "z.lance", "--out", tmp_path / "c.html")
    (tmp_path / "link.lance").symlink_to(tmp_path / "z.lance")
    for other in ("z.lance", "link.lance", "nosuch/../z.lance", "z.lance/"):
        code, _, lines = call_cli(monkeypatch, capsys, *arguments, f"{tmp_path}/{other}")
        assert code == 2
        assert "are one table: give two" in lines[-1]
    assert not (tmp_path / "c.html").exists()
    shutil.copytree(tmp_path / "z.lance", tmp_path / "copy.lance")
    code, out, _ = call_cli(monkeypatch, capsys, *arguments, tmp_path / "copy.lance")
    assert code == 0
    assert "both hold the same images, splits and texts" in out


@pytest.mark.parametrize("text", ["2", "0", "63MB", "9999999TB", "1" * 400])
def test_memory_that_cannot_be_meant_is_refused(text):
    with pytest.raises(R2D2Error, match=r"bytes: give 64MB to 1000TB, with its unit, as in 2GB"):
        size(text)


@pytest.mark.parametrize("text", ["lots", "1..2GB", ".", "", "-2GB", "2 GB of it", "nan", "inf"])
def test_what_is_no_amount_of_memory_is_refused(text, tmp_path, monkeypatch, capsys):
    code, _, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", tmp_path, "--out", tmp_path / "y.lance",
        f"--memory={text}",
    )  # fmt: skip
    assert (code, len(lines)) == (2, 1)
    assert f"--memory {text} is no amount: write 500MB" in lines[0]


def test_amounts_of_memory():
    assert [size(text) for text in ("64MB", "2GB", "1.5 GiB", ".5g", "64000000", "1.TB")] == [
        64 * 10**6, 2 * 10**9, 3 * 2**29, 5 * 10**8, 64 * 10**6, 10**12
    ]  # fmt: skip


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason=f"no photographs at {PHOTOGRAPHS}")
def test_photographs_and_emoji_come_through_and_train(tmp_path):
    """The default settings on real input, the classifier of harmful pictures among them.

    Photographs are shown for what people wrote of them, emoji for their keywords.
    """
    from helpers.runs import small_config
    from r2d2.training.pretrain import pretrain

    rng = np.random.default_rng(0)
    rows = []

    def show(image, texts, title):
        for text in texts:
            shown = int(rng.integers(50, 500))
            rows.append((image, text, shown, int(rng.binomial(shown, 0.15)) + 1, title))

    for record in pq.read_table(PHOTOGRAPHS).slice(0, 30).to_pylist():
        show(record["image"], record["human"], record["human"][0])
    keywords = {
        "-".join(f"{ord(c):x}" for c in record["emoji"]): record
        for record in pq.read_table(EMOJI).to_pylist()
    }
    drawn = [pair for pair in emoji_pairs() if pair.image_id in keywords][:20]
    for pair in drawn:
        record = keywords[pair.image_id]
        large = Image.open(io.BytesIO(pair.image)).convert("RGB").resize((144, 144))
        show(jpeg(large), record["keywords"], record["title"])
    log = write_log(tmp_path / "log.parquet", rows)
    settings = ["sample.splits={val: 0.2}", "image.min_entropy=1", "query.min_chars=1"]
    found = build_corpus(
        [log], tmp_path / "mixed.lance", make_corpus_config("zero", settings=settings)
    )
    table = PairsTable.open(found.table)
    sources = [{t.source for t in pair.texts} for pair in table.take(table.rows())]
    assert found.images >= 0.9 * (30 + len(drawn))
    assert len(drawn) == 20
    assert sum(some == {"query", "title"} for some in sources) >= 0.9 * len(sources)
    assert found.texts >= 5 * 0.9 * 30 + 2 * 0.9 * 20
    small = small_config("r2d2", "train.epochs=1", "model.text.vocab_size=600")
    summary = pretrain(found.table, tmp_path / "run", small)
    assert summary.steps >= 3


def test_settings_are_plain_data():
    assert json.loads(json.dumps(asdict(make_corpus_config("danqing"))))["rank"]["enabled"] is False
    assert Text("a", "b").weight == 1.0
