"""The report: whole, self-contained, escaped, and honest about what it shows."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from helpers.line_model import results_of
from r2d2.errors import R2D2Error
from r2d2.evaluation.contact import contact_groups
from r2d2.evaluation.plots import POINTS, _running_mean, _thin, curve, weight_curve
from r2d2.evaluation.report import write_report

NASTY = '<script>alert("猫")</script>&\''
VOID = {"meta", "img", "br", "hr", "link", "input"}


SPLITS = ["test"] * 30 + ["test_novel"] * 6 + ["val"] * 6 + ["train"] * 20
HISTORY = [
    {"step": step, "loss/total": 9.0 / step, "loss/fgr": 0.7, f"loss/{NASTY}": 1.0, "lr": 1e-3}
    for step in range(1, 40)
]


class Page(HTMLParser):
    """What a browser would make of the report."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.styles = [], [], [], []
        self.text = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.styles if self.open and self.open[-1] == "style" else self.text).append(data)

    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(
        path,
        results_of(SPLITS, words="图{} " + NASTY, dropped_kind=f"odd {NASTY}"),
        history=HISTORY,
        settings={"preset": "tiny", "variant": "r2d2", "train": {"seed": 7, "note": NASTY}},
        train={"steps": 1234, "seconds": 61.5, "skipped": {"truncated": 3}},
        attribution={"images_licence": f"CC-BY 4.0 {NASTY}", "title": "Art, https://example.org/"},
    )
    return path.read_text(encoding="utf-8")


def test_the_report_asks_the_network_for_nothing(html):
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    loading = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}
    for tag, name, value in page.attributes:
        if name in loading:
            assert value.startswith(("data:image/", "#")), (tag, name, value)
        assert not name.startswith("on")
        assert not re.search(r"url\((?!#)", value)
    assert not re.search(r"url\(|@import", "".join(page.styles))
    assert page.open == []


def test_drawings_do_not_clash(html):
    page = Page(html)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert ids
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#(.*?)\)", html))
    assert used <= set(ids)
    assert not re.search(r"#0[0-9a]0[0-9b]0[0-9c]\b", html.replace("data:image", ""))
    one, other = ({*re.findall(r'id="(.*?)"', curve([1, 2], [3, 4], name=n))} for n in "ab")
    assert one
    assert not one & other
    assert page.tags.count("style") == 1  # one inside a drawing would hold for the whole page


def test_everything_is_escaped(html):
    assert "<script" not in html
    words = Page(html).words()
    for place in (
        f"train.note {NASTY}",
        f"odd {NASTY}, in evaluation",
        f"loss/{NASTY}",
        f"4.0 {NASTY}",
    ):
        assert place in words, place
    alts = [value for tag, name, value in Page(html).attributes if (tag, name) == ("img", "alt")]
    assert alts
    assert all(value.endswith(NASTY) for value in alts)


def test_it_says_what_was_reached_and_how(html):
    words = Page(html).words()
    for expected in (
        "preset tiny", "test_novel 6 images and 6 texts rank each other",
        "test_full 30 images and 30 texts, each against the whole corpus: 62 texts, 62 images",
        "pre-ranking", "two-stage", "chance", "re-ranks the best 8", "seed 7", "steps 1,234",
        "truncated, in training 3", "Title: Art, https://example.org/", "dashed: chance, 0.693",
        "Random sample", "Errors", f"torch {torch.__version__}",
    ):  # fmt: skip
        assert expected in words, expected
    assert "skipped" not in words


def test_each_query_frames_one_right_picture(html):
    queries = re.findall(r'<section class="query card">.*?</section>', html, flags=re.DOTALL)
    assert len(queries) > 12
    for query in queries:
        assert len(re.findall(r'<img [^>]*class="right">', query)) == 1
        caption = re.search(r'alt="([^"]*)"[^>]*class="right">', query)[1]
        assert f'<b lang="zh">{caption}</b>' in query


def test_figures_stand_in_their_columns_and_the_better_stage_is_bold(tmp_path):
    results = results_of(SPLITS)
    write_report(tmp_path / "r.html", results)
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    body = re.findall(r"<tbody>.*?</tbody>", html, flags=re.DOTALL)[0]
    rows = {
        label: re.findall(r"<td( class=\"best\")?>(.*?)</td>", cells)
        for label, cells in re.findall(r'<th scope="row">(.*?)</th>(.*)</tr>', body)
    }
    found = results.metrics["test"]
    assert found["prerank"]["t2i_r1"] < found["two_stage"]["t2i_r1"]
    order = ["i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean"]
    first, second = found["prerank"], found["two_stage"]
    assert [value for _, value in rows["pre-ranking"][:7]] == [
        f"{first[name]:.1f}" for name in order
    ]
    assert [value for _, value in rows["two-stage"][:7]] == [
        f"{second[name]:.1f}" for name in order
    ]
    assert [value for _, value in rows["chance"][:7]] == [
        f"{found['chance'][n]:.1f}" for n in order
    ]
    assert rows["two-stage"][7][1] == f"{found['matching']['auc']:.1f}"
    for place, name in enumerate(order):
        assert bool(rows["pre-ranking"][place][0]) == (first[name] >= second[name])
        assert bool(rows["two-stage"][place][0]) == (second[name] >= first[name])


