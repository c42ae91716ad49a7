"""MUGE and Chinese-CLIP's layout: TSV and JSON lines, LMDB, and queries without an answer."""

import base64
import json
import pickle
import tracemalloc

import lmdb
import pytest

from helpers.cli import call_cli
from helpers.published_formats import imported, jsonl, lines, picture, said
from r2d2.errors import R2D2Error
from r2d2.formats.tsv_images import tsv_images
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import RENAMED_IMAGE, RENAMED_TEXT
from r2d2.table_queries import TableQuery, queries_file, read_queries


def packed(seed, urlsafe=False):
    data = picture(seed)
    return (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()


def muge(folder, **how):
    """Three splits, dirt in the second, no answers in the third."""
    lines(folder / "MR_train_imgs.tsv", f"11\t{packed(1)}", f"12\t{packed(2, urlsafe=True)}", **how)
    jsonl(
        folder / "MR_train_queries.jsonl",
        {"query_id": 1, "query_text": "连衣裙", "item_ids": [11, 12]},
        {"query_id": 2, "query_text": "红裙", "item_ids": [11]},
        **how,
    )
    lines(
        folder / "MR_valid_imgs.tsv",
        f"21\t{packed(3)}", f"22\t{packed(4)}", f"21\t{packed(5)}", "23\t%%%", "24",
        f"25\t{packed(6)[:-9]}",
        **how,
    )  # fmt: skip
    jsonl(
        folder / "MR_valid_queries.jsonl",
        {"query_id": 3, "query_text": "鞋", "item_ids": [21, 21, 99]},
        {"query_id": 3, "query_text": "重复", "item_ids": [22]},
        {"query_id": 4, "query_text": "\u3000 ", "item_ids": [22]},
        '{"query_id": 5,', {"query_id": 6}, {"query_id": 7, "query_text": "好", "item_ids": "21"},
        **how,
    )  # fmt: skip
    lines(folder / "MR_test_imgs.tsv", f"31\t{packed(7)}", f"32\t{packed(8)}", **how)
    jsonl(
        folder / "MR_test_queries.jsonl",
        {"query_id": 8, "query_text": " 沙发 ", "item_ids": []},
        {"query_id": 9, "query_text": "桌子"},
        **how,
    )
    return folder


@pytest.mark.parametrize("how", [{}, {"end": "\r\n", "bom": True}])
def test_muge(tmp_path, how):
    found, rows, table = imported("muge", tmp_path / "m.lance", muge(tmp_path / "muge", **how))
    assert said(rows) == [
        ("31", "test", []), ("32", "test", []),
        ("11", "train", ["连衣裙", "红裙"]), ("12", "train", ["连衣裙"]),
        ("21", "val", ["鞋", "好"]), ("22", "val", ["重复"]),
        (rows[6].image_id, "val", ["鞋", "好"]),
    ]  # fmt: skip
    assert [row.image for row in rows[2:4]] == [picture(1), picture(2)]
    assert [row.image for row in rows[4:]] == [picture(3), picture(4), picture(5)]
    assert rows[6].image_id.startswith("21-")
    assert {(t.text_id.partition("-")[0], t.source, t.text) for r in rows for t in r.texts} == {
        ("1", "query", "连衣裙"), ("2", "query", "红裙"), ("3", "query", "鞋"),
        ("3", "query", "重复"), ("7", "query", "好"),
    }  # fmt: skip
    assert found.renamed.counts == {RENAMED_IMAGE: 1, RENAMED_TEXT: 1}
    queries = [TableQuery("8", "沙发", "test"), TableQuery("9", "桌子", "test")]
    assert read_queries(table.path) == queries
    assert queries_file(table.path) == tmp_path / "m.queries.jsonl"
    assert found.queries == 2
    assert found.dropped.counts == {
        "bad base64": 1, "malformed line": 2, "not a JSON object": 1, "no text": 1,
        "image truncated": 1, "picture of a text not found": 1,
    }  # fmt: skip


def test_a_table_without_queries_has_no_file_of_them(tmp_path):
    imported("muge", tmp_path / "m.lance", muge(tmp_path / "muge"))
    for file in (tmp_path / "muge").glob("MR_test*"):
        file.unlink()
    _, _, table = imported("muge", tmp_path / "m.lance", tmp_path / "muge", overwrite=True)
    assert not queries_file(table.path).exists()
    assert read_queries(table.path) == []
    lines(queries_file(table.path), "{}")
    with pytest.raises(R2D2Error, match=r"m.queries.jsonl, line 1 is no query"):
        read_queries(table.path)


def test_a_file_of_queries_is_not_replaced_unasked(tmp_path):
    folder = muge(tmp_path / "muge")
    file = lines(tmp_path / "m.queries.jsonl", "mine")
    with pytest.raises(R2D2Error, match=r"m\.queries\.jsonl exists"):
        imported("muge", tmp_path / "m.lance", folder)
    assert file.read_text() == "mine\n"
    assert not (tmp_path / "m.lance").exists()


def test_the_command_tells_of_the_queries(tmp_path, monkeypatch, capsys):
    code, out, told = call_cli(
        monkeypatch, capsys, "data", "import", "muge", muge(tmp_path / "muge"), "--out",
        tmp_path / "m.lance",
    )  # fmt: skip
    assert code == 0, told
    assert "7 rows, 8 texts; test 2, train 2, val 3" in out
    assert "m.queries.jsonl: 2 queries without an answer" in out
    assert "left out: malformed line: 2" in out
    code, out, _ = call_cli(monkeypatch, capsys, "data", "formats")
    assert code == 0
    assert "muge: " in out
    assert "MR_{split}_imgs.tsv" in out


def chinese_clip(folder):
    """Two splits as TSV and JSON lines."""
    for n, split in enumerate(("train", "valid")):
        lines(
            folder / f"{split}_imgs.tsv",
            *(f"{k}\t{packed(10 * n + k, urlsafe=bool(k))}" for k in (1, 2)),
        )
        jsonl(
            folder / f"{split}_texts.jsonl",
            {"text_id": 7, "text": f"一{split}", "image_ids": [2]},
            {"text_id": 8, "text": f"二{split}", "image_ids": [1, 2]},
            {"text_id": 9, "text": "没有图", "image_ids": []},
        )
    return folder


def lmdb_of(folder, into, splits=("train", "valid")):
    """What Chinese-CLIP's own script makes of it."""
    for split in splits:
        for name in ("imgs", "pairs"):
            (into / split / name).mkdir(parents=True)
        with (
            lmdb.open(str(into / split / "pairs"), map_size=1 << 22) as env,
            env.begin(write=True) as txn,
        ):
            count = 0
            for line in (folder / f"{split}_texts.jsonl").read_text().splitlines():
                fields = json.loads(line)
                for image in fields["image_ids"]:
                    pair = pickle.dumps((image, fields["text_id"], fields["text"]))
                    txn.put(str(count).encode(), pair)
                    count += 1
            txn.put(b"num_samples", str(count).encode())
        with (
            lmdb.open(str(into / split / "imgs"), map_size=1 << 22) as env,
            env.begin(write=True) as txn,
        ):
            rows = (folder / f"{split}_imgs.tsv").read_text().splitlines()
            for row in rows:
                key, image = row.split("\t")
                txn.put(key.encode(), image.encode())
            txn.put(b"num_images", str(len(rows)).encode())
    return into


def test_chinese_clip_both_ways(tmp_path):
    folder = chinese_clip(tmp_path / "tsv")
    _, rows, table = imported("chinese-clip", tmp_path / "a.lance", folder)
    assert said(rows) == [
        ("1", "train", ["二train"]), ("2", "train", ["一train", "二train"]),
        (rows[2].image_id, "val", ["二valid"]), (rows[3].image_id, "val", ["一valid", "二valid"]),
    ]  # fmt: skip
    assert [row.image_id.partition("-")[0] for row in rows[2:]] == ["1", "2"]
    assert [text.text_id for row in rows for text in row.texts] == ["8", "7", "8"] * 2
    assert [(q.text_id, q.split) for q in read_queries(table.path)] == [
        ("9", "train"),
        ("9", "val"),
    ]
    store = lmdb_of(folder, tmp_path / "only" / "lmdb")
    _, same, other = imported("chinese-clip", tmp_path / "b.lance", store.parent)
    assert same == rows
    assert read_queries(other.path) == []
    lmdb_of(folder, folder / "lmdb")  # where the script puts it, beside the TSV
    _, same, other = imported("chinese-clip", tmp_path / "c.lance", folder)
    assert same == rows
    for file in folder.glob("*_imgs.tsv"):
        file.unlink()
    _, same, other = imported("chinese-clip", tmp_path / "d.lance", folder)
    assert same == rows
    assert len(read_queries(other.path)) == 2


def test_pairs_of_lmdb_that_are_no_pairs_are_counted(tmp_path):
    store = lmdb_of(chinese_clip(tmp_path / "tsv"), tmp_path / "lmdb")
    with (
        lmdb.open(str(store / "train" / "pairs"), map_size=1 << 22) as env,
        env.begin(write=True) as txn,
    ):
        for n, data in enumerate((b"cos\nsystem\n(S'true'\ntR.", pickle.dumps((1, 2)), b"")):
            txn.put(f"9{n}".encode(), data)
        txn.put(b"99", pickle.dumps((1, 8, "又一次")))
    with (
        lmdb.open(str(store / "train" / "imgs"), map_size=1 << 22) as env,
        env.begin(write=True) as txn,
    ):
        txn.put(b"5", b"%%%")
    found, rows, _ = imported("chinese-clip", tmp_path / "t.lance", store)
    assert said(rows)[:2] == [
        ("1", "train", ["二train", "又一次"]),
        ("2", "train", ["一train", "二train"]),
    ]
    assert found.dropped.counts == {"pair refused": 3, "bad base64": 1}
    assert found.renamed.counts == {RENAMED_IMAGE: 2, RENAMED_TEXT: 1}
    (store / "valid" / "imgs" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(R2D2Error, match="no readable LMDB"):
        imported("chinese-clip", tmp_path / "u.lance", store)


def test_what_is_missing_is_told(tmp_path):
    folder = muge(tmp_path / "muge")
    (folder / "MR_valid_queries.jsonl").unlink()
    with pytest.raises(R2D2Error, match=r"looked for MR_valid_queries.jsonl .* found MR_test_imgs"):
        imported("muge", tmp_path / "t.lance", folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(R2D2Error, match=r"looked for \{split\}_imgs.tsv .*; found nothing"):
        imported("chinese-clip", tmp_path / "t.lance", tmp_path / "empty")


def test_pictures_are_read_one_at_a_time(tmp_path):
    line = base64.b64encode(b"x" * 300_000).decode()
    file = lines(tmp_path / "a_imgs.tsv", *(f"{n}\t{line}" for n in range(40)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in tsv_images(file, DroppedRows())) == 40
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(line)  # of 40 lines
