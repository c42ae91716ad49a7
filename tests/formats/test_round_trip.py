"""A table that was exported and imported again is the same table: rows, metadata and queries."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers.cli import call_cli
from helpers.old_table import write_old_table
from helpers.published_formats import picture
from r2d2.data.emoji import emoji_pairs
from r2d2.evaluation.class_run import evaluate_classification
from r2d2.evaluation.match_run import evaluate_matching
from r2d2.evaluation.run import evaluate_retrieval
from r2d2.evaluation.settings import EvaluationSettings
from r2d2.formats import parquet, registry, webdataset
from r2d2.formats.classes import class_names, class_text
from r2d2.formats.registry import FORMATS, export_table, import_table
from r2d2.table import Pair, PairsTable, Text, write_table
from r2d2.table_queries import TableQuery, read_queries, write_queries

WRITTEN = [name for name, one in FORMATS.items() if one.write]
METADATA = {"licence": "CC BY 4.0", "attribution": "某人，https://e.org", "benchmark": "muge"}
QUERIES = [TableQuery("8", "清新淡雅的碎花裙", "test"), TableQuery("9", "桌子", "val")]


def table_of(path, rows, metadata=None, queries=()):
    write_table(path, rows, metadata=metadata)
    write_queries(path, queries)
    return PairsTable.open(path)


def there_and_back(table, kind, folder, split=None):
    export_table(table, kind, folder / "out", split=split)
    assert not list((folder / "out").glob(".*"))
    found = import_table([folder / "out"], kind, folder / "back.lance")
    assert not found.dropped
    assert not found.renamed
    return PairsTable.open(folder / "back.lance")


def assert_same(table, other):
    assert other.take(other.rows()) == table.take(table.rows())
    assert other.metadata == table.metadata
    assert other.fingerprint == table.fingerprint
    assert read_queries(other.path) == read_queries(table.path)


def rows():
    whole = Text("  第一张 ", "title", 0.3, "t1", 3, 12)
    yield Pair("photos/1.jpg", picture(1), (whole, Text("查询", "query")), "test_novel",
               "http://e.org/1", 30, 20, 0.1, 3, 12)  # fmt: skip
    yield Pair("2", picture(2, "PNG"), (), "val")
    yield Pair("3", picture(3), (Text("同一句", "caption", text_id="t1"),), "train", ctr=0.0,
               clicks=0, impressions=0)  # fmt: skip
    for name in ("TIFF", "BMP", "AVIF", "WEBP", "GIF", "JPEG2000"):
        yield Pair(name, picture(4, name), (Text(name, "title"),), "train", width=30)


def pairs():
    for n in range(4):
        for label in (1, 0):
            texts = (Text(f"第{n if label else n + 1}张", "caption", text_id=f"{n}-{label}"),)
            yield Pair(f"a/{n}.jpg", picture(n), texts, "test", label=label)


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("made", [rows, pairs])
def test_everything_comes_back(tmp_path, kind, made):
    table = table_of(tmp_path / "a.lance", made(), METADATA, QUERIES)
    assert_same(table, there_and_back(table, kind, tmp_path))


@pytest.mark.parametrize("kind", WRITTEN)
def test_several_files_and_another_name(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("r2d2.formats.webdataset.ROWS", 3)
    monkeypatch.setattr("r2d2.formats.parquet.SHARD", 3)
    monkeypatch.setattr("r2d2.pair.BATCH_ROWS", 3)
    table = table_of(tmp_path / "a.lance", pairs(), METADATA, QUERIES)
    assert_same(table, there_and_back(table, kind, tmp_path))
    (tmp_path / "out").rename(tmp_path / "moved")
    file = sorted(path for path in (tmp_path / "moved").iterdir() if path.suffix != ".json")[0]
    import_table([file], kind, tmp_path / "first.lance")
    first = PairsTable.open(tmp_path / "first.lance")
    assert first.take(first.rows()) == table.take([0, 1, 2])
    assert first.metadata == METADATA


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_split_keeps_all_classes_and_its_own_queries(tmp_path, kind):
    names = [f"第{n}类" for n in range(12)]
    made = [
        Pair(f"{n}", picture(n), (class_text(names[n], str(n)),), "test" if n < 7 else "train")
        for n in range(11)
    ]
    for folder, metadata in (("listed", class_names(names)), ("unlisted", {})):
        (tmp_path / folder).mkdir()
        table = table_of(tmp_path / folder / "a.lance", made, metadata, QUERIES)
        back = there_and_back(table, kind, tmp_path / folder, split="test")
        known = names if metadata else names[:11]
        assert json.loads(back.metadata["classes"]) == known
        assert back.take(back.rows()) == table.take(table.rows("test"))
        assert read_queries(back.path) == QUERIES[:1]


def test_metadata_of_several_paths_are_joined(tmp_path):
    for n, licence in enumerate(("A", "B")):
        names = class_names(["猫", f"第{n}类"])
        table = table_of(
            tmp_path / f"{n}.lance", [Pair(f"{n}", picture(n), (class_text("猫", "0"),), "test")],
            {"licence": licence, f"note{n}": "x", **names}, QUERIES[n:],
        )  # fmt: skip
        export_table(table, "parquet", tmp_path / f"out{n}")
    found = import_table([tmp_path / "out0", tmp_path / "out1"], "parquet", tmp_path / "t.lance")
    table = PairsTable.open(tmp_path / "t.lance")
    assert table.metadata == {
        "licence": "A", "note0": "x", "note1": "x", **class_names(["猫", "第0类", "第1类"]),
    }  # fmt: skip
    assert read_queries(table.path) == QUERIES
    assert found.dropped.counts == {"metadata differ, the first holds": 1}
    assert "licence" in found.dropped.examples["metadata differ, the first holds"][0]


def test_a_damaged_note_is_told(tmp_path):
    table = table_of(tmp_path / "a.lance", rows(), METADATA)
    export_table(table, "webdataset", tmp_path / "out")
    (tmp_path / "out" / "r2d2.json").write_text("{")
    code = import_table([tmp_path / "out"], "webdataset", tmp_path / "t.lance")
    assert code.dropped.counts == {"metadata unreadable": 1}
    (tmp_path / "out" / "r2d2.json").write_text('{"name": "somebody else\'s"}')
    assert not import_table([tmp_path / "out"], "webdataset", tmp_path / "u.lance").dropped


def test_what_is_not_exported_is_printed(tmp_path, monkeypatch, capsys):
    import lance

    table_of(tmp_path / "a.lance", pairs(), METADATA)
    lance.dataset(str(tmp_path / "a.lance")).add_columns({"mine": "1"})
    code, out, _ = call_cli(
        monkeypatch, capsys, "data", "export", tmp_path / "a.lance", "--format", "parquet",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    assert "not exported: column mine" in out


def small_emoji(count=24):
    for number, pair in enumerate(emoji_pairs()[::150][:count]):
        yield replace(pair, split="test" if number < count - 4 else "val")


def figures(found):
    """What metrics.json holds but for what names the table and the run."""
    metrics = json.loads((found.parent / "metrics.json").read_text())
    metrics.pop("run")
    return metrics


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_same_figures(tmp_path, kind):
    corpus = list(small_emoji())
    tasks = {
        "retrieval": (
            corpus, {}, evaluate_retrieval, EvaluationSettings(splits=("test",), resamples=0)
        ),
        "matching": (
            [replace(p, texts=(t,), label=int(i == 0)) for n, p in enumerate(corpus)
             for i, t in enumerate((p.texts[0], corpus[n - 1].texts[0]))],
            {}, evaluate_matching, EvaluationSettings(splits=("test",), resamples=0),
        ),
        "classification": (
            [replace(p, texts=(class_text(p.texts[0].text, str(n)),))
             for n, p in enumerate(corpus)],
            class_names([*(p.texts[0].text for p in corpus), "没有图的类"]),
            evaluate_classification, EvaluationSettings(splits=("test",), resamples=0),
        ),
    }  # fmt: skip
    for name, (made, metadata, evaluate, settings) in tasks.items():
        (tmp_path / name).mkdir()
        table = table_of(tmp_path / name / "a.lance", made, metadata)
        back = there_and_back(table, kind, tmp_path / name)
        assert_same(table, back)
        results = [
            figures(evaluate("emoji", one.path, tmp_path / name / f"run{number}", settings))
            for number, one in enumerate((table, back))
        ]
        assert results[0] == results[1], name


def test_picture_files_are_called_by_their_format():
    from r2d2.formats.webdataset import ending

    noise = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for name, suffix in (("TIFF", "tif"), ("BMP", "bmp"), ("AVIF", "avif"), ("PNG", "png")):
        out = io.BytesIO()
        noise.save(out, name)
        assert ending(out.getvalue()) == suffix


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_table_with_repeated_ids_comes_back_with_unique_ones(tmp_path, kind):
    made = [Pair("1", picture(n), (Text(f"第{n}张", "title"),), "train") for n in range(3)]
    write_old_table(tmp_path / "a.lance", [*made, made[1]])
    export_table(PairsTable.open(tmp_path / "a.lance"), kind, tmp_path / "out")
    found = import_table([tmp_path / "out"], kind, tmp_path / "b.lance")
    table = PairsTable.open(tmp_path / "b.lance")
    assert [replace(pair, image_id="1") for pair in table.take(table.rows())] == made
    assert len(set(table.image_ids(table.rows()))) == 3
    assert (found.dropped.total, found.renamed.total) == (1, 2)


def test_an_exported_file_that_was_changed_is_read_by_its_values(tmp_path):
    table = table_of(tmp_path / "a.lance", pairs(), METADATA)
    export_table(table, "parquet", tmp_path / "out")
    file = tmp_path / "out" / "00000.parquet"
    changed = pq.read_table(file)
    texts = [[{**text[0], "text": None if n == 1 else "新的"}]
             for n, text in enumerate(changed["texts"].to_pylist())]  # fmt: skip
    changed = changed.set_column(changed.schema.names.index("texts"), "texts", [texts])
    pq.write_table(changed.drop_columns(["url"]), file)
    found = import_table([file], "parquet", tmp_path / "b.lance")
    back = PairsTable.open(tmp_path / "b.lance")
    assert {text.text for row in back.texts(back.rows()) for text in row} == {"新的"}
    assert found.rows == 7
    assert back.metadata == METADATA


class StoppedError(Exception):
    """Stands for a signal or a full disk in the middle of an export."""


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("there", [False, True])
def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch, kind, there):
    """Whole files alone would not tell that others are missing."""
    monkeypatch.setattr(webdataset, "ROWS", 2)
    monkeypatch.setattr(parquet, "SHARD", 2)
    monkeypatch.setattr(registry, "CHUNK", 1)
    rows = [Pair(str(n), picture(n), (Text("猫", "query"),), "train") for n in range(5)]
    write_table(tmp_path / "a.lance", rows)
    out = tmp_path / "exports" / "out"
    if there:
        out.mkdir(parents=True)

    def stop(name, done, total):
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        export_table(PairsTable.open(tmp_path / "a.lance"), kind, out, update=stop)
    left = sorted(path.name for path in out.parent.rglob("*")) if out.parent.exists() else []
    assert left == (["out"] if there else [])
    assert export_table(PairsTable.open(tmp_path / "a.lance"), kind, out) == 5
    assert import_table([out], kind, tmp_path / "back.lance").rows == 5
