"""What was dropped is kept where that is asked for: every row, with the counts of the funnel."""

import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.calls import cut_at
from helpers.cli import call_cli
from helpers.corpus_builds import DIRTY, NO_DEDUP, SETTINGS, TINTED, Colours, built, write_log
from r2d2.corpus.build import build_corpus
from r2d2.corpus.clicks.unite import unite
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.filters import image_filter, text_filter
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.output import write_corpus
from r2d2.corpus.report.dropped import check_dropped
from r2d2.corpus.report.sample import numbers
from r2d2.corpus.rows import DROPPED
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable


def rows_of(folder):
    return [row for file in sorted(folder.iterdir()) for row in pq.read_table(file).to_pylist()]


def counted(found):
    """Of the funnel, by stage, unit and rule."""
    funnel = Counter()
    for result in found.stages:
        for count in result.counts:
            for rule, number in count.dropped.items():
                funnel[count.stage, count.unit, rule] += number
    return funnel


def check_counts(rows, found):
    assert Counter((row["stage"], row["unit"], row["rule"]) for row in rows) == counted(found)


def test_every_dropped_row_is_there(tmp_path):
    found = built(tmp_path, keep_dropped=True, settings=("sample.share=0.6",))
    assert found.dropped == tmp_path / "zero.lance.dropped"
    rows = rows_of(found.dropped)
    check_counts(rows, found)
    stages = {(row["stage"], row["unit"]) for row in rows}
    assert stages >= {
        ("aggregate", "rows"), ("rank", "pairs"), ("rank", "images"), ("text filter", "texts"),
        ("text filter", "images"), ("image filter", "images"), ("de-duplicate", "images"),
        ("unite", "texts"),
    }  # fmt: skip
    by_rule = {(row["stage"], row["rule"]): row for row in rows}
    contact = by_rule["text filter", "contacts"]
    assert (contact["text"], contact["source"]) == ("加微信abc12345", "query")
    assert (contact["clicks"], contact["impressions"]) == (100, 300)
    unclicked = by_rule["rank", "min_clicks"]
    assert (unclicked["text"], unclicked["source"]) == ("从未被点击", "query")
    assert (unclicked["clicks"], unclicked["impressions"]) == (0, 500)
    broken = by_rule["aggregate", "more clicks than impressions"]
    assert broken["text"] == "一碗牛肉面"
    assert "log.parquet, row 14: " in broken["reason"]
    assert "clicks=5" in broken["reason"]
    images = [row["image_id"] for row in rows if row["unit"] == "images"]
    assert all(len(image_id) == 32 for image_id in images)
    assert by_rule["de-duplicate", "within 4 bits"]["reason"].startswith("= ")
    page = found.report.read_text(encoding="utf-8")
    assert '<a href="zero.lance.dropped/">' in page
    data = json.loads(found.report.with_suffix(".json").read_text(encoding="utf-8"))
    assert data["dropped"] == "zero.lance.dropped"
    assert not list(tmp_path.glob("*.build"))


CHANGES = [
    ("rank.top_share=0.5",),
    ("rank.threshold=0.2",),
    ("rank.max_queries=1",),
    ("rank.copies=true",),
    ("rank.enabled=false",),
    (*NO_DEDUP, "sample.share=0.5"),
]


@pytest.mark.parametrize("settings", CHANGES)
def test_the_counts_are_the_funnels_whatever_is_set(tmp_path, settings):
    memory = 2000 if "rank.max_queries=1" in settings else 10**9  # in many parts
    rows = [*DIRTY, *((DIRTY[0][0], f"第{n}个查询", 100 + n, n, "标题") for n in range(14))]
    found = built(tmp_path, rows, settings, keep_dropped=True, memory_bytes=memory)
    check_counts(rows_of(found.dropped), found)
    plain = built(tmp_path / "plain", rows, settings, memory_bytes=memory)
    assert PairsTable.open(plain.table).fingerprint == PairsTable.open(found.table).fingerprint
    assert plain.dropped is None
    assert not list((tmp_path / "plain").rglob("*.dropped"))


LINES = """url,query,impressions,clicks,title
http://a.test/1.jpg,红色的汽车,10,2,
http://a.test/1.jpg,坏"掉的,10
http://a.test/2.jpg,,10,2,
,蓝天白云,10,2,
"""


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_lines_that_cannot_be_read_and_addresses_without_an_image(tmp_path, name):
    import gzip

    data = LINES.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    config = make_corpus_config("zero", settings=[*SETTINGS, "fetch.retries=0"])
    with pytest.raises(R2D2Error, match="nothing is left"):
        build_corpus([str(tmp_path / name)], tmp_path / "z.lance", config, keep_dropped=True)
    rows = rows_of(tmp_path / "z.lance.build" / DROPPED)
    of_log = [row for row in rows if row["stage"] == "aggregate"]
    assert len(of_log) == 3
    assert any("line 3" in row["reason"] for row in of_log)
    fetched = {(row["unit"], row["url"]) for row in rows if row["stage"] == "fetch"}
    assert fetched == {("addresses", "http://a.test/1.jpg"), ("images", "http://a.test/1.jpg")}
    report = (tmp_path / "z.lance.build/report.html").read_text(encoding="utf-8")
    assert '<a href="dropped/">' in report


