"""Ids of imported rows: the path under the folder given, or the format's own; each once."""

import base64
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.cli import call_cli
from helpers.published_formats import imported, jsonl, lines, picture
from r2d2.errors import R2D2Error
from r2d2.inputs.ids import RENAMED_IMAGE, RENAMED_TEXT, REPEATED_ROW

NAMES = [f"{folder}/{number}.jpg" for folder in range(10) for number in (1, 2)]


def folders(root, names=NAMES):
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(seed))
    return root


def captions(file):
    return lines(file, *(f"{name}#0\t第{name}张" for name in NAMES))


def wukong(file):
    return lines(file, "dir,caption", *(f"{name},第{name}张" for name in NAMES))


def zero(file, **more):
    return jsonl(file, *({"image_path": n, "text": f"第{n}张", **more} for n in NAMES))


PATH_FORMATS = {
    "flickr30k-cna": lambda p: captions(p / "flickr30k_cn_test.txt"),
    "flickr8k-cn": lambda p: captions(p / "flickr8kzhc.caption.txt"),
    "lit-cn": lambda p: captions(p / "image_caption_long_cn.txt"),
    "docci-cn": lambda p: captions(p / "image_caption_trans.txt"),
    "wukong": lambda p: wukong(p / "wukong_test.csv"),
    "danqing": lambda p: wukong(p / "a.csv"),
    "taisu": lambda p: wukong(p / "a.csv"),
    "own": lambda p: lines(p / "a.csv", "image,caption", *(f"{n},第{n}张" for n in NAMES)),
}


@pytest.mark.parametrize("kind", PATH_FORMATS)
def test_pictures_of_one_base_name_have_ids_of_their_own(tmp_path, kind):
    file = PATH_FORMATS[kind](tmp_path / "texts")
    found, rows, _ = imported(kind, tmp_path / "t.lance", file, folders(tmp_path / "photos"))
    assert sorted(row.image_id for row in rows) == sorted(NAMES)
    assert {row.image_id: row.texts[0].text for row in rows} == {n: f"第{n}张" for n in NAMES}
    assert not found.renamed
    assert not found.dropped


@pytest.mark.parametrize("kind", ["icr", "icm"])
def test_pictures_of_one_base_name_in_zeros_sets(tmp_path, kind):
    task = "itm" if kind == "icm" else "itr"
    file = zero(
        tmp_path / "texts" / f"long_{task}_test.json", **({"label": 1} if task == "itm" else {})
    )
    _, rows, _ = imported(kind, tmp_path / "t.lance", file, folders(tmp_path / "photos"))
    assert {row.image_id: row.texts[0].text for row in rows} == {n: f"第{n}张" for n in NAMES}


def test_class_folders_with_folders_within(tmp_path):
    names = [f"test/{label}/{part}/{n}.jpg" for label in "猫狗" for part in "ab" for n in (1, 2)]
    _, rows, _ = imported("class-folders", tmp_path / "t.lance", folders(tmp_path / "set", names))
    assert sorted(row.image_id for row in rows) == sorted(names)


def test_an_id_does_not_change_with_what_else_is_given(tmp_path):
    photos, more = folders(tmp_path / "photos"), folders(tmp_path / "more", ["x/1.jpg"])
    file = PATH_FORMATS["wukong"](tmp_path / "texts")
    _, rows, _ = imported("wukong", tmp_path / "a.lance", file, photos)
    _, again, _ = imported("wukong", tmp_path / "b.lance", file, more, photos)
    assert [row.image_id for row in again] == [row.image_id for row in rows]


def test_aic_icc_has_ids_of_its_own(tmp_path):
    items = [
        {"image_id": "a1.jpg", "caption": ["一只猫", "猫"]},
        {"image_id": "b.jpg", "caption": ["狗"]},
    ]
    lines(tmp_path / "caption_validation_annotations_1.json", json.dumps(items + items[:1]))
    folders(tmp_path / "photos", ["a1.jpg", "b.jpg"])
    found, rows, _ = imported("aic-icc", tmp_path / "t.lance", tmp_path)
    assert [row.image_id for row in rows] == ["a1.jpg", "b.jpg"]
    assert [text.text_id for text in rows[0].texts] == ["a1.jpg#0", "a1.jpg#1"]
    assert found.dropped.counts == {REPEATED_ROW: 1}


def test_rows_of_one_file_are_one_row(tmp_path):
    file = lines(tmp_path / "a.csv", "dir,caption", "0/1.jpg,猫", "0/2.jpg,狗", "0/1.jpg,一只猫")
    _, rows, _ = imported("wukong", tmp_path / "t.lance", file, folders(tmp_path / "photos"))
    assert [(r.image_id, [t.text for t in r.texts]) for r in rows] == [
        ("0/1.jpg", ["猫", "一只猫"]), ("0/2.jpg", ["狗"]),
    ]  # fmt: skip


