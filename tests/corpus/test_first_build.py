"""What people have beside click logs: a file of image,caption, and a table that was imported."""

import csv
import json

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.cli import call_cli
from helpers.corpus_builds import jpeg, scene
from r2d2.corpus.build import build_corpus
from r2d2.corpus.config import make_corpus_config
from r2d2.errors import R2D2Error
from r2d2.table import Pair, PairsTable, Text, write_table

COUNT = 80


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures with captions.csv, as `finetune --captions` takes it."""
    folder = tmp_path_factory.mktemp("own")
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for n in range(COUNT):
            (folder / f"{n}.jpg").write_bytes(jpeg(scene(n)))
            writer.writerow([f"{n}.jpg", f"第{n}张照片里的风景"])
    return folder


def build(log, out, *settings):
    config = make_corpus_config(settings=["image.max_harmful=null", *settings])
    return build_corpus([str(log)], out, config)


def captions(path):
    table = PairsTable.open(path)
    pairs = table.take(table.rows())
    return {pair.image: sorted((t.source, t.text) for t in pair.texts) for pair in pairs}


WHOLE = {jpeg(scene(n)): [("caption", f"第{n}张照片里的风景")] for n in range(COUNT)}


def test_a_file_of_images_and_captions_is_built_with_no_setting(pictures, tmp_path):
    found = build(pictures / "captions.csv", tmp_path / "t.lance")
    assert captions(found.table) == WHOLE
    pairs = PairsTable.open(found.table).take([0])
    assert (pairs[0].ctr, pairs[0].clicks) == (None, None)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "lance", "tsv"])
def test_in_every_format(pictures, tmp_path, kind):
    log = pictures / f"log.{kind}"
    rows = [{"image": f"{n}.jpg", "caption": f"第{n}张照片里的风景"} for n in range(COUNT)]
    if kind == "jsonl":
        log.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif kind == "tsv":
        lines = ["image\tcaption", *("\t".join(row.values()) for row in rows)]
        log.write_text("\n".join(lines), encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), log)
    else:
        lance.write_dataset(pa.Table.from_pylist(rows), log)
    assert captions(build(log, tmp_path / "t.lance").table) == WHOLE


def test_the_two_settings_do_the_same(pictures, tmp_path):
    settings = ("log.path=image", "rank.enabled=false")
    found = build(pictures / "captions.csv", tmp_path / "t.lance", *settings)
    assert captions(found.table) == WHOLE


def test_an_imported_table_is_built(pictures, tmp_path, monkeypatch, capsys):
    own = tmp_path / "own.lance"
    code, _, lines = call_cli(monkeypatch, capsys, "data", "import", "own", pictures, "--out", own)
    assert code == 0, lines
    found = build(own, tmp_path / "t.lance")
    assert captions(found.table) == WHOLE


def test_a_corpus_is_built_anew_from_its_table(tmp_path):
    texts = [
        (Text("红色的汽车", "query", 0.1, "a", 3, 30), Text("一辆红色的汽车", "title")),
        (
            Text("雪地里的小狗", "query", 0.2, "b", 5, 50),
            Text("小狗在奔跑", "query", 0, "c", 0, 90),
        ),
    ]
    pairs = [Pair(f"id{n}", jpeg(scene(n)), texts[n], "train") for n in range(2)]
    write_table(tmp_path / "one.lance", pairs)
    found = build(tmp_path / "one.lance", tmp_path / "two.lance")
    assert captions(found.table) == {
        pairs[0].image: [("query", "红色的汽车"), ("title", "一辆红色的汽车")],
        pairs[1].image: [("query", "雪地里的小狗")],
    }
    assert found.stages[0].counts[0].notes["impressions"] == 170


def test_texts_that_do_not_match_are_left_out_and_counted(tmp_path):
    pairs = [
        Pair(f"id{n}", jpeg(scene(n)), (Text(f"第{n}张照片", "caption"),), "train", label=n % 2)
        for n in range(4)
    ]
    write_table(tmp_path / "one.lance", pairs)
    found = build(tmp_path / "one.lance", tmp_path / "two.lance")
    assert set(captions(found.table)) == {pairs[1].image, pairs[3].image}
    assert found.stages[0].counts[0].dropped == {"label 0: the text is not of the image": 2}


@pytest.mark.parametrize(
    "setting", ["rank.enabled=true", "rank.top_share=0.05", "rank.threshold=0.1"]
)
def test_ranking_that_was_asked_for_needs_clicks(pictures, tmp_path, setting):
    with pytest.raises(R2D2Error, match=r"no log has clicks to rank by.*rank\.enabled=false"):
        build(pictures / "captions.csv", tmp_path / "t.lance", setting)


def test_the_command_says_what_it_does_without_clicks(pictures, tmp_path, monkeypatch, capsys):
    code, out, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", pictures / "captions.csv", "--out",
        tmp_path / "t.lance", "--set", "image.max_harmful=null",
    )  # fmt: skip
    assert code == 0, lines
    assert "nothing is ranked: the logs have no queries" in out
    assert "no cut by rate" not in out
    assert f"{COUNT} images" in out
    assert "splits: train" in out


def test_a_column_of_splits_that_is_not_used_is_told(pictures, tmp_path, caplog):
    rows = [{"image": f"{n}.jpg", "caption": f"第{n}张照片", "split": "test"} for n in range(9)]
    pq.write_table(pa.Table.from_pylist(rows), pictures / "split.parquet")
    build(pictures / "split.parquet", tmp_path / "t.lance")
    assert any("column 'split'" in message and "sample.splits" in message
               for message in caplog.messages)  # fmt: skip


def test_a_default_build_has_a_split_to_validate_on(pictures, tmp_path):
    found = build(pictures / "captions.csv", tmp_path / "t.lance")
    splits = PairsTable.open(found.table).splits()
    assert set(splits) == {"train", "val"}
    assert splits["val"] < splits["train"] / 4
    none = build(pictures / "captions.csv", tmp_path / "n.lance", "sample.splits={}")
    assert set(PairsTable.open(none.table).splits()) == {"train"}


def test_too_few_pictures_for_a_val_split_are_told(tmp_path, monkeypatch, capsys):
    rows = [{"image": jpeg(scene(n)), "caption": f"第{n}张照片"} for n in range(2)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    code, out, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", tmp_path / "log.parquet", "--out",
        tmp_path / "t.lance", "--set", "image.max_harmful=null",
    )  # fmt: skip
    assert code == 0, lines
    assert "no picture is in the split val" in out
    assert "sample.splits={val: 0.2}" in out
    code, out, lines = call_cli(
        monkeypatch, capsys, "finetune", "retrieval", tmp_path / "t.lance", "--init", "emoji",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert "sample.splits" in lines[-1]


@pytest.mark.slow
def test_a_default_build_is_fine_tuned_on(pictures, tmp_path, monkeypatch, capsys):
    build(pictures / "captions.csv", tmp_path / "t.lance")
    code, _, lines = call_cli(
        monkeypatch, capsys, "finetune", "retrieval", tmp_path / "t.lance", "--init", "emoji",
        "--out", tmp_path / "run", "--set", "train.epochs=1",
    )  # fmt: skip
    assert code == 0, lines
    assert (tmp_path / "run/model").exists()


def test_pictures_that_are_not_there_are_named(pictures, tmp_path, monkeypatch, capsys):
    rows = (pictures / "captions.csv").read_text(encoding="utf-8")
    log = pictures / "more.csv"
    log.write_text(rows + "none/missing.jpg,一张不存在的照片里的风景\n", encoding="utf-8")
    code, out, lines = call_cli(
        monkeypatch, capsys, "corpus", "build", log, "--out", tmp_path / "t.lance",
        "--set", "image.max_harmful=null",
    )  # fmt: skip
    assert code == 0, lines
    told = next(line for line in out.splitlines() if "left out: gone: 1 (" in line)
    assert "none/missing.jpg (no such file)" in told
