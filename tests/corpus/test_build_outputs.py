"""Where a build writes: what stops it at once, what a cut leaves, and what is told of nothing."""

import json
import os

import pytest

from helpers.calls import cut_after, cut_at, watched
from helpers.corpus_builds import SETTINGS, built, write_log
from r2d2.corpus import output
from r2d2.corpus.build import build_corpus
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.config import make_corpus_config
from r2d2.corpus.images.duplicates import find_duplicates
from r2d2.corpus.output import write_corpus
from r2d2.corpus.report.card import write_card
from r2d2.corpus.report.report import write_corpus_report
from r2d2.errors import R2D2Error
from r2d2.table import PairsTable, join_shards, write_table

EMPTY = ("image.min_side=4000",)


@pytest.fixture(params=["path", "URL"])
def place(request, tmp_path, monkeypatch):
    """A table's place, and `build(settings, ...)` to it; the papers of a URL land where one is."""
    monkeypatch.chdir(tmp_path)
    out = str(tmp_path / "z.lance")
    out = out if request.param == "path" else f"file://{out}"

    def build(*settings, **more):
        config = make_corpus_config("zero", settings=[*SETTINGS, *settings])
        return build_corpus([write_log(tmp_path / "log.parquet")], out, config, **more)

    return out, build


@pytest.fixture
def stages():
    """The calls of stages."""
    with watched(aggregate, find_duplicates, write_corpus) as calls:
        yield calls


def test_a_table_is_replaced_where_that_is_asked_for(place):
    out, build = place
    build()
    first = PairsTable.open(out).fingerprint
    with pytest.raises(R2D2Error, match="exists"):
        build("dedup.radius=null")
    build("dedup.radius=null", overwrite=True)
    assert len(PairsTable.open(out)) == 4
    build(overwrite=True)
    assert PairsTable.open(out).fingerprint == first


def test_a_place_that_does_not_serve_stops_at_once(tmp_path, place, stages):
    out, build = place
    write_table(out, [])
    with pytest.raises(R2D2Error, match=r"z\.lance exists"):
        build()
    log = [write_log(tmp_path / "log.parquet")]
    scheme = out.removesuffix(str(tmp_path / "z.lance"))
    bad = f"{scheme}/proc/nothing/z.lance"
    with pytest.raises(R2D2Error, match=f"cannot write {bad if scheme else '/proc/nothing'}"):
        build_corpus(log, bad, make_corpus_config(), overwrite=True)
    with pytest.raises(R2D2Error, match=r"cannot write nosuch://b/z\.lance"):
        build_corpus(log, "nosuch://b/z.lance", make_corpus_config())
    assert not stages
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.parquet", "z.lance"]


def test_looking_at_a_place_leaves_nothing_there(tmp_path, place):
    _, build = place
    with cut_at(aggregate):
        build()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.parquet", "z.lance.build"]


AFTER_IT_IS_THERE = {
    "before the report": (cut_at, write_corpus_report),
    "before the card": (cut_at, write_card),
    "before it is noted": (cut_after, write_corpus),
}


@pytest.mark.parametrize("when", AFTER_IT_IS_THERE)
def test_a_build_cut_off_after_its_table_goes_on(tmp_path, place, stages, when):
    out, build = place
    overwrite = when == "before the card"
    if overwrite:
        build("dedup.radius=null")
    cut, function = AFTER_IT_IS_THERE[when]
    with cut(function):
        build(overwrite=overwrite)
    files = PairsTable.open(out).files
    with pytest.raises(R2D2Error, match="exists"):  # by another build
        build("image.min_side=120")
    stages.clear()
    found = build(overwrite=overwrite)
    assert {call.name for call in stages} <= {"write_corpus"}
    assert PairsTable.open(out).files == files
    assert found.images == 3
    assert "The funnel" in found.report.read_text(encoding="utf-8")
    assert "| de-duplicate |" in found.card.read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.build"))
    with pytest.raises(R2D2Error, match="exists"):  # it is finished
        build()


def test_a_build_cut_off_while_its_table_is_made_goes_on(place):
    out, build = place
    steps = (join_shards,) if "://" in out else (join_shards, output._swap)
    for step in steps:
        with cut_after(step):
            build(overwrite=True)
        assert build(overwrite=True).images == 3
        assert len(PairsTable.open(out)) == 3


def test_a_table_of_somebody_else_is_not_taken_for_ones_own(place, stages):
    out, build = place
    build(keep_work=True)
    mine = PairsTable.open(out).fingerprint
    build(keep_work=True)  # nothing to do
    write_table(out, [], overwrite=True)
    with pytest.raises(R2D2Error, match="exists"):
        build(keep_work=True)
    stages.clear()
    build(keep_work=True, overwrite=True)
    assert [call.name for call in stages] == ["write_corpus"]
    assert PairsTable.open(out).fingerprint == mine


def test_a_table_that_comes_meanwhile_is_not_replaced(place):
    out, build = place
    with (
        watched(find_duplicates, begin=lambda _call: write_table(out, [])) as calls,
        pytest.raises(R2D2Error, match="exists"),
    ):
        build()
    assert calls
    assert len(PairsTable.open(out)) == 0


def test_nothing_left_is_told_with_all_counts(tmp_path, place):
    _, build = place
    with pytest.raises(R2D2Error, match="nothing is left") as caught:
        build(*EMPTY)
    message = str(caught.value)
    assert "image filter kept none of" in message
    assert "too small 7" in message
    report = tmp_path / "z.lance.build/report.html"
    assert os.fspath(report.relative_to(tmp_path)) in message
    page = report.read_text(encoding="utf-8")
    assert "The funnel" in page
    assert "加微信abc12345" in page  # an example of a drop
    figures = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert {count["stage"] for count in figures["funnel"]} >= {"aggregate", "rank", "image filter"}
    assert figures["settings"]["image.min_side"] == "4000"
    with pytest.raises(R2D2Error, match="nothing is left"):
        build(*EMPTY)
    assert build().images == 3
    assert not list(tmp_path.glob("*.build"))


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        (("rank.min_clicks=100000",), "rank"),
        (("query.min_chars=100", "text.min_chars=100"), "text filter"),
        (("sample.share=1e-9",), "sample"),
    ],
)
def test_whichever_stage_leaves_nothing_is_named(tmp_path, settings, stage):
    with pytest.raises(R2D2Error, match=f"nothing is left .*: {stage} kept none of [0-9]+ "):
        built(tmp_path, settings=settings)
    built(tmp_path)
    with pytest.raises(R2D2Error, match="nothing is left"):
        built(tmp_path, settings=settings, overwrite=True)
    assert len(PairsTable.open(tmp_path / "zero.lance")) == 3  # the earlier one, with its report
    assert "Contents" in (tmp_path / "zero.lance.report.html").read_text(encoding="utf-8")