def no_grass(rows):
    return ["grass" if "草" in row["text"] else None for row in rows]


def test_alignment_and_stages_of_ones_own(tmp_path):
    stages = [
        text_filter(
            "no_grass", lambda rows: [("草" in r["text"] and "grass") or None for r in rows]
        ),
        image_filter("second", lambda rows: ["second", *[None] * (len(rows) - 1)]),
    ]
    found = built(
        tmp_path, TINTED, ("align.low=0.2", *NO_DEDUP, "image.enabled=false"), model=Colours(),
        stages=stages, keep_dropped=True,
    )  # fmt: skip
    rows = rows_of(found.dropped)
    check_counts(rows, found)
    assert {row["stage"] for row in rows} >= {"no_grass", "second", "unite"}
    more = built(tmp_path / "a", TINTED, ("align.low=0.2", *NO_DEDUP, "image.enabled=false"),
                 model=Colours(), keep_dropped=True)  # fmt: skip
    (row,) = [row for row in rows_of(more.dropped) if row["stage"] == "align"]
    assert (row["rule"], row["text"]) == ("similarity too low", "蓝色的墙面")


def test_a_build_that_was_cut_off_keeps_them_too(tmp_path):
    for stage in (find_duplicates, unite, write_corpus):
        with cut_at(stage):
            built(tmp_path, keep_dropped=True)
    found = built(tmp_path, keep_dropped=True)
    check_counts(rows_of(found.dropped), found)
    rows = sorted(map(str, rows_of(found.dropped)))
    whole = built(tmp_path / "whole", keep_dropped=True)
    expected = [str(row).replace("whole/", "") for row in rows_of(whole.dropped)]
    assert rows == sorted(expected)


def test_they_are_written_although_the_build_was_made_without(tmp_path):
    built(tmp_path, keep_work=True)
    with pytest.raises(R2D2Error, match="exists"):
        built(tmp_path, keep_dropped=True)
    found = built(tmp_path, keep_dropped=True, overwrite=True)
    check_counts(rows_of(found.dropped), found)
    assert built(tmp_path, overwrite=True).dropped is None
    assert not found.dropped.exists()  # it told of the table that was replaced


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    folder = tmp_path / "zero.lance.dropped"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(R2D2Error, match=r"zero\.lance\.dropped"):
        built(tmp_path, keep_dropped=True, overwrite=True)
    built(tmp_path, overwrite=True)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_a_stage_that_forgets_a_row_is_found_out(tmp_path):
    found = built(tmp_path, keep_dropped=True, keep_work=True)
    for result in found.stages:
        check_dropped(result.folder, result.counts)
    text = next(result for result in found.stages if result.name == "text")
    next((text.folder / DROPPED).glob("texts-*.parquet")).unlink()
    with pytest.raises(ValueError, match=r"counted .* as dropped and kept"):
        check_dropped(text.folder, text.counts)


def test_the_commands(tmp_path, monkeypatch, capsys):
    log = write_log(tmp_path / "log.parquet")
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    command = ("corpus", "build", log, "--out", tmp_path / "z.lance", "--keep-dropped", *sets)
    code, out, lines = call_cli(monkeypatch, capsys, *command)
    assert code == 0, lines
    assert f"dropped rows: {tmp_path / 'z.lance.dropped'}" in out
    table = PairsTable.open(tmp_path / "z.lance")
    share = float(np.sort(numbers(table.image_ids(table.rows()), 0, "share"))[1])  # one is below
    command = ("corpus", "sample", tmp_path / "z.lance", "--share", share, "--out",
               tmp_path / "half.lance", "--keep-dropped")  # fmt: skip
    code, _, lines = call_cli(monkeypatch, capsys, *command)
    assert code == 0, lines
    half = PairsTable.open(tmp_path / "half.lance")
    kept = set(half.image_ids(half.rows()))
    rows = rows_of(tmp_path / "half.lance.dropped")
    assert {row["image_id"] for row in rows} == set(table.image_ids(table.rows())) - kept
    assert {(row["stage"], row["rule"]) for row in rows} == {("sample", "outside the sample")}
    assert all(row["impressions"] > 0 for row in rows)
    assert len(rows) == 2
    code, _, lines = call_cli(monkeypatch, capsys, *command)
    assert code == 2
    assert "exists" in lines[-1]