def test_a_model_of_one_stage_and_a_table_without_tests(tmp_path):
    write_report(tmp_path / "one.html", results_of(SPLITS, has_match=False))
    words = Page((tmp_path / "one.html").read_text(encoding="utf-8")).words()
    assert "no match head" in words
    assert "two-stage" not in words
    write_report(tmp_path / "none.html", results_of(["train"] * 3))
    words = Page((tmp_path / "none.html").read_text(encoding="utf-8")).words()
    assert "none of the splits" in words
    assert "Random sample" not in words


def test_a_second_stage_of_weight_zero_is_told_instead_of_shown(tmp_path):
    results = results_of(("val", "test"))
    results.metrics["weight"] = 0.0
    write_report(tmp_path / "r.html", results)
    words = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "two-stage</th>" not in words
    assert "The second stage is not used: the weight of the match score is 0" in words
    assert "re-ranks the best" not in words
    assert "two_stage" in results.metrics["test"]  # what others read stays as it is


def test_the_sheet_is_drawn_by_lot_and_shows_where_the_right_one_is():
    results = results_of(SPLITS)
    groups = contact_groups(results, "test", sample=9, misses=4)
    ranked = results.rankings["test"]["t2i"]
    ranks = {
        results.data.texts[int(q)]: int(r)
        for q, r in zip(ranked.queries, ranked.ranks, strict=True)
    }
    fair, wrong = groups
    assert len(fair.rows) == 9
    first = sum(row.rank == 1 for row in fair.rows)
    assert 0 < first < 9
    assert f"first in {first} of 9" in fair.chosen
    assert not {row.text for row in fair.rows} & {row.text for row in wrong.rows}
    assert all(row.rank > 1 for row in wrong.rows)
    for row in fair.rows + wrong.rows:
        assert row.rank == ranks[row.text]
        assert len(row.shown) == 5
        for shown in row.shown:
            assert shown.right == (shown.caption == row.text)
            assert shown.picture.getpixel((0, 0))[1] == int(shown.caption[1:])
        assert (row.answer is None) == any(shown.right for shown in row.shown)
        if row.rank <= 5:
            assert row.shown[row.rank - 1].right
    again = contact_groups(results, "test", sample=9, misses=4)
    assert [row.text for group in again for row in group.rows] == [
        row.text for group in groups for row in group.rows
    ]


def test_an_answer_beyond_the_first_five_stands_apart():
    results = results_of(["test"] * 30, has_match=False)
    ranked = results.rankings["test"]["t2i"]
    ranked.right[:] = False  # as if none were among the five
    row = contact_groups(results, "test")[0].rows[0]
    assert row.answer is not None
    assert row.answer.right
    assert row.answer.caption == row.text


def test_curves_bear_what_a_history_may_hold():
    nan, inf = float("nan"), float("inf")
    assert "<svg" in curve([1, 2, 3], [1.0, nan, inf], name="a")
    assert curve([1, 2], [nan, nan], name="a") == ""
    assert curve([], [], name="a") == ""
    long = curve(range(100_000), np.sin(np.arange(100_000)), name="a")
    assert len(long) < 60_000
    assert curve([1, 2], [3, 4], name="a") == curve([1, 2], [3, 4], name="a")
    assert "<svg" in weight_curve({"0": 50.0, "0.5": 60.0}, 0.5, name="w")
    assert "<svg" in weight_curve({"0": 50.0, "0.5": 60.0}, 0.7, name="w")


@pytest.mark.parametrize("count", [1, 39, 41, 130])
def test_running_mean_is_that_of_slices(count):
    values = np.random.default_rng(count).normal(size=count)
    half = count // 40
    expected = [values[max(0, i - half) : i + half + 1].mean() for i in range(count)]
    assert np.allclose(_running_mean(values), expected)


def test_thinning_keeps_the_mean():
    values = np.arange(float(POINTS * 7))
    assert len(_thin(values)) == POINTS
    assert _thin(values).mean() == pytest.approx(values.mean())
    assert np.array_equal(_thin(values[:POINTS]), values[:POINTS])


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(R2D2Error, match="cannot write"):
        write_report(tmp_path / "taken", results_of(["test"] * 3))
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
