"""What `r2d2 data check` finds: each trouble in a table that has it, none in one that has not."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.cli import call_cli, refused
from helpers.distinct_pairs import quiet
from helpers.pictures import png
from r2d2.checks.base import CheckOptions
from r2d2.checks.run import CHECKS, check_table
from r2d2.data.emoji import build_emoji_table
from r2d2.table import Pair, Text, write_table
from r2d2.tokenizer import SPECIAL_TOKENS, Tokenizer

PHOTOGRAPHS = Path(__file__).parents[2] / "../shared/data/flickr8k-cn/train.parquet"


def picture(number, side=80):
    return png(
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8))
    )


def pair(n, split="train", text=None, image=None, **more):
    texts = text if isinstance(text, tuple) else (f"第{n}张图" if text is None else text,)
    image = picture(n) if image is None else image
    return Pair(f"p{n}", image, tuple(Text(t, "title") for t in texts), split, **more)


HEALTHY = [pair(n, "val" if n > 16 else "train") for n in range(20)]


def check(tmp_path, pairs, **asked):
    write_table(tmp_path / "t.lance", pairs, overwrite=True)
    return check_table(tmp_path / "t.lance", quiet, CheckOptions(**asked))


def names(report):
    return [finding.name for finding in report.findings]


def only(report, part):
    found = [finding for finding in report.findings if part in finding.name]
    assert len(found) == 1, names(report)
    return found[0]


def test_a_healthy_table(tmp_path):
    report = check(tmp_path, HEALTHY)
    assert report.findings == ()
    assert report.passed
    assert (report.rows, report.texts, report.pictures) == (20, 20, 20)
    assert "nothing found" in report.lines()[-1]


def test_the_embedded_corpus_is_healthy_against_its_own_vocabulary(tmp_path):
    table = build_emoji_table(tmp_path / "emoji.lance")
    texts = [t.text for row in table.texts(table.rows()) for t in row]
    tokenizer = Tokenizer.train(texts, 4096, 24)
    report = check_table(table.path, quiet, CheckOptions(tokenizer, 24))
    assert names(report) == []


def test_missing_splits(tmp_path):
    report = check(tmp_path, [pair(n, "test") for n in range(3)])
    assert only(report, "no split 'train'").severity == "stop"
    assert only(report, "no split 'val'").severity == "warn"
    assert not report.passed


def test_rows_without_texts_and_empty_texts(tmp_path):
    report = check(
        tmp_path, [*HEALTHY, pair(50, text=()), pair(51, text=("  ",)), pair(52, text=("a", " "))]
    )
    assert (only(report, "rows without a text").count, only(report, "empty texts").count) == (2, 1)
    assert only(report, "rows without a text").examples == ("row 20 (p50)", "row 21 (p51)")
    assert only(report, "rows without a text").severity == "warn"
    none = check(tmp_path, [pair(n, text=()) for n in range(3)])
    assert (only(none, "rows without a text").severity, none.passed) == ("stop", False)


def test_a_label_set_is_told_to_use_labels(tmp_path):
    pairs = [pair(n, "train" if n < 100 else "val", f"标签{n % 4}") for n in range(120)]
    report = check(tmp_path, pairs)
    found = only(report, "labels: 4 distinct")
    assert (found.count, found.total, found.severity) == (96, 100, "warn")
    assert "标签0 (25 times)" in found.examples
    assert "train.batch_size" in found.remedy
    assert not any("has too" in name for name in names(report))  # that labels recur is no leak


def test_repeated_and_leaked_captions(tmp_path):
    pairs = [pair(n, text=f"图{n // 2}") for n in range(40)] + [
        pair(60, "val", "图1"),
        pair(61, "val"),
    ]
    report = check(tmp_path, pairs)
    assert only(report, "repeated texts: 20 distinct").count == 20
    leaked = only(report, "texts of split 'val' that 'train' has too")
    assert (leaked.count, leaked.total, leaked.examples) == (1, 2, ("图1",))


def test_texts_that_are_cut_or_unknown(tmp_path):
    path = tmp_path / "vocab.txt"
    inner = [f"##{digit}" for digit in range(10)]
    path.write_text("\n".join([*SPECIAL_TOKENS, *"第张图0123456789", *inner]), encoding="utf-8")
    tokenizer = Tokenizer.from_vocab(path, 8)
    pairs = [*HEALTHY, pair(30, text="图" * 6), pair(31, text="图" * 7), pair(32, text="图龘图")]
    report = check(tmp_path, pairs, tokenizer=tokenizer, max_length=8)
    cut = only(report, "cut at 8 tokens")
    assert (cut.count, cut.total) == (1, 23)
    assert cut.examples[0].startswith("row 21, 9 tokens: 图图")
    unknown = only(report, "vocabulary lacks")
    assert (unknown.count, unknown.examples[0]) == (1, "characters 龘")


def test_pictures_that_are_unreadable_or_tiny(tmp_path):
    files = (b"no picture", b"", picture(0)[:500], picture(3, side=20))
    pairs = [pair(40 + n, image=file) for n, file in enumerate(files)]
    report = check(tmp_path, [*HEALTHY, *pairs])
    kinds = {name.split()[-1] for name in names(report) if "that are" in name}
    assert kinds == {"unreadable", "empty", "truncated"}
    assert only(report, "side under 64").examples == ("row 23, 20x20",)
    assert all(finding.severity != "stop" for finding in report.findings)
    broken = check(tmp_path, [pair(n, s, image=b"x") for n, s in enumerate(("train", "val"))])
    assert only(broken, "unreadable").severity == "stop"


def test_the_same_picture_twice(tmp_path):
    again = picture(2)
    pairs = [
        *HEALTHY,
        pair(70, image=again),
        pair(71, image=again),
        pair(72, "val", image=picture(5)),
    ]
    report = check(tmp_path, pairs)
    waste = only(report, "several rows of 'train'")
    assert (waste.count, waste.examples[0]) == (2, "rows 2 = 20 = 21")
    leak = only(report, "that are in 'train' too")
    assert (leak.count, leak.total, leak.severity) == (1, 4, "stop")
    assert leak.examples == ("rows 5 = 22",)


def test_near_duplicates_by_what_is_handed_in(tmp_path):
    class Near:
        def hash(self, picture):
            return int(np.asarray(picture).mean())

        def groups(self, hashes):
            return np.unique(hashes // 50, return_inverse=True)[1]

        def within(self, known, hashes):
            return np.isin(hashes // 50, known // 50)

    flat = {
        n: png(Image.new("RGB", (80, 80), (level,) * 3)) for n, level in enumerate((10, 20, 120))
    }
    pairs = [pair(0, image=flat[0]), pair(1, "val", image=flat[1]), pair(2, "val", image=flat[2])]
    report = check(tmp_path, pairs, near=Near())
    assert only(report, "near-duplicates").examples == ("rows 0 = 1",)
    # equal files are told once, as equal files
    report = check(tmp_path, [*pairs, pair(3, "val", image=flat[0])], near=Near())
    assert [name for name in names(report) if "same file" in name]
    assert only(report, "near-duplicates").count == 1


def test_labels_out_of_balance(tmp_path):
    pairs = [pair(n, "train" if n < 30 else "val", label=int(n % 10 == 0)) for n in range(40)]
    report = check(tmp_path, [*pairs, pair(90)])
    found = [f for f in report.findings if "out of balance" in f.name]
    assert [(f.count, f.total) for f in found] == [(3, 30), (1, 10)]
    assert only(report, "without a label").count == 1
    # one picture in several labelled rows is how matching sets are
    rows = [pair(n, "train", image=picture(n // 2), label=n % 2) for n in range(20)]
    assert not any("several rows" in name for name in names(check(tmp_path, rows)))


def test_a_sample_of_the_pictures_is_looked_at(tmp_path):
    write_table(tmp_path / "t.lance", (pair(n, image=b"x") for n in range(600)))
    report = check_table(tmp_path / "t.lance", quiet, CheckOptions(), pictures=150)
    assert 110 < report.pictures < 190
    assert only(report, "unreadable").total == report.pictures
    assert report.rows == 600


def test_every_check_is_named_once_and_an_empty_table_is_refused(tmp_path):
    assert len(set(CHECKS)) == len(CHECKS) == 9
    write_table(tmp_path / "t.lance", [])
    assert "no row" in refused(check_table, tmp_path / "t.lance", quiet)


def test_the_command(tmp_path, monkeypatch, capsys):
    write_table(tmp_path / "t.lance", [*HEALTHY, pair(80, "val", image=picture(1))])
    code, out, _ = call_cli(
        monkeypatch, capsys, "data", "check", tmp_path / "t.lance", "--out", tmp_path / "c.json"
    )
    assert code == 1
    assert out.index("stop: pictures of split 'val'") > 0
    assert "--model or --vocab" in out
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["findings"]
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "第", "张"]), encoding="utf-8")
    write_table(tmp_path / "t.lance", HEALTHY, overwrite=True)
    code, out, _ = call_cli(
        monkeypatch,
        capsys,
        "data",
        "check",
        tmp_path / "t.lance",
        "--vocab",
        tmp_path / "vocab.txt",
    )
    assert code == 0
    assert "warn: texts with characters that the vocabulary lacks: 20 of 20 texts (100.0%)" in out


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason=f"no photographs at {PHOTOGRAPHS}")
def test_real_photographs_are_healthy(tmp_path):
    rows = pq.read_table(PHOTOGRAPHS).slice(0, 120).to_pylist()
    pairs = [
        Pair(row["image_id"], row["image"], tuple(Text(t, "caption") for t in row["human"]),
             "val" if n % 10 == 0 else "train")
        for n, row in enumerate(rows)
    ]  # fmt: skip
    write_table(tmp_path / "t.lance", pairs)
    report = check_table(tmp_path / "t.lance", quiet, CheckOptions())
    assert report.passed, report.lines()
    assert not any("picture" in name for name in names(report)), report.lines()
