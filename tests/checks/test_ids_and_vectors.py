"""What `r2d2 data check` tells of ids, repeated and unknown texts and vectors, and how it ends."""

import json
from dataclasses import asdict, replace

import lance
import numpy as np
import pyarrow as pa
import pytest

from helpers.cli import call_cli
from helpers.distinct_pairs import caption, pair, picture, quiet, table_of
from r2d2.checks.base import CheckOptions
from r2d2.checks.run import check_table
from r2d2.downstream.config import make_downstream_config
from r2d2.downstream.make import make_set
from r2d2.downstream.report import write_set_report
from r2d2.index.layout import TEXT_VECTOR, texts_uri
from r2d2.pair import SCHEMA
from r2d2.table import Text
from r2d2.tokenizer import SPECIAL_TOKENS, Tokenizer

HEALTHY = [pair(n, "val" if n > 16 else "train") for n in range(20)]


def written(path, pairs, **columns):
    """A table as others write it: `write_table` refuses some of these."""
    table = pa.Table.from_pylist([asdict(one) for one in pairs], schema=SCHEMA)
    for name, matrix in columns.items():
        flat = pa.array(np.asarray(matrix, np.float32).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, len(matrix[0]))
        table = table.append_column(name, column)
    lance.write_dataset(table, str(path), mode="overwrite")
    return path


def check(tmp_path, pairs, **asked):
    return check_table(written(tmp_path / "t.lance", pairs), quiet, CheckOptions(**asked))


def only(report, part):
    found = [finding for finding in report.findings if part in finding.name]
    assert len(found) == 1, report.lines()
    return found[0]


def test_one_id_for_different_pictures(tmp_path):
    report = check(tmp_path, [*HEALTHY, replace(pair(30), image_id="p0003")])
    found = only(report, "image ids that stand for different pictures")
    assert (found.severity, found.count, found.total) == ("stop", 2, 21)
    assert found.examples == ("rows 3 = 20",)
    assert not any("repeat an image_id" in one.name for one in report.findings)
    labelled = [replace(one, label=n % 2) for n, one in enumerate(HEALTHY)]
    twice = [*labelled, replace(labelled[4], image=picture(99), label=1 - labelled[4].label)]
    assert only(check(tmp_path, twice), "different pictures").count == 2


def test_an_id_that_is_repeated_and_one_that_is_missing(tmp_path):
    more = [replace(HEALTHY[3], texts=(Text("另一句话", "title"),)), replace(pair(31), image_id="")]
    report = check(tmp_path, [*HEALTHY, *more])
    found = only(report, "rows that repeat an image_id")
    assert (found.severity, found.count, found.examples) == ("warn", 1, ("rows 3 = 20",))
    assert only(report, "without an image_id").examples == ("row 21",)
    pairs = [replace(one, label=k) for one in HEALTHY for k in (0, 1)]  # a picture in two pairs
    assert not any("image_id" in one.name for one in check(tmp_path, pairs).findings)


def test_one_text_id_for_different_texts(tmp_path):
    rows = [
        replace(one, texts=(Text(caption(n), "title", text_id=f"t{n // 2}"),))
        for n, one in enumerate(HEALTHY[:6])
    ]
    found = only(check(tmp_path, [*rows, *HEALTHY[6:]]), "text ids that stand for different texts")
    assert (found.count, found.examples) == (6, ("rows 0 = 1", "rows 2 = 3", "rows 4 = 5"))
    same = [replace(one, texts=(Text("同一句话", "title", text_id="t"),)) for one in HEALTHY]
    assert not any("text ids" in one.name for one in check(tmp_path, same).findings)


def test_pairs_that_have_both_labels(tmp_path):
    rows = [replace(one, texts=(Text(caption(n), "title"),), label=n % 2)
            for n, one in enumerate(HEALTHY)]  # fmt: skip
    again = replace(rows[0], texts=(Text(caption(0) + "。", "title"),), label=1)
    found = only(check(tmp_path, [*rows, again]), "labelled both 1 and 0")
    assert (found.severity, found.count, found.examples) == ("warn", 2, ("rows 0 = 20",))
    many = [replace(one, label=k) for one in rows for k in (0, 1)]
    assert only(check(tmp_path, many), "labelled both 1 and 0").severity == "stop"


def test_labels_that_are_none(tmp_path):
    rows = [replace(one, label=(0, 1, 2)[n % 3]) for n, one in enumerate(HEALTHY)]
    found = only(check(tmp_path, rows), "labels that are neither 0 nor 1")
    assert (found.severity, found.count, found.examples[0]) == ("warn", 6, "row 2: 2")


def test_a_text_that_stands_twice_in_its_row(tmp_path):
    twice = pair(40, texts=(Text("一只猫", "title"), Text("一只 猫。", "title")))
    rows = [*HEALTHY, pair(41, texts=(Text("一只狗", "title"), Text("一只狗 ", "title"))), twice]
    found = only(check(tmp_path, rows), "texts that stand twice in their row")
    assert (found.severity, found.count) == ("note", 2)
    assert found.examples == ("row 20: 一只狗", "row 21: 一只 猫。")


