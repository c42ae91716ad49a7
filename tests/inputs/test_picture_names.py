"""Splits, names of pictures and samples as people have them, through the readers of formats."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.published_formats import imported, jsonl, lines, picture, pictures, said
from r2d2.errors import R2D2Error
from r2d2.inputs.pictures import MissingPicture

ELSEWHERE, ADDRESS = MissingPicture.ELSEWHERE.value, MissingPicture.ADDRESS.value


def splits(rows):
    return {row.texts[0].text: row.split for row in rows}


def tar_of(path, *names, packed=False):
    """A tar of members; .jpg is a picture, .txt a text that says its own name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for seed, name in enumerate(names):
            text = name.rpartition("/")[2].removesuffix(".txt").encode()
            data = text if name.endswith(".txt") else picture(seed)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(out.getvalue()) if packed else out.getvalue())
    return path


def parquet_of(path, captions, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [picture(hash(caption) % 1000) for caption in captions]
    pq.write_table(pa.table({"image": images, "caption": captions, **columns}), path)


HUB = {
    "train-00000-of-00001": "train", "validation-00000-of-00001": "val",
    "test-00000-of-00001": "test", "训练集": "train", "验证集": "val", "latest": "train",
    "contest": "train",
}  # fmt: skip


def test_splits_by_the_names_of_parquet_files(tmp_path):
    for name in HUB:
        parquet_of(tmp_path / "hf" / "data" / f"{name}.parquet", [name])
    _, rows, _ = imported("parquet", tmp_path / "t.lance", tmp_path / "hf")
    assert splits(rows) == HUB


@pytest.mark.parametrize("kind", ["parquet", "danqing"])
def test_a_column_wins_over_the_file_and_that_over_the_option(tmp_path, kind):
    told = {"猫": "Validation", "狗": "dev", "鸟": None, "鱼": "test_novel", "马": "测试集"}
    parquet_of(tmp_path / "test.parquet", list(told), split=list(told.values()))
    _, rows, _ = imported(kind, tmp_path / "t.lance", tmp_path / "test.parquet", split="train")
    assert splits(rows) == {
        "猫": "val", "狗": "val", "鸟": "test", "鱼": "test_novel", "马": "test",
    }  # fmt: skip
    parquet_of(tmp_path / "x.parquet", ["猫", "狗"], split=["val", "a\nb"])
    found, rows, _ = imported(kind, tmp_path / "u.lance", tmp_path / "x.parquet")
    assert splits(rows) == {"猫": "val"}
    assert found.dropped.counts == {"split is no name": 1}


@pytest.mark.parametrize("kind", ["webdataset", "img2dataset"])
def test_splits_by_the_folders_of_tar_files(tmp_path, kind):
    root = tmp_path / "test" / "sets"  # above what is given
    for folder in ("train", "val", "测试集", "misc"):
        tar_of(root / folder / "0.tar", f"{folder}.jpg", f"{folder}.txt")
    _, rows, _ = imported(kind, tmp_path / "t.lance", root)
    assert splits(rows) == {"train": "train", "val": "val", "测试集": "test", "misc": "train"}
    if kind == "webdataset":
        _, rows, _ = imported(kind, tmp_path / "u.lance", root / "train", root / "val")
        assert splits(rows) == {"train": "train", "val": "val"}


def test_splits_by_the_folders_of_pictures(tmp_path):
    for folder in ("train", "val", "misc"):
        pictures(tmp_path / "ph" / folder, f"{folder}.jpg")
    file = lines(
        tmp_path / "w.csv", "dir,text,split", "train/train.jpg,甲,", "val/val.jpg,乙,",
        "misc/misc.jpg,丙,", "val/val.jpg,丁,test",
    )  # fmt: skip
    _, rows, _ = imported("wukong", tmp_path / "t.lance", file, tmp_path / "ph")
    assert splits(rows) == {"甲": "train", "乙": "val", "丙": "train", "丁": "test"}


@pytest.mark.parametrize(
    ("kind", "name", "row"),
    [
        ("wukong", "w.csv", None),
        ("icr", "long_itr_train.json", lambda n, t: {"image_path": n, "text": t}),
        ("aic-icc", "caption_train_annotations_1.json",
         lambda n, t: {"image_id": n, "caption": [t]}),
        ("flickr30k-cna", "flickr30k_cna_train.txt", None),
    ],
)  # fmt: skip
def test_never_another_picture(tmp_path, kind, name, row):
    pictures(tmp_path / "ph" / "2022", "IMG_2.jpg", "IMG_3.jpg")
    pictures(tmp_path / "ph" / "2023", "IMG_1.jpg")
    told = {
        "2022/IMG_1.jpg": "没有这张", "2022/IMG_2.jpg": "一只猫", "2022\\IMG_3.jpg": "一只鸟",
        str(tmp_path / "ph" / "2023" / "IMG_1.jpg"): "生日蛋糕",
    }  # fmt: skip
    if kind == "wukong":
        file = lines(tmp_path / name, "dir,text", *(f"{n},{t}" for n, t in told.items()))
    elif row is None:
        file = lines(tmp_path / name, *(f"{n}\t{t}" for n, t in told.items()))
    elif kind == "icr":
        file = jsonl(tmp_path / name, *(row(n, t) for n, t in told.items()))
    else:
        file = lines(tmp_path / name, json.dumps([row(n, t) for n, t in told.items()]))
    found, rows, _ = imported(kind, tmp_path / "t.lance", file, tmp_path / "ph")
    texts = {text.text: row.image for row in rows for text in row.texts}
    assert texts == {
        "一只猫": picture(0), "一只鸟": picture(1), "生日蛋糕": picture(0),
    }  # fmt: skip
    assert found.dropped.counts == {"image not found": 1}
    assert "2022/IMG_1.jpg" in found.dropped.examples["image not found"][0]


def test_two_spellings_of_a_picture_are_one_row(tmp_path):
    pictures(tmp_path / "ph" / "sub", "猫.jpg")
    (tmp_path / "ph" / "link.jpg").symlink_to(tmp_path / "ph" / "sub" / "猫.jpg")
    file = lines(
        tmp_path / "w.csv", "dir,text", "sub/猫.jpg,一", "sub\\猫.jpg,二", "猫.jpg,三",
        "sub/%E7%8C%AB.jpg,四", "link.jpg,五", "./sub/../sub//猫.jpg,六",
    )  # fmt: skip
    _, rows, _ = imported("wukong", tmp_path / "t.lance", file, tmp_path / "ph")
    assert said(rows) == [("sub/猫.jpg", "train", list("一二三四五六"))]


def test_names_with_spaces_and_marks(tmp_path):
    names = ("a b#1.jpg", "100%.jpg", "a+b.jpg", "a%20b.jpg")
    pictures(tmp_path / "ph", *names)
    file = lines(
        tmp_path / "image_caption_long_cn.txt", *(f"{n}\t{seed}号" for seed, n in enumerate(names))
    )
    found, rows, _ = imported("lit-cn", tmp_path / "t.lance", file, tmp_path / "ph")
    assert {row.texts[0].text: row.image for row in rows} == {
        f"{seed}号": picture(seed) for seed in range(4)
    }
    assert not found.dropped


def test_every_suffix_in_every_reader(tmp_path):
    names = ("a.jfif", "b.TIF", "c.jpe", "d.Jpeg")
    pictures(tmp_path / "类", *names)
    (tmp_path / "类" / "e.heic").write_bytes(b"x")
    found, rows, _ = imported("class-folders", tmp_path / "t.lance", tmp_path)
    assert [row.image_id for row in rows] == [f"类/{name}" for name in names]
    assert found.dropped.counts == {"image unreadable": 1}
    stems = [name.split(".")[0] for name in names]
    texts = {stem: lines(tmp_path / "out" / "0" / f"{stem}.txt", stem, end="") for stem in stems}
    pictures(tmp_path / "out" / "0", *names)
    _, rows, _ = imported("img2dataset", tmp_path / "u.lance", tmp_path / "out")
    assert [row.texts[0].text for row in rows] == list(texts)
    tar_of(tmp_path / "0.tar", *names, *(f"{stem}.txt" for stem in stems))
    _, rows, _ = imported("webdataset", tmp_path / "v.lance", tmp_path / "0.tar")
    assert [row.texts[0].text for row in rows] == stems


@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_with_names_with_dots_sorted_by_type(tmp_path, packed):
    stems = ("a.1", "a.2", "b", "c.x.y")
    file = tar_of(
        tmp_path / ("0.tar.gz" if packed else "0.tar"),
        *(f"./{s}.jpg" for s in stems), "._b.jpg", *(f"./{s}.txt" for s in stems), packed=packed,
    )  # fmt: skip
    found, rows, _ = imported("webdataset", tmp_path / "t.lance", file)
    assert {row.texts[0].text: row.image for row in rows} == {
        stem: picture(seed) for seed, stem in enumerate(stems)
    }
    assert found.dropped.counts == {"hidden file passed over": 1}


def test_two_pictures_of_one_text_in_a_folder(tmp_path):
    pictures(tmp_path / "out" / "0", "a.png", "a.jpg", "b.jpg", "._b.jpg")
    lines(tmp_path / "out" / "0" / "a.txt", "甲", end="")
    lines(tmp_path / "out" / "0" / "b.txt", "乙", end="")
    lines(tmp_path / "out" / "00000_stats.json", "{}")
    found, rows, _ = imported("img2dataset", tmp_path / "t.lance", tmp_path / "out")
    assert {row.texts[0].text: row.image for row in rows} == {"甲": picture(1), "乙": picture(2)}
    assert found.dropped.counts == {
        "another picture of the same sample": 1, "hidden file passed over": 1,
    }  # fmt: skip


def test_what_img2dataset_could_not_use_is_counted_in_parquet_too(tmp_path):
    table = pa.table({
        "jpg": [picture(1), b"broken", None], "caption": ["猫", "狗", "鸟"], "key": ["1", "2", "3"],
        "status": ["success", "success", "failed_to_download"],
    })  # fmt: skip
    (tmp_path / "out").mkdir()
    pq.write_table(table, tmp_path / "out" / "0.parquet")
    found, rows, _ = imported("img2dataset", tmp_path / "t.lance", tmp_path / "out")
    assert splits(rows) == {"猫": "train"}
    assert found.dropped.counts == {"image unreadable": 1, "not fetched: failed_to_download": 1}


def test_two_files_of_one_split_are_refused(tmp_path):
    for folder in ("a", "b"):
        lines(tmp_path / folder / "train_imgs.tsv", "1\tx")
        jsonl(
            tmp_path / folder / "train_texts.jsonl", {"text_id": 1, "text": "猫", "image_ids": []}
        )
    with pytest.raises(R2D2Error, match="have one name: import one"):
        imported("chinese-clip", tmp_path / "t.lance", tmp_path)


def test_pictures_beside_a_parquet_file(tmp_path):
    """`datasets` writes a struct of bytes and path; without bytes the file stands beside."""
    pictures(tmp_path / "hf" / "images" / "val", "a.jpg")
    pictures(tmp_path / "hf" / "images", "b.jpg")
    names = ["images/val/a.jpg", "images\\b.jpg", "images/x.jpg", None, "/home/li/b.jpg"]
    told = ["第一", "第二", "第三", "第四", "第五"]
    held = [{"bytes": None, "path": name} for name in names]
    for number, column in enumerate((held, names)):
        file = tmp_path / "hf" / "data.parquet"
        pq.write_table(pa.table({"image": column, "text": told}), file)
        found, rows, _ = imported("parquet", tmp_path / f"t{number}.lance", tmp_path / "hf")
        assert sorted(said(rows)) == [
            ("images/b.jpg", "train", ["第二"]), ("images/val/a.jpg", "val", ["第一"]),
        ]  # fmt: skip
        assert found.dropped.counts == {"image not found": 1, "image empty": 1, ELSEWHERE: 1}
        found, rows, _ = imported("danqing", tmp_path / f"u{number}.lance", tmp_path / "hf")
        assert sorted(said(rows)) == [
            ("images/b.jpg", "train", ["第二"]), ("images/val/a.jpg", "val", ["第一"]),
        ]  # fmt: skip
        assert found.dropped.counts == {"image not found": 1, "no picture": 1, ELSEWHERE: 1}
        found, rows, _ = imported("own", tmp_path / f"v{number}.lance", tmp_path / "hf", file)
        assert {row.image_id for row in rows} == {"images/b.jpg", "images/val/a.jpg"}
        assert found.dropped.counts == {"image not found": 2, ELSEWHERE: 1}


def test_paths_of_another_computer_and_addresses_come_with_the_remedy(tmp_path):
    images = pictures(tmp_path / "photos", "a.jpg", "b.jpg")
    names = ["a.jpg", "C:\\li\\b.jpg", "/home/li/b.jpg", "\\\\nas\\b.jpg", "https://a.cn/b.jpg"]
    file = lines(tmp_path / "c.csv", "image,caption", *(f"{name},猫" for name in names))
    found, rows, _ = imported("own", tmp_path / "t.lance", images, file)
    assert [row.image_id for row in rows] == ["a.jpg"]
    assert found.dropped.counts == {ELSEWHERE: 3, ADDRESS: 1}
    assert "relative to that folder" in ELSEWHERE
    assert "r2d2 corpus fetch" in ADDRESS
