"""`r2d2 downstream make`: balanced, apart, whole groups, the same in any order, and told so."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.cli import call_cli, refused
from helpers.distinct_pairs import (
    caption,
    letter,
    old_table_of,
    pair,
    picture,
    query,
    rows_of,
    table_of,
)
from r2d2.data.emoji import emoji_pairs
from r2d2.downstream.config import make_downstream_config
from r2d2.downstream.likeness import near_same
from r2d2.downstream.make import make_set, set_config, set_radius
from r2d2.downstream.report import write_set_report
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.tokenizer import loose_text_key

PHOTOGRAPHS = Path(__file__).parents[2] / "../shared/data/flickr8k-cn"
N = 80


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_of(tmp_path_factory.mktemp("pairs") / "t.lance", [pair(n) for n in range(N)])


class Numbers:
    """A model that sees which number a picture or a text of ours has."""

    def __init__(self, n):
        self.place = {}
        for k in range(n):
            angle = 2 * np.pi * k / n
            point = np.array([np.cos(angle), np.sin(angle)], np.float32)
            for what in (picture(k), caption(k), query(k)):
                self.place[what] = point

    def encode_images(self, files):
        return np.stack([self.place[file] for file in files])

    def encode_texts(self, texts):
        return np.stack([self.place[text] for text in texts])


def made(table, out, task="icm", *settings, **more):
    return make_set(table, out, make_downstream_config(task, settings), **more)


def test_a_matching_set(table, tmp_path):
    found = made(table, tmp_path / "s.lance")
    rows = rows_of(tmp_path / "s.lance")
    assert found.splits == {"train": 128, "val": 16, "test": 16}
    assert len(rows) == found.pairs == 2 * N
    assert found.check.passed
    assert found.check.findings == ()
    true = {f"p{n:04d}": caption(n) for n in range(N)}
    for kind in (0, 1):  # which row: the picture, the text
        of = defaultdict(list)
        for row in rows:
            of[row[kind]].append((row[3], row[2]))
        assert all(sorted(one[0] for one in some) == [0, 1] for some in of.values())
        assert all(len({one[1] for one in some}) == 1 for some in of.values())
    for image_id, text, _, label in rows:
        assert (true[image_id] == text) == (label == 1)
        if label == 0:
            same = make_downstream_config("icm").same
            assert not near_same(text.lower(), true[image_id].lower(), same)
    noted = set_config(PairsTable.open(tmp_path / "s.lance"))
    assert (noted["task"], noted["table"], set_radius(PairsTable.open(found.path))) == (
        "icm", "t.lance", 4,
    )  # fmt: skip
    assert set_radius(table) is None


@pytest.mark.parametrize(
    "noted", ["[1", "[1]", "7", "{}", '{"same": 4}', '{"same": {"radius": 99}}']
)
def test_a_note_that_is_none_of_ours_is_no_sets(table, tmp_path, noted):
    rows = table.take(table.rows()[:2])
    write_table(tmp_path / "t.lance", rows, metadata={"r2d2.downstream": noted})
    assert set_radius(PairsTable.open(tmp_path / "t.lance")) is None


@pytest.mark.parametrize("ids", ["none", "of the picture"])
def test_no_column_beside_picture_and_text_tells_the_label(ids, tmp_path):
    """Of what a row says of picture and text, nothing may depend on whether they belong together.

    Clicks of one's own picture add up, and ids of texts are often made of that of their picture.
    """
    pairs = [
        pair(
            n, clicks=100 + n, impressions=1000 + n, ctr=0.1 + n / 1000,
            texts=(
                Text(caption(n), "title", 0.1 + n / 1000, f"p{n:04d}#0" if ids != "none" else None,
                     100 + n, 1000 + n),
            ),
        )
        for n in range(N)
    ]  # fmt: skip
    made(table_of(tmp_path / "t.lance", pairs), tmp_path / "s.lance")
    set_table = PairsTable.open(tmp_path / "s.lance")
    rows = set_table.take(set_table.rows())
    by_picture, by_text, ids_of = defaultdict(set), defaultdict(set), defaultdict(set)
    for row in rows:
        (text,) = row.texts
        by_picture[row.image_id].add((row.clicks, row.impressions, row.ctr, row.image, row.split))
        by_text[text.text].add(text)
        ids_of[text.text_id].add(text.text)
        assert row.image_id not in text.text_id
        # what stands on both sides of a row cannot be compared
        assert (text.clicks, text.impressions, text.weight) == (None, None, 1.0)
    assert all(len(one) == 1 for one in (*by_picture.values(), *by_text.values()))
    assert all(len(texts) == 1 for texts in ids_of.values())
    assert {row.clicks for row in rows} == {100 + n for n in range(N)}


def test_texts_that_differ_in_spelling_alone_stand_in_one_split(tmp_path):
    ends = ("", "。", " ！", "…")
    pairs = [
        pair(n, texts=(Text(caption(n // 4).replace("和", " 和 " if n % 2 else "和") + ends[n % 4],
                            "title"),))
        for n in range(4 * 40)
    ]  # fmt: skip
    found = made(table_of(tmp_path / "t.lance", pairs), tmp_path / "s.lance")
    split = defaultdict(set)
    for _, text, name, _ in rows_of(found.path):
        split[loose_text_key(text)].add(name)
    assert found.groups == 40
    assert all(len(names) == 1 for names in split.values())


def test_order_changes_nothing_and_the_seed_much(table, tmp_path):
    backwards = table_of(tmp_path / "b.lance", [pair(n) for n in reversed(range(N))])
    made(table, tmp_path / "one.lance")
    made(backwards, tmp_path / "two.lance")
    made(table, tmp_path / "three.lance", "icm", "seed=1")
    one, two, three = (rows_of(tmp_path / f"{name}.lance") for name in ("one", "two", "three"))
    assert one == two
    assert set(one) != set(three)


def test_the_four_tasks_take_their_texts(table, tmp_path):
    for task in ("iqm", "icr", "iqr"):
        found = made(table, tmp_path / f"{task}.lance", task)
        texts = {row[1] for row in rows_of(found.path)}
        assert texts == {(query if task[1] == "q" else caption)(n) for n in range(N)}
        assert found.pairs == (2 * N if task == "iqm" else N)
        assert {row[3] for row in rows_of(found.path)} == ({0, 1} if task == "iqm" else {None})


def test_size_and_pick(table, tmp_path):
    found = made(table, tmp_path / "s.lance", "iqm", "size=60", "pick=weight")
    assert (found.pairs, found.pictures) == (60, 30)
    assert {row[0] for row in rows_of(found.path)} == {
        f"p{n:04d}" for n in range(30)
    }  # most clicks
    few = made(table, tmp_path / "f.lance", "iqr", "size=40")
    assert few.stages[-1].dropped == {"more than were asked for": N - 40}
    said = refused(made, table, tmp_path / "x.lance", "icm", "size=61")
    assert "give it even" in said


def test_likes_stay_in_one_split_and_are_no_negatives(tmp_path):
    pairs = [pair(n) for n in range(60)]
    # each of the first 20 pictures once more, brighter, under another text
    pairs += [pair(100 + n, image=picture(n, shade=3)) for n in range(20)]
    pairs += [pair(200 + n, texts=(Text(caption(20 + n), "title"),)) for n in range(10)]
    found = made(table_of(tmp_path / "t.lance", pairs), tmp_path / "s.lance")
    rows = rows_of(found.path)
    split = {row[0]: row[2] for row in rows}
    assert found.groups == 60
    for n in range(20):
        assert split[f"p{n:04d}"] == split[f"p{100 + n:04d}"]
    for n in range(10):
        assert split[f"p{20 + n:04d}"] == split[f"p{200 + n:04d}"]
    wrong = {(image_id, text) for image_id, text, _, label in rows if label == 0}
    for n in range(20):
        assert (f"p{n:04d}", caption(100 + n)) not in wrong
        assert (f"p{100 + n:04d}", caption(n)) not in wrong
    assert found.check.passed


TWINS = ("not picked", "alike", "excluded", "short", "other source", "broken", "same id")


def test_texts_of_twins_that_are_left_out_are_no_negatives(tmp_path):
    """Each picture stands in one more row, which the set does not get, and whose text is near to
    that of the picture that the model takes for the nearest."""
    model, pairs, wrong = Numbers(N), [], set()
    for n in range(21):
        kind = TWINS[n % len(TWINS)]
        text, other = f"{letter(900 + 2 * n)}{letter(901 + 2 * n)}的老照片之一", picture(300 + n)
        told = text[:4] if kind == "short" else text
        image_id = n if kind in ("broken", "same id") else 100 + n
        image = b"no picture" if kind == "broken" else picture(n, shade=3 * (kind == "alike"))
        source = "query" if kind == "other source" else "title"
        pairs += [
            pair(n, clicks=9),
            pair(image_id, clicks=1, image=image, texts=(Text(told, source),)),
            pair(200 + n, clicks=9, image=other, texts=(Text(text + "高清", "title"),)),
        ]
        for what in (image, other, text, text + "高清"):
            model.place[what] = model.place[caption(n)]
        wrong.add((f"p{n:04d}", text + "高清"))
    corpus = table_of(
        tmp_path / "c.lance",  # the twin's id is all that it has
        [pair(100 + n, image=picture(600 + n)) for n in range(TWINS.index("excluded"), 21, 7)],
    )
    settings = ("size=84", "negatives.kind=hard", "exclude.texts=false")
    found = made(old_table_of(tmp_path / "t.lance", pairs), tmp_path / "s.lance", "icm", *settings,
                 "split.val=0", "split.test=0", model=model, exclude=[corpus.path])  # fmt: skip
    assert {why: n for stage in found.stages for why, n in stage.dropped.items()} == {
        "no text of this source and length": 6, "picture unreadable": 3, "the same image_id": 3,
        "its image_id stands before": 3, "more than were asked for": 6,
    }  # fmt: skip
    rows = rows_of(found.path)
    assert len(rows) == 84
    assert not wrong & {(image_id, text) for image_id, text, _, label in rows if label == 0}


def test_apart_from_another_table(table, tmp_path):
    corpus = table_of(
        tmp_path / "corpus.lance",
        [
            *(pair(n) for n in range(3)),  # the same ids and files
            pair(900, image=picture(3)),  # the same file
            pair(901, image=picture(4, shade=3)),  # a near-duplicate
            pair(902, texts=(Text(caption(5), "content"),)),  # the same text
        ],
    )
    found = made(table, tmp_path / "s.lance", exclude=[corpus.path])
    assert found.stages[1].dropped == {
        "the same image_id": 3, "the same file": 1, "a picture within 4 bits": 1,
        "the same text": 1,
    }  # fmt: skip
    assert not {row[0] for row in rows_of(found.path)} & {f"p{n:04d}" for n in range(6)}
    told = [fact for fact in found.check.facts if "corpus.lance" in fact.name]
    assert len(told) == 3  # splits
    assert all(set(fact.parts.values()) == {0} and len(fact.parts) == 4 for fact in told)
    loose = made(table, tmp_path / "l.lance", "icm", "exclude.texts=false", exclude=[corpus.path])
    assert "the same text" not in loose.stages[1].dropped
    assert any("a text with" in finding.name for finding in loose.check.findings)


def test_hard_negatives_by_a_model(table, tmp_path):
    model = Numbers(N)
    random = made(table, tmp_path / "r.lance", model=model)
    hard = made(table, tmp_path / "h.lance", "icm", "negatives.kind=hard", model=model)
    assert hard.hardness.match == pytest.approx(1.0, abs=1e-6)
    assert hard.hardness.other > 0.5 > random.hardness.other
    assert hard.hardness.near > 0.8 * N
    assert hard.check.passed
    said = refused(made, table, tmp_path / "x.lance", "icm", "negatives.kind=hard")
    assert "--model" in said


def test_what_is_left_out_is_counted(tmp_path):
    pairs = [
        *(pair(n) for n in range(40)),
        pair(50, image=b"no picture"),
        pair(51, texts=(Text("短", "title"),)),
        pair(52, texts=(Text(caption(52), "query"),)),
        pair(53, label=0),
        pair(3, texts=(Text(caption(3) + "又", "title"),)),
    ]
    found = made(old_table_of(tmp_path / "t.lance", pairs), tmp_path / "s.lance")
    assert found.stages[0].dropped == {
        "picture unreadable": 1, "no text of this source and length": 2,
        "labelled as no match": 1, "its image_id stands before": 1,
    }  # fmt: skip
    assert found.stages[0].kept == 40


def test_bad_input_is_one_line_and_writes_nothing(table, tmp_path):
    out = tmp_path / "s.lance"
    few = table_of(tmp_path / "few.lance", [pair(n) for n in range(8)])
    assert "too small for the split" in refused(made, few, out)
    assert "not one picture with a text that fits" in refused(
        made, few, out, "icm", "text.least=99"
    )
    broken = table_of(tmp_path / "broken.lance", [pair(n, image=b"x") for n in range(8)])
    said = refused(made, broken, out)
    assert "(picture unreadable 8): give a table with more" in said
    assert "text.least" in refused(made, few, out, "icm", "text.least=99")
    same = table_of(tmp_path / "same.lance", [
        pair(n, texts=(Text(f"一只猫在屋顶上{letter(n)}", "title"),)) for n in range(60)
    ])  # fmt: skip
    assert "surely not true" in refused(made, same, out)
    assert not out.exists()
    for settings, word in (
        (("text.least=9", "text.most=8"), "above text.most"),
        (("negatives.kind=harder",), "did you mean hard"),
        (("split.val=1",), "leave nothing"),
        (("task=iqm",), "cannot change"),
        (("tex.least=1",), "did you mean text"),
    ):
        assert word in refused(make_downstream_config, "icm", settings)
    assert "choose one of" in refused(make_downstream_config, "icn")
    made(table, out)
    before = rows_of(out)
    assert "exists" in refused(made, table, out, "icm", "seed=3")
    assert "is read from" in refused(made, table, table.path, overwrite=True)
    assert rows_of(out) == before


def test_the_command_and_its_report(table, tmp_path, monkeypatch, capsys):
    out = tmp_path / "s.lance"
    corpus = table_of(tmp_path / "corpus.lance", [pair(n) for n in range(4)])
    code, said, _ = call_cli(
        monkeypatch, capsys, "downstream", "make", table.path, "--task", "icm", "--out", out,
        "--exclude", corpus.path,
    )  # fmt: skip
    assert code == 0
    assert "152 pairs of 76 pictures" in said
    data = json.loads((tmp_path / "s.lance.report.json").read_text(encoding="utf-8"))
    assert data["stages"][1]["dropped"] == {"the same image_id": 4}
    page = (tmp_path / "s.lance.report.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("no match") >= 12
    code, said, _ = call_cli(monkeypatch, capsys, "data", "check", out, "--against", corpus.path)
    assert code == 0
    assert "a near-duplicate picture: 0" in said
    code, said, _ = call_cli(monkeypatch, capsys, "data", "check", out, "--against", table.path)
    assert code == 1
    assert "share a near-duplicate picture with" in said
    code, said, error = call_cli(
        monkeypatch, capsys, "downstream", "make", table.path, "--task", "icm", "--out", out
    )
    assert code == 2
    assert "exists" in error[-1]


def test_the_report_shows_how_hard_they_are(table, tmp_path):
    found = made(table, tmp_path / "s.lance", model=Numbers(N))
    page = write_set_report(found).read_text(encoding="utf-8")
    assert "cosine, match and not" in page


def test_the_emoji_corpus_makes_a_set_that_no_half_can_solve(tmp_path):
    table = table_of(tmp_path / "emoji.lance", emoji_pairs()[::8])
    found = made(table, tmp_path / "s.lance", "icm", "text.least=2", "size=800")
    assert found.check.passed
    assert found.splits == {"train": 640, "val": 80, "test": 80}
    at_chance(found.check)


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason=f"no photographs at {PHOTOGRAPHS}")
def test_photographs_make_a_set_that_no_half_can_solve(tmp_path):
    tables = {}
    for name, most in (("train", 160), ("val", 40)):
        rows = pq.read_table(PHOTOGRAPHS / f"{name}.parquet").slice(0, most).to_pylist()
        tables[name] = table_of(
            tmp_path / f"{name}.lance",
            [
                Pair(row["image_id"], row["image"],
                     tuple(Text(text, "caption") for text in row["human"]), "train")
                for row in rows
            ],
        )  # fmt: skip
    found = made(tables["train"], tmp_path / "s.lance", exclude=[tables["val"].path])
    assert found.check.passed
    at_chance(found.check)
    shared = [fact for fact in found.check.facts if fact.parts]
    assert len(shared) == 6
    assert all(fact.value == 0 for fact in shared)


def at_chance(report):
    """Nothing tells the label; what text and picture tell is exactly nothing, not nearly so."""
    told = {
        fact.name.split(", ")[1]: fact.value
        for fact in report.facts
        if fact.name.startswith("baseline, ")
    }
    for name in ("text", "text length", "frequency", "picture", "image_id", "text_id"):
        assert told[f"{name} only"] == 0.5, told
    assert not [f for f in report.findings if "alone tells" in f.name]