@pytest.mark.parametrize("text", ["一只猫在屋顶上。", "一只 猫在屋顶上", "一只猫在屋顶上\u200b"])
def test_texts_that_differ_in_spelling_alone_leak(text, tmp_path):
    rows = [*HEALTHY, pair(50, texts=(Text("一只猫在屋顶上", "title"),)),
            pair(51, "val", texts=(Text(text, "title"),))]  # fmt: skip
    report = check(tmp_path, rows)
    assert only(report, "texts of split 'val' that 'train' has too").count == 1
    (fact,) = [fact for fact in report.facts if fact.name == "shared by 'val' and 'train'"]
    assert fact.parts["a text"] == 1


def test_texts_of_unknown_characters_only(tmp_path):
    vocab = tmp_path / "vocab.txt"
    known = sorted({char for one in HEALTHY for text in one.texts for char in text.text})
    vocab.write_text("\n".join([*SPECIAL_TOKENS, *known, "。"]), encoding="utf-8")
    tokenizer = Tokenizer.from_vocab(vocab, 64)
    rows = [*HEALTHY, pair(60, texts=(Text("龘靐", "title"),)),
            pair(61, texts=(Text("龘。", "title"), Text("\u200b", "title")))]  # fmt: skip
    found = only(check(tmp_path, rows, tokenizer=tokenizer), "no known word")
    assert (found.severity, found.count) == ("warn", 3)
    assert found.examples[0] == "row 20: 龘靐"
    foreign = [replace(one, texts=(Text("Ελλάδα", "title"),)) for one in HEALTHY]
    assert only(check(tmp_path, foreign, tokenizer=tokenizer), "no known word").severity == "stop"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_vectors_without_a_direction(value, tmp_path):
    matrix = np.random.default_rng(0).normal(size=(len(HEALTHY), 4))
    matrix[[3, 7]] = value
    path = written(tmp_path / "t.lance", HEALTHY, image_vector=matrix)
    report = check_table(path, quiet, CheckOptions())
    found = only(report, "vectors of column image_vector that are NaN, infinite or zero")
    assert (found.severity, found.count, found.total) == ("stop", 2, 20)
    assert found.examples == ("row 3", "row 7")
    assert not report.passed
    (fact,) = [fact for fact in report.facts if fact.name == "vectors of column image_vector"]
    assert fact.value == 20
    healthy = np.where(np.isfinite(matrix) & (matrix != 0), matrix, 1)
    path = written(tmp_path / "t.lance", HEALTHY, image_vector=healthy)
    written(texts_uri(str(path)), HEALTHY, **{TEXT_VECTOR: matrix})
    assert only(check_table(path, quiet, CheckOptions()), f"column {TEXT_VECTOR}").count == 2


def test_exit_codes_and_that_the_json_says_what_the_terminal_does(tmp_path, monkeypatch, capsys):
    def call(pairs):
        written(tmp_path / "t.lance", pairs)
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        code, said, _ = call_cli(
            monkeypatch, capsys, "data", "check", tmp_path / "t.lance", "--out", out
        )
        return code, said, json.loads(out.read_text(encoding="utf-8"))

    code, said, data = call(HEALTHY)
    assert (code, data["passed"]) == (0, True)
    assert "nothing found that would go wrong" in said
    warned = [*HEALTHY, replace(HEALTHY[3], texts=(Text("另一句话", "title"),))]
    code, said, data = call(warned)
    assert (code, data["passed"]) == (0, True)
    assert data["verdict"] == "nothing found that spoils a figure; 2 warnings"
    code, said, data = call([*HEALTHY, replace(pair(30), image_id="p0003")])
    assert (code, data["passed"]) == (1, False)
    assert data["verdict"] == "1 finding spoils a figure"
    assert said.rstrip().endswith(data["verdict"])
    for fact in data["facts"]:
        assert f"{fact['name']}: " in said
        assert fact["note"] in said
    for finding in data["findings"]:
        assert finding["name"] in said
        assert finding["remedy"] in said
    names = [fact["name"] for fact in data["facts"]]
    assert {"texts against a vocabulary", "near-duplicate pictures"} <= set(names)
    code, _, error = call_cli(monkeypatch, capsys, "data", "check", tmp_path / "none.lance")
    assert code == 2
    assert "no table" in error[-1]


def test_the_page_of_a_set_says_the_same(tmp_path):
    table = table_of(tmp_path / "t.lance", [pair(n) for n in range(60)])
    made = make_set(table, tmp_path / "s.lance", make_downstream_config("icm"))
    page = write_set_report(made).read_text(encoding="utf-8")
    assert made.check.verdict in page
    for fact in made.check.facts:
        assert fact.name.replace("'", "&#39;") in page or fact.name in page