def test_members_of_tars_of_one_name(tmp_path):
    for shard in "ab":
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for name, data in (("1.jpg", picture(ord(shard))), ("1.txt", shard.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    _, rows, _ = imported("webdataset", tmp_path / "t.lance", tmp_path)
    assert [(r.image_id, r.texts[0].text) for r in rows] == [("a.tar/1", "a"), ("b.tar/1", "b")]
    _, rows, _ = imported("webdataset", tmp_path / "u.lance", tmp_path / "b.tar")
    assert [row.image_id for row in rows] == ["b.tar/1"]


def test_an_id_twice_in_parquet_loses_nothing(tmp_path, monkeypatch, capsys):
    images = [picture(0), picture(1), picture(0)]
    table = pa.table({"image": images, "image_id": [1, 1, 1], "caption": ["猫", "狗", "猫"]})
    pq.write_table(table, tmp_path / "d.parquet")
    found, rows, _ = imported("parquet", tmp_path / "t.lance", tmp_path / "d.parquet")
    assert [(r.image, r.texts[0].text) for r in rows] == [(images[0], "猫"), (images[1], "狗")]
    assert rows[0].image_id == "1" != rows[1].image_id
    assert found.dropped.counts == {REPEATED_ROW: 1}
    assert found.renamed.counts == {RENAMED_IMAGE: 1}
    code, out, _ = call_cli(
        monkeypatch, capsys, "data", "import", "parquet", tmp_path / "d.parquet", "--out",
        tmp_path / "u.lance",
    )  # fmt: skip
    assert code == 0
    assert f"left out: {REPEATED_ROW}: 1 (image id 1, split train)" in out
    assert f"kept: {RENAMED_IMAGE}: 1 (1 is {rows[1].image_id})" in out


def test_chinese_clip_keeps_texts_of_one_id(tmp_path):
    packed = [base64.b64encode(picture(seed)).decode() for seed in range(3)]
    lines(
        tmp_path / "valid_imgs.tsv",
        f"1\t{packed[0]}",
        f"2\t{packed[1]}",
        f"2\t{packed[1]}",
        f"1\t{packed[2]}",
    )
    texts = [
        (7, "猫", [1]), (7, "狗", [2]), (7, "猫", [1]), (7, "猫", [2]),
        (8, "鸟", []), (8, "鱼", []), (8, "鸟", []),
    ]  # fmt: skip
    names = ("text_id", "text", "image_ids")
    jsonl(tmp_path / "valid_texts.jsonl", *(dict(zip(names, one, strict=True)) for one in texts))
    found, rows, _ = imported("chinese-clip", tmp_path / "t.lance", tmp_path)
    assert [[t.text for t in r.texts] for r in rows] == [["猫"], ["狗", "猫"], ["猫"]]
    assert [r.image for r in rows] == [picture(n) for n in range(3)]
    assert [r.image_id for r in rows[:2]] == ["1", "2"]
    assert rows[2].image_id.startswith("1-")
    ids = {(t.text, t.text_id) for r in rows for t in r.texts}
    assert len(ids) == 2
    assert ("猫", "7") in ids
    assert found.renamed.counts == {RENAMED_TEXT: 2, RENAMED_IMAGE: 1}
    assert found.dropped.counts == {"the same text once more": 2, REPEATED_ROW: 1}
    assert found.queries == 2


@pytest.mark.parametrize("kind", ["flickr30k-cna", "wukong", "icr", "class-folders"])
def test_folders_whose_pictures_would_have_one_id_are_refused_at_once(tmp_path, kind):
    """One would need another id, which would depend on what else is given, and in which order."""
    one, two = folders(tmp_path / "one", ["猫/1.jpg"]), folders(tmp_path / "two", ["猫/1.jpg"])
    (two / "猫" / "1.jpg").write_bytes(picture(7))
    file = {
        "flickr30k-cna": lambda: lines(tmp_path / "flickr30k_cn_test.txt", "one/猫/1.jpg#0\t猫"),
        "wukong": lambda: lines(tmp_path / "a.csv", "dir,caption", "one/猫/1.jpg,猫"),
        "icr": lambda: jsonl(tmp_path / "long_itr_test.json", {"image_path": "a", "text": "猫"}),
        "class-folders": lambda: None,
    }[kind]()
    given = [path for path in (file, one, two) if path is not None]
    with pytest.raises(R2D2Error) as error:
        imported(kind, tmp_path / "t.lance", *given)
    assert f"{one}/猫/1.jpg and {two}/猫/1.jpg would have one id" in str(error.value)
    assert "give one folder that holds both" in str(error.value)
    (two / "猫" / "1.jpg").rename(two / "猫" / "2.jpg")
    if kind == "class-folders":
        _, rows, _ = imported(kind, tmp_path / "t.lance", two, one)
        assert sorted(row.image_id for row in rows) == ["猫/1.jpg", "猫/2.jpg"]
