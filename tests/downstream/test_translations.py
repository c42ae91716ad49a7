"""Two passes of a translation: recorded, measured, and read again as a caption file."""

import csv
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.cli import call_cli, refused
from helpers.distinct_pairs import picture
from r2d2.downstream.sentences import read_sentences
from r2d2.downstream.tasks import read_gold
from r2d2.downstream.translation_report import review
from r2d2.downstream.translations import captions, open_job, start_job, take_sheet
from r2d2.formats.registry import import_table
from r2d2.table import PairsTable

PHOTOGRAPHS = Path(__file__).parents[2] / "../shared/data/flickr8k-cn/val.parquet"
CSV = """image_id,source,machine
1.jpg,A man rides,一个人骑
1.jpg,Two dogs,两狗
2,A bus,一个巴士
2,,
,A cat,一只猫
"""


def naive_distance(a, b):
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
            )
    return table[-1][-1]


def test_a_report_without_its_package_names_the_extra(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance.Levenshtein", None)
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    take_sheet(job, fill(job.folder / "1.csv", job.folder / "pass-1.csv", translation=NEW), "甲")
    assert "zero-r2d2[translate]" in refused(review, job)


@pytest.fixture
def job(tmp_path):
    (tmp_path / "s.csv").write_text(CSV, encoding="utf-8")
    found, _ = read_sentences(tmp_path / "s.csv")
    return start_job(tmp_path / "job", found)


def fill(path, sheet, encoding="utf-8-sig", **columns):
    """A sheet with its columns filled by id; "*" for all."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for column, values in columns.items():
            row[column] = values.get(row["id"], values.get("*", ""))
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


NEW = {"1.jpg#0": "一个男人在骑车", "1.jpg#1": "两条狗", "2.jpg#0": "一辆公交车"}


def test_sentences_of_a_table(tmp_path):
    (tmp_path / "s.csv").write_text(CSV, encoding="gb18030")
    found, dropped = read_sentences(tmp_path / "s.csv")
    assert [(one.id, one.source, one.machine) for one in found] == [
        ("1.jpg#0", "A man rides", "一个人骑"), ("1.jpg#1", "Two dogs", "两狗"),
        ("2.jpg#0", "A bus", "一个巴士"),
    ]  # fmt: skip
    assert dropped.counts == {"no machine translation": 1, "no picture": 1}


def test_sentences_of_caption_lines(tmp_path):
    (tmp_path / "zh.txt").write_text("1.jpg#zh#0 一个人\n1.jpg#zh#3 两狗\n\n", encoding="utf-8")
    (tmp_path / "en.token").write_text("1.jpg#0\tA man\n1.jpg#3\tTwo dogs\n", encoding="utf-8")
    found, _ = read_sentences(tmp_path / "zh.txt", tmp_path / "en.token")
    assert [(one.id, one.source, one.machine) for one in found] == [
        ("1.jpg#0", "A man", "一个人"), ("1.jpg#3", "Two dogs", "两狗"),
    ]  # fmt: skip
    (tmp_path / "en.token").write_text("7.jpg#0\tA man\n", encoding="utf-8")
    assert "of one set" in refused(read_sentences, tmp_path / "zh.txt", tmp_path / "en.token")


def test_names_of_caption_lines_may_have_spaces(tmp_path):
    lines = ("my photo#zh#0 一个人", "a b  c#1 两狗 #2 号", "2.jpg#zh#0 球员#1 在跑", "7#0 一辆车")
    (tmp_path / "zh.txt").write_text("\n".join(lines), encoding="utf-8")
    found, dropped = read_sentences(tmp_path / "zh.txt")
    assert [(one.id, one.machine) for one in found] == [
        ("my photo.jpg#0", "一个人"), ("a b  c.jpg#1", "两狗 #2 号"), ("2.jpg#0", "球员#1 在跑"),
        ("7.jpg#0", "一辆车"),
    ]  # fmt: skip
    assert not dropped


def test_two_passes_and_what_they_say(job, tmp_path):
    first = fill(tmp_path / "1.csv", job.folder / "pass-1.csv", translation=NEW,
                 translator={"*": "甲", "2.jpg#0": "乙"})  # fmt: skip
    assert take_sheet(job, first).rows == 3
    second = fill(tmp_path / "2.csv", job.folder / "pass-2.csv", encoding="gb18030",
                  checked={"1.jpg#0": "OK", "1.jpg#1": "两只狗", "2.jpg#0": "√"},
                  checker={"*": "丙"})  # fmt: skip
    taken = take_sheet(job, second)
    assert (taken.number, taken.rows, taken.dropped.counts) == (2, 3, {})
    again = open_job(job.folder)
    assert captions(again, "zh", False) == [
        "1.jpg#zh#0 一个男人在骑车", "1.jpg#zh#1 两只狗", "2.jpg#zh#0 一辆公交车",
    ]  # fmt: skip
    found = review(again)
    assert (found.sentences, found.translated, found.checked) == (3, 3, 3)
    assert found.disagreement == pytest.approx(1 / 3)
    assert found.check.distance == pytest.approx(1 / 3)
    expected = [naive_distance(a, b) for a, b in (
        ("一个人骑", "一个男人在骑车"), ("两狗", "两条狗"), ("一个巴士", "一辆公交车"),
    )]  # fmt: skip
    assert found.translation.distance == pytest.approx(sum(expected) / 3)
    assert found.translators["甲"][1] == 0.5
    assert found.disputed == (("1.jpg#1", "两狗", "两条狗", "两只狗"),)
    told = (job.folder / "passes.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["number"] for line in told] == [1] * 3 + [2] * 3


def test_checks_that_are_not_recorded_stay_in_the_sheet(job, tmp_path):
    """A second translator hands in while the checkers write in JOB/pass-2.csv itself."""
    some = {name: NEW[name] for name in ("1.jpg#0", "1.jpg#1")}
    first = fill(tmp_path / "1.csv", job.folder / "pass-1.csv", translation=some,
                 translator={"*": "甲"})  # fmt: skip
    take_sheet(job, first)
    sheet = job.folder / "pass-2.csv"
    fill(sheet, sheet, checked={"1.jpg#0": "OK", "1.jpg#1": "两只狗"}, note={"1.jpg#1": "量词"})
    late = fill(tmp_path / "late.csv", job.folder / "pass-1.csv",
                translation={"1.jpg#0": "男人骑车", "2.jpg#0": NEW["2.jpg#0"]},
                translator={"*": "乙"})  # fmt: skip
    take_sheet(job, late)
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = {row["id"]: (row["checked"], row["note"]) for row in csv.DictReader(file)}
    assert rows == {
        "1.jpg#0": ("", ""),  # of a translation that is another now
        "1.jpg#1": ("两只狗", "量词"),
        "2.jpg#0": ("", ""),
    }


def test_the_result_reads_as_a_caption_file(job, tmp_path):
    take_sheet(job, fill(tmp_path / "1.csv", job.folder / "pass-1.csv", translation=NEW), by="甲")
    take_sheet(job, fill(tmp_path / "2.csv", job.folder / "pass-2.csv", checked={"*": "ok"}),
               by="乙")  # fmt: skip
    place = tmp_path / "set"
    (place / "flickr30k-images").mkdir(parents=True)
    for n in (1, 2):
        (place / f"flickr30k-images/{n}.jpg").write_bytes(picture(n))
    text = "".join(line + "\n" for line in captions(job, "zh", False))
    (place / "flickr30k_cna_test.txt").write_text(text, encoding="utf-8")
    import_table([place], "flickr30k-cna", tmp_path / "t.lance")
    table = PairsTable.open(tmp_path / "t.lance")
    rows = table.take(table.rows())
    assert {row.image_id: [t.text for t in row.texts] for row in rows} == {
        "flickr30k-images/1.jpg": ["一个男人在骑车", "两条狗"],
        "flickr30k-images/2.jpg": ["一辆公交车"],
    }  # fmt: skip
    assert {row.split for row in rows} == {"test"}


def test_bad_rows_are_counted(job, tmp_path):
    some = fill(tmp_path / "1.csv", job.folder / "pass-1.csv",
                translation={**NEW, "2.jpg#0": ""}, translator={"1.jpg#0": "甲"})  # fmt: skip
    assert take_sheet(job, some).dropped.counts == {"not filled in": 1, "no translator named": 1}
    take_sheet(job, fill(tmp_path / "1b.csv", job.folder / "pass-1.csv", translation=NEW), by="甲")
    sheet = fill(tmp_path / "2.csv", job.folder / "pass-2.csv", checked={"*": "ok"},
                 checker={"1.jpg#0": "甲", "*": "乙"},
                 translation={**NEW, "1.jpg#1": "被改了"})  # fmt: skip
    taken = take_sheet(job, sheet)
    assert taken.dropped.counts == {
        "checked by its own translator": 1,
        "its translation was changed in the sheet, or since": 1,
    }
    assert set(job.second) == {"2.jpg#0"}
    with (job.folder / "pass-2.csv").open(encoding="utf-8-sig") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["1.jpg#0", "1.jpg#1"]
    late = fill(tmp_path / "l.csv", job.folder / "pass-1.csv", translation={"*": "晚了"})
    assert take_sheet(job, late, by="甲").dropped.counts == {"checked already": 1}


def test_bad_input_is_one_line_and_changes_nothing(job, tmp_path):
    before = sorted(path.name for path in job.folder.iterdir())
    path = tmp_path / "x.csv"
    for text, word in (
        ("id,translation\n9.jpg#0,x\n", "a sheet of another job"),
        ("id,translation\n1.jpg#0,\n", "says nothing"),
        ("image,caption\n1,x\n", "give a filled"),
        ("", "give a filled"),
    ):
        path.write_text(text, encoding="utf-8")
        assert word in refused(take_sheet, job, path)
    path.write_text("id,translation\n1.jpg#0,x\n1.jpg#1,\ufffd\n", encoding="utf-8")
    assert "says nothing (characters that cannot be read: 1, such as " in refused(
        take_sheet, job, path
    )
    path.write_bytes(b"\xff\xfe\x81")
    assert "neither UTF-8 nor GB18030" in refused(take_sheet, job, path)
    assert sorted(path.name for path in job.folder.iterdir()) == before
    assert "not checked by a second person" in refused(captions, job, "zh", False)
    assert "not one sentence" in refused(captions, job, "zh", True)
    assert "exists: give another --out" in refused(start_job, job.folder, [])
    assert "no translation job" in refused(open_job, tmp_path)
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    assert "is wanted" in refused(read_sentences, path)
    assert "cannot read" in refused(read_sentences, tmp_path / "none.csv")
    (tmp_path / "x.doc").write_text("x", encoding="utf-8")
    assert "of no kind known" in refused(read_sentences, tmp_path / "x.doc")


def test_a_job_that_is_damaged_is_told_by_its_line(job):
    first = {"id": "1.jpg#0", "number": 1, "text": "一个男人", "by": "甲", "note": ""}
    passes = job.folder / "passes.jsonl"
    for row, word in (
        ([1], "line 2 is damaged"),
        ({**first, "more": 1}, "line 2 is damaged"),
        ({**first, "text": None}, "line 2 is damaged (a value of the wrong type)"),
        ({**first, "id": "9.jpg#0"}, "of another job: it is about 9.jpg#0"),
        ({**first, "number": 3}, "of another job"),
        ({**first, "id": "2.jpg#0", "number": 2}, "2.jpg#0 is checked, not translated"),
    ):
        passes.write_text(f"{json.dumps(first)}\n{json.dumps(row)}\n", encoding="utf-8")
        assert word in refused(open_job, job.folder)
    passes.write_text(json.dumps(first) + "\n", encoding="utf-8")
    assert set(open_job(job.folder).first) == {"1.jpg#0"}
    (job.folder / "sentences.jsonl").write_text("", encoding="utf-8")
    assert "is empty: start the job again" in refused(open_job, job.folder)


def test_json_lines_that_are_none_are_counted(tmp_path):
    path = tmp_path / "s.jsonl"
    rows = ('{"image_id": "1", "machine": "\\ud800狗"}', "[" * 100_000, "[]", "x",
            '{"image_id": "2", "machine": ["猫", null]}')  # fmt: skip
    path.write_text("\n".join(rows), encoding="utf-8")
    found, dropped = read_sentences(path)
    assert [one.id for one in start_job(tmp_path / "j", found).sentences.values()] == ["2.jpg#0"]
    assert dropped.counts == {
        "half of a surrogate pair in a text": 1, "not a JSON object": 3,
        "no machine translation": 1,
    }  # fmt: skip


@pytest.mark.parametrize("long", [10, 200_000])
def test_a_quote_that_is_not_closed_spoils_its_line(job, tmp_path, long):
    path, rest = tmp_path / "x.csv", f"2.jpg,{'字' * long}\n"

    def write(*head):
        row = '1.jpg#0,"两\n行"\n1.jpg#1,"一个人\n'
        path.write_text(",".join(head) + "\n" + row + rest, encoding="utf-8")

    write("image_id", "machine")
    found, dropped = read_sentences(path)
    assert [one.image for one in found] == ["1.jpg#0", "2.jpg"]
    assert [one.image for one in found if one.machine == "字" * long] == ["2.jpg"]
    assert dropped.counts == {"a quote is not closed": 1}
    write("id", "translation")
    taken = take_sheet(job, path, by="甲")
    assert taken.rows == 1
    assert taken.dropped.counts == {"a quote is not closed": 1, "of another job": 1}
    assert "x.csv, line 4" in taken.dropped.examples["a quote is not closed"][0]
    write("pair", "answer")  # gold would be less than it was: no line of it is left out
    assert "x.csv, line 4: a quote is not closed: mend" in refused(read_gold, path)
    path.write_text('pair,"answer\n1,2\n', encoding="utf-8")
    assert "x.csv, line 1: a quote is not closed: mend" in refused(read_gold, path)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_sentence_with_quotes_and_delimiters(tmp_path, kind):
    comma = "," if kind == "csv" else "\t"
    path = tmp_path / f"x.{kind}"
    path.write_text(f'image_id{comma}machine\n1.jpg{comma}"一个人"', encoding="utf-8")
    assert read_sentences(path)[0][0].machine == "一个人"
    path.write_text(f"image_id{comma}machine\n1.jpg\n2.jpg{comma}狗{comma}猫\n", encoding="utf-8")
    found, dropped = read_sentences(path)
    assert [one.machine for one in found] == ["狗,猫" if kind == "csv" else "狗 猫"]
    assert dropped.counts == {"malformed row": 1}


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason=f"no photographs at {PHOTOGRAPHS}")
def test_the_commands_on_captions_by_machine_and_by_people(tmp_path, monkeypatch, capsys):
    """Flickr8k-CN: the people's captions stand in for the translations."""
    job, out = tmp_path / "job", tmp_path / "flickr30k_cna_val.txt"
    code, said, _ = call_cli(
        monkeypatch, capsys, "translate-review", "export", PHOTOGRAPHS, "--out", job
    )
    assert code == 0
    assert "565 sentences" in said
    human = {
        f"{row['image_id']}.jpg#{k}": text
        for row in pq.read_table(PHOTOGRAPHS, columns=["image_id", "human"]).to_pylist()
        for k, text in enumerate(row["human"])
    }
    first = fill(tmp_path / "1.csv", job / "pass-1.csv", translation=human)
    call = ("translate-review", "import", job)
    code, said, _ = call_cli(monkeypatch, capsys, *call, first, "--by", "甲")
    assert code == 0
    assert "565 translations" in said
    odd = {name: text if n % 10 else text + "呢" for n, (name, text) in enumerate(human.items())}
    second = fill(tmp_path / "2.csv", job / "pass-2.csv", checked=odd)
    code, _, error = call_cli(monkeypatch, capsys, "translate-review", "report", job, "--out", out)
    assert code == 2
    assert "not checked" in error[-1]
    assert not out.exists()
    assert call_cli(monkeypatch, capsys, *call, second, "--by", "乙")[0] == 0
    code, said, _ = call_cli(monkeypatch, capsys, "translate-review", "report", job, "--out", out)
    assert code == 0
    assert "565 captions" in said
    report = json.loads((job / "report.json").read_text(encoding="utf-8"))
    assert report["disagreement"] == pytest.approx(57 / 565)
    assert 0.5 < report["translation"]["share"] < 0.9  # they were not written one of the other
    assert len(out.read_text(encoding="utf-8").splitlines()) == 565
    assert "translator 甲" in (job / "report.html").read_text(encoding="utf-8")
