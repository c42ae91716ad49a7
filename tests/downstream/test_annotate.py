"""Tasks out and answers in: majority, disputes, careless people, and every bad row counted."""

import base64
import csv
import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.cli import call_cli, refused
from helpers.distinct_pairs import caption, pair, rows_of, table_of
from helpers.label_exports import annotation, export_of, tasks_of
from r2d2.downstream.answers import read_answers
from r2d2.downstream.config import make_downstream_config
from r2d2.downstream.labels import LabelRules, label_set
from r2d2.downstream.make import make_set
from r2d2.downstream.tasks import TaskSettings, export_tasks, pair_id, project_id, read_gold
from r2d2.table import PairsTable, Text


@pytest.fixture(scope="module")
def matching(tmp_path_factory):
    """A set of 40 pictures in 80 rows, and its tasks with 8 gold items."""
    folder = tmp_path_factory.mktemp("set")
    table = table_of(folder / "t.lance", [pair(n) for n in range(40)])
    make_set(table, folder / "s.lance", make_downstream_config("icm"))
    opened = PairsTable.open(folder / "s.lance")
    export_tasks(opened, folder / "tasks", TaskSettings(overlap=3, gold=0.1))
    return opened, folder / "tasks"


def truth(task):
    number = int(next(n for n in range(40) if caption(n) == task["data"]["text"]))
    mine = pair_id(f"p{number:04d}", task["data"]["text"]) == task["data"]["pair"]
    return "match" if mine else "no match"


def honest(n, task):
    return [annotation(truth(task), who) for who in (1, 2, 3)]


def label(matching, tmp_path, say, *rules, gold=True, name="out", **more):
    table, folder = matching
    file = export_of(tmp_path / f"{name}.json", tasks_of(folder), say)
    found = read_answers([file], project_id(table))
    known = read_gold(folder / "gold.csv") if gold else None
    out = tmp_path / f"{name}.lance"
    return label_set(table, out, found, LabelRules(*rules, **more), gold=known), out


