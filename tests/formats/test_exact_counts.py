"""Rows that belong together are counted one by one where they are left out; kept texts as such."""

import json
from base64 import b64encode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from formats.test_zero_sets import store_of
from helpers.published_formats import imported, jsonl, lines, picture, pictures
from r2d2.data.own import read_folder
from r2d2.inputs.dropped_rows import DroppedRows

GOOD, BAD = "good.jpg", "bad.jpg"
HOLE = "a text of a row that is kept: no text"


def photos(folder):
    pictures(folder, GOOD)
    (folder / BAD).write_bytes(b"no picture")
    return folder


def rows(*names):
    """Three rows of each picture."""
    return [(name, f"{name}的第{n}句话") for name in names for n in range(3)]


def test_every_row_of_a_picture_that_cannot_be_used_is_counted(tmp_path):
    folder = photos(tmp_path / "photos")
    table = [f"{name},{text}" for name, text in rows(GOOD, BAD, "lost.jpg")]
    file = lines(tmp_path / "c.csv", "image,caption", *table)
    dropped = DroppedRows()
    assert len(list(read_folder(folder, [file], dropped))) == 1
    assert dropped.counts == {"image unreadable": 3, "image not found": 3}


@pytest.mark.parametrize("kind", ["lit-cn", "icr", "wukong"])
def test_every_row_of_a_lost_picture_is_counted_in_every_reader(tmp_path, kind):
    photos(tmp_path / "photos")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.jpg").write_bytes(picture(9))
    told = rows(GOOD, BAD, "lost.jpg")
    if kind == "lit-cn":
        lines(tmp_path / "image_caption_long_cn.txt", *(f"{name}\t{text}" for name, text in told))
    elif kind == "icr":
        fields = [{"image_path": name, "text": text} for name, text in told]
        jsonl(tmp_path / "train" / "long_itr_train.json", *fields)
    else:
        jsonl(tmp_path / "a.jsonl", *({"dir": name, "caption": text} for name, text in told))
    found, table, _ = imported(kind, tmp_path / "t.lance", tmp_path)
    assert [len(row.texts) for row in table] == [3]
    assert found.dropped.counts == {"image unreadable": 3, "image not found": 3}


def test_every_box_of_a_lost_picture_is_counted(tmp_path):
    photos(tmp_path / "photos")
    names = [GOOD, BAD, "lost.jpg"]
    content = {
        "categories": [{"id": 1, "name": "猫"}],
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "category_id": 1, "bbox": [k, k, 3, 3]}
            for n in range(3) for k in range(2)
        ],
    }  # fmt: skip
    (tmp_path / "valid_category_data_total_zh.json").write_text(json.dumps(content))
    found, table, _ = imported("boxclass-cn", tmp_path / "t.lance", tmp_path)
    assert len(table) == 2
    assert found.dropped.counts == {"image unreadable": 2, "image not found": 2}


def test_texts_of_one_address_are_counted_one_by_one(tmp_path):
    good, bad = "https://e.org/0.jpg", "https://e.org/1.jpg"
    store = store_of(tmp_path / "store", {good: picture(0), bad: b"no picture"})
    fields = [(good, "猫"), (good, "猫"), (good, None), (bad, "狗"), (bad, "狼")]
    file = jsonl(tmp_path / "a.jsonl", *({"url": url, "caption": text} for url, text in fields))
    found, table, _ = imported("wukong", tmp_path / "t.lance", file, store)
    assert [[text.text for text in row.texts] for row in table] == [["猫"]]
    assert found.dropped.counts == {
        "the same text once more": 1, "no text": 1, "image unreadable": 2,
    }  # fmt: skip


def test_texts_of_a_row_that_is_left_out_are_not_said_to_be_of_a_row_that_is_kept(tmp_path):
    captions = [["猫", None], ["狗", None]]
    images = [picture(0), b"no picture"]
    pq.write_table(pa.table({"image": images, "caption": captions}), tmp_path / "a.parquet")
    found, table, _ = imported("parquet", tmp_path / "t.lance", tmp_path / "a.parquet")
    assert len(table) == 1
    assert found.dropped.counts == {HOLE: 1, "image unreadable": 1}


def test_texts_of_a_picture_that_cannot_be_read_are_counted(tmp_path):
    packed = [b64encode(data).decode() for data in (picture(0), b"no picture")]
    lines(tmp_path / "train_imgs.tsv", *(f"{n}\t{data}" for n, data in enumerate(packed)))
    jsonl(
        tmp_path / "train_texts.jsonl",
        *({"text_id": n, "text": f"第{n}句", "image_ids": [n]} for n in range(2)),
    )
    found, table, _ = imported("chinese-clip", tmp_path / "t.lance", tmp_path)
    assert [row.image_id for row in table] == ["0"]
    assert found.dropped.counts["picture of a text not found"] == 1