def test_tasks_have_pictures_and_texts_and_no_answers(matching):
    folder = matching[1]
    tasks = tasks_of(folder)
    gold = read_gold(folder / "gold.csv")
    assert len(tasks) == 84  # four of the eight gold items are rows of the set
    assert sorted(gold.values()) == ["match"] * 4 + ["no match"] * 4
    assert {task["data"]["pair"] for task in tasks} >= set(gold)
    for task in tasks:
        assert set(task) == {"data"}
        assert set(task["data"]) == {
            "project", "pair", "round", "overlap", "asked", "text", "image",
        }  # fmt: skip
        head, _, data = task["data"]["image"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (64, 64)
    assert all(gold[task["data"]["pair"]] == truth(task) for task in tasks
               if task["data"]["pair"] in gold)  # fmt: skip
    body = json.loads((folder / "project.json").read_text(encoding="utf-8"))
    assert body["maximum_annotations"] == 3
    config = ET.fromstring((folder / "config.xml").read_text(encoding="utf-8"))
    assert [one.get("alias") for one in config.iter("Choice")] == ["match", "no match", "unsure"]
    assert {one.get("value") for one in config.iter() if one.tag in ("Image", "Text")} == {
        "$image", "$text",
    }  # fmt: skip
    labels = [truth(task) for task in tasks]
    assert labels != sorted(labels)  # the order tells nothing


def test_pictures_as_files(matching, tmp_path):
    settings = TaskSettings(gold=0, pictures="files", prefix="zh/set1")
    found = export_tasks(matching[0], tmp_path / "f", settings)
    tasks = tasks_of(tmp_path / "f")
    assert (found.tasks, found.gold, len(tasks)) == (80, 0, 80)
    for task in tasks:
        folder, _, name = task["data"]["image"].rpartition("/")
        assert folder == "/data/local-files/?d=zh/set1"
        assert (tmp_path / "f" / name).read_bytes()[:2] == b"\xff\xd8"


def test_honest_people_agree_wholly(matching, tmp_path):
    found, out = label(matching, tmp_path, honest)
    assert found.kept == {"match": 40, "no match": 40}
    assert (found.changed, found.left_out, found.unanimous, found.fleiss) == (0, {}, 1.0, 1.0)
    assert rows_of(out) == rows_of(matching[0].path)
    assert [(one.name, one.gold, one.gold_accuracy, one.named) for one in found.people] == [
        (who, 8, 1.0, ()) for who in "123"
    ]
    audit = pq.read_table(out.with_name("out.lance.audit.parquet")).to_pylist()
    assert len(audit) == 84 * 3
    assert sum(row["gold"] is not None for row in audit) == 24
    assert {row["decided"] for row in audit} == {"match", "no match", None}
    assert PairsTable.open(out).metadata == matching[0].metadata


def test_majorities_change_labels_and_disputes_wait(matching, tmp_path):
    ours = {row[0:2] for row in rows_of(matching[0].path)}
    assert len(ours) == 80

    def say(n, task):
        right = truth(task)
        wrong = "no match" if right == "match" else "match"
        answers = {0: (wrong, wrong, right), 1: (right, wrong, "unsure"), 2: ("unsure",) * 3}
        some = answers.get(n, (right,) * 3)
        return [annotation(a, who) for who, a in enumerate(some)]

    found, out = label(matching, tmp_path, say, gold=False)
    # of the first three tasks some may be gold items, which are in no row
    tasks = tasks_of(matching[1])
    pairs = {pair_id(*row) for row in ours}
    inside = [task["data"]["pair"] in pairs for task in tasks[:3]]
    assert found.changed == inside[0]
    assert found.left_out == {
        what: 1 for what, there in zip(("disputed", "unsure"), inside[1:], strict=True) if there
    }
    assert len(found.again) == inside[1]
    assert found.skipped["about a pair that is not in the set (gold? give --gold)"] == 12
    assert sum(found.kept.values()) == len(rows_of(out)) == 80 - sum(inside[1:])


def test_careless_people_are_named(matching, tmp_path):
    def say(n, task):
        lazy = "match" if n % 2 else "no match"
        return [annotation(truth(task), 1), annotation(truth(task), 2),
                annotation(lazy, {"id": 9, "email": "lazy@example.org"})]  # fmt: skip

    found, _ = label(matching, tmp_path, say)
    lazy = {one.name: one for one in found.people}["lazy@example.org"]
    assert any("kappa" in why for why in lazy.named)
    assert lazy.kappa < 0.3
    assert found.cohen["1 × 2"] == (1.0, 80)
    assert found.changed == 0
    without, _ = label(matching, tmp_path, say, name="w", without=("lazy@example.org",))
    assert without.skipped["of annotators left out"] == 84
    named = without.examples["of annotators left out"]
    assert len(named) == 5
    assert named[0].endswith("by lazy@example.org")
    assert without.kept == {"match": 40, "no match": 40}  # two answers do, for the third is gone
    assert without.fleiss == 1


def test_who_always_says_the_same_fails_on_gold(matching, tmp_path):
    def say(n, task):
        return [annotation(truth(task), 1), annotation(truth(task), 2), annotation("匹配", 3)]

    found, _ = label(matching, tmp_path, say)
    third = found.people[2]
    assert (third.gold, third.gold_accuracy) == (8, 0.5)
    assert "below 80% on gold items" in third.named
    data = json.loads((tmp_path / "out.lance.report.json").read_text(encoding="utf-8"))
    assert data["people"][2]["named"]
    page = (tmp_path / "out.lance.report.html").read_text(encoding="utf-8")
    assert "below 80% on gold items" in page


def test_bad_rows_are_counted(matching, tmp_path):
    def say(n, task):
        good = honest(n, task)
        bad = {
            0: annotation("match", 4, was_cancelled=True), 1: annotation(None, 4),
            2: annotation("perhaps", 4), 3: annotation("match", None), 4: "not an object",
            5: {**annotation("match", 4), "result": [
                {"value": {"choices": ["match", "unsure"]}}, "x",
            ]},
            6: annotation(truth(task), 1, at=30),
        }  # fmt: skip
        return [*good, bad[n]] if n in bad else good

    found, _ = label(matching, tmp_path, say)
    assert found.skipped == {
        "skipped by the annotator": 1, "no answer": 1,
        "an answer that is not match, no match or unsure": 1, "an annotation by nobody": 1,
        "an annotation that is no object": 1, "several answers at once": 1,
        "answered again: the later one counts": 1,
    }  # fmt: skip
    assert found.kept == {"match": 40, "no match": 40}
    assert set(found.examples) == set(found.skipped)
    assert all("task" in found.examples[why][0] for why in found.skipped if "again" not in why)
    page = (tmp_path / "out.lance.report.html").read_text(encoding="utf-8")
    assert (
        f"several answers at once, such as {found.examples['several answers at once'][0]}" in page
    )


def test_half_finished_and_foreign_exports(matching, tmp_path):
    table, folder = matching
    out = tmp_path / "out.lance"

    def some(n, task):
        return honest(n, task) if n < 30 else honest(n, task)[:1] if n < 50 else []

    said = refused(label, matching, tmp_path, some)
    assert "fewer answers than they were to get" in said
    assert "--partial" in said
    assert not out.exists()
    found, _ = label(matching, tmp_path, some, partial=True)
    assert found.left_out["unfinished"] + sum(found.kept.values()) == 80
    assert sum(found.kept.values()) >= 26
    project = project_id(table)
    tasks = tasks_of(folder)
    file = tmp_path / "e.json"
    foreign = [{"data": {**t["data"], "project": "other"}} for t in tasks]
    export_of(file, foreign, honest)
    assert "is about another set (a task of another set: 84" in refused(
        read_answers, [file], project
    )
    export_of(file, [{"data": {"text": "x"}}], lambda n, task: [])
    assert "none of ours: 1" in refused(read_answers, [file], project)
    export_of(file, tasks, lambda n, task: [])
    assert "not one answer" in refused(read_answers, [file], project)
    for content, word in (
        ('[{"id": 1, "annotations": [', "no readable JSON"),
        ('{"id": 1}', "no list of tasks"),
        ('[{"pair": "1", "answer": "match"}]', "not JSON-MIN"),
    ):
        file.write_text(content, encoding="utf-8")
        assert word in refused(read_answers, [file], project)
    assert "cannot read" in refused(read_answers, [tmp_path / "none.json"], project)
    export_of(file, [*tasks, *foreign], honest)
    mixed = read_answers([file], project)
    assert mixed.dropped.counts == {"a task of another set": 84}
    assert mixed.tasks == 84
    before = rows_of(out)
    assert "exists" in refused(label, matching, tmp_path, honest)
    assert rows_of(out) == before
    assert "nobody of this name" in refused(
        label, matching, tmp_path, honest, name="n", without=("x",)
    )


def second_round(table, tmp_path, pairs, strip=False):
    """Of two people in the first round, who differ about some pairs; and two more are to answer."""
    export_tasks(table, tmp_path / "one", TaskSettings(overlap=2, gold=0))
    tasks = tasks_of(tmp_path / "one")
    asked = {task["data"]["pair"] for task in tasks[:pairs]}
    again = TaskSettings(overlap=2, gold=0, only=asked, round=2)
    export_tasks(table, tmp_path / "two", again)

    def take(name, say, folder="two"):
        tasks = tasks_of(tmp_path / folder)
        for task in tasks if strip else ():
            del task["data"]["round"], task["data"]["asked"]
        file = export_of(tmp_path / f"{name}.json", tasks, say)
        done = [task for task in json.loads(file.read_text("utf-8")) if task["annotations"]]
        file.write_text(json.dumps(done), encoding="utf-8")
        return file

    first = take("e1", lambda n, task: [
        annotation(truth(task), 1),
        annotation("unsure" if task["data"]["pair"] in asked else truth(task), 2),
    ], "one")  # fmt: skip

    def import_(name, say, **rules):
        files = [first] if say is None else [first, take(name, say)]
        found = read_answers(files, project_id(table))
        rules = LabelRules(**rules)
        return label_set(table, tmp_path / f"{name}.lance", found, rules), found.last_round

    return import_


def test_a_second_round_waits_for_all_its_people(matching, tmp_path):
    table = matching[0]
    import_ = second_round(table, tmp_path, 10)
    found, number = import_("none", None)
    assert (found.left_out, len(found.again), number) == ({"disputed": 10}, 10, 1)

    def half(n, task):
        return [annotation(truth(task), 3)]

    said = refused(import_, "half", half)
    assert "10 of 80 pairs have fewer answers than they were to get, such as that of p00" in said
    found, number = import_("partial", half, partial=True)
    assert (found.left_out, found.again, number) == ({"unfinished": 10}, frozenset(), 2)

    def some(n, task):  # what nobody has answered yet is not in Label Studio's export
        return [annotation(truth(task), who) for who in (3, 4)] if n < 4 else []

    assert "6 of 80 pairs have fewer" in refused(import_, "some", some)
    found, _ = import_("partly", some, partial=True)
    assert (found.left_out, sum(found.kept.values())) == ({"unfinished": 6}, 74)

    def whole(n, task):
        return [annotation(truth(task), 3), annotation("unsure" if n == 0 else truth(task), 4)]

    found, _ = import_("whole", whole)
    assert (found.left_out, len(found.again)) == ({"disputed": 1}, 1)
    assert sum(found.kept.values()) == 79

    def again(n, task):  # one who has answered before counts once, but is not waited for
        return [annotation(truth(task), 2, at=5), annotation(truth(task), 3)]

    found, _ = import_("again", again)
    assert (found.left_out, found.unanimous, found.answers) == ({}, 1, 170)


def test_exports_that_name_no_round_count_as_one(matching, tmp_path):
    import_ = second_round(matching[0], tmp_path, 10, strip=True)
    found, number = import_("old", lambda n, task: [annotation(truth(task), 3)])
    assert (found.left_out, sum(found.kept.values()), number) == ({}, 80, 1)


def test_pictures_that_cannot_be_read_wait_for_nobody(matching, tmp_path, monkeypatch, capsys):
    rows = matching[0].take(matching[0].rows())[:20]
    rows[3] = replace(rows[3], image=b"broken", clicks=10**6)  # the first choice for gold
    table = table_of(tmp_path / "b.lance", rows)
    tasks, out, ids = tmp_path / "tasks", tmp_path / "o.lance", rows[3].image_id
    call = ("annotate", "export", table.path, "--out", tasks, "--overlap", "1", "--gold", "0.2")
    code, said, _ = call_cli(monkeypatch, capsys, *call)
    assert code == 0
    assert f"left out: picture unreadable: 1, such as {ids}" in said
    gold = read_gold(tasks / "gold.csv")
    assert set(gold) <= {task["data"]["pair"] for task in tasks_of(tasks)}
    say = lambda n, task: [annotation("match", 1)]  # noqa: E731
    file = export_of(tmp_path / "e.json", tasks_of(tasks), say)
    code, said, error = call_cli(
        monkeypatch, capsys, "annotate", "import", file, "--set", table.path, "--out", out,
        "--gold", tasks / "gold.csv",
    )  # fmt: skip
    assert code == 0, error
    assert f"left out: picture unreadable: 1, such as {ids}" in said
    assert len(rows_of(out)) == 19
    report = json.loads((tmp_path / "o.lance.report.json").read_text(encoding="utf-8"))
    assert report["examples"] == {"picture unreadable": [ids]}
    page = (tmp_path / "o.lance.report.html").read_text(encoding="utf-8")
    assert f"picture unreadable, such as {ids}" in page
    none = table_of(tmp_path / "n.lance", [replace(row, image=b"broken") for row in rows])
    assert "not one picture can be read (picture unreadable 20)" in refused(
        export_tasks, none, tmp_path / "none"
    )
    assert not (tmp_path / "none").exists()


def test_gold_files_that_are_none(matching, tmp_path):
    path = tmp_path / "gold.csv"
    path.write_text("pair,answer\nabc,perhaps\n", encoding="utf-8")
    assert "mend or strike" in refused(read_gold, path)
    path.write_text("image_id,text\na,b\n", encoding="utf-8")
    assert "has columns image_id, text: give the gold.csv" in refused(read_gold, path)
    path.write_text("pair,answer,text\nabc,match,猫\n,,\n", encoding="gb18030")  # as Excel saves
    assert read_gold(path) == {"abc": "match"}
    assert "cannot read" in refused(read_gold, tmp_path / "none.csv")
    with (matching[1] / "gold.csv").open(encoding="utf-8-sig") as file:
        assert len(list(csv.DictReader(file))) == 8


def test_odd_values_of_an_export_do_no_harm(matching, tmp_path):
    def say(n, task):
        task["data"] |= {"round": "2", "overlap": -1, "asked": None}
        odd = (float("nan"), 10**400, -1, True, "x")[n % 5]
        return [annotation(truth(task), "\ud800甲", lead_time=odd, updated_at="\udfff")]

    found, out = label(matching, tmp_path, say, gold=False)
    assert (found.left_out, [one.name for one in found.people]) == ({}, ["?甲"])
    audit = pq.read_table(out.with_name("out.lance.audit.parquet"))["created"].to_pylist()
    assert set(audit) == {"?"}
    assert "no share is above" in refused(LabelRules, 1.0)
    file = tmp_path / "deep.json"
    file.write_text("[" * 100_000, encoding="utf-8")
    assert "no readable JSON" in refused(read_answers, [file], "x")


def test_export_refuses(matching, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    assert "exists: give another --out" in refused(export_tasks, matching[0], tmp_path)
    said = refused(export_tasks, matching[0], tmp_path, overwrite=True)
    assert "was not written by this command" in said
    assert "embed" in refused(TaskSettings, pictures="embedded")
    two = table_of(tmp_path / "two.lance", [pair(0, texts=(Text("甲", "t"), Text("乙", "t")))])
    assert "one text a row" in refused(export_tasks, two, tmp_path / "x")


def test_a_retrieval_set_keeps_its_matches(tmp_path):
    table = table_of(tmp_path / "t.lance", [pair(n) for n in range(40)])
    make_set(table, tmp_path / "s.lance", make_downstream_config("icr"))
    opened = PairsTable.open(tmp_path / "s.lance")
    export_tasks(opened, tmp_path / "tasks", TaskSettings(overlap=1, gold=0))
    tasks = tasks_of(tmp_path / "tasks")
    say = lambda n, task: [annotation("no match" if n < 5 else "match", 1)]  # noqa: E731
    found = read_answers([export_of(tmp_path / "e.json", tasks, say)], project_id(opened))
    result = label_set(opened, tmp_path / "o.lance", found, LabelRules())
    assert (result.kept, result.left_out) == ({"match": 35}, {"no match": 5})
    assert {row[3] for row in rows_of(tmp_path / "o.lance")} == {None}
    assert math.isnan(result.fleiss)


def test_the_commands_and_a_second_round(matching, tmp_path, monkeypatch, capsys):
    table, _ = matching
    tasks = tmp_path / "tasks"
    code, said, _ = call_cli(
        monkeypatch, capsys, "annotate", "export", table.path, "--out", tasks, "--overlap", "2",
        "--gold", "0",
    )  # fmt: skip
    assert code == 0
    assert "80 tasks in 1 files" in said

    def split(n, task):
        return [annotation(truth(task), 1), annotation("unsure" if n < 6 else truth(task), 2)]

    one = export_of(tmp_path / "one.json", tasks_of(tasks), split)
    again, out = tmp_path / "again", tmp_path / "o.lance"
    call = ("annotate", "import", one, "--set", table.path, "--out", out, "--again", again)
    code, said, _ = call_cli(monkeypatch, capsys, *call)
    assert code == 0
    assert "second round: 6 pairs" in said
    assert "left out: disputed: 6" in said
    second = tasks_of(again)
    assert [(t["data"]["round"], t["data"]["asked"]) for t in second] == [(2, 6)] * 6
    two = export_of(tmp_path / "two.json", second,
                    lambda n, task: [annotation(truth(task), who) for who in (3, 4)])  # fmt: skip
    code, said, _ = call_cli(
        monkeypatch, capsys, "annotate", "import", one, two, "--set", table.path, "--out", out,
        "--overwrite",
    )  # fmt: skip
    assert code == 0
    assert len(rows_of(out)) == 80
    code, _, error = call_cli(monkeypatch, capsys, *call)
    assert code == 2
    assert "exists: give another --out, or --overwrite" in error[-1]
