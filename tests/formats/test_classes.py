"""Classification: folders of classes, and boxes; the names of all classes are in the metadata."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from helpers.published_formats import imported, lines, picture, pictures, said
from r2d2.errors import R2D2Error
from r2d2.images.decode import decode_image
from r2d2.inputs.folders import NO_SUFFIX


def classes(table):
    return json.loads(table.metadata["classes"])


def test_elevater(tmp_path):
    for split, folder in (("train", "000"), ("train", "001"), ("test", "001"), ("test", "003")):
        pictures(tmp_path / split / folder, "a.jpg", "b.png")
    (tmp_path / "test" / "003" / "b.png").write_bytes(b"")
    (tmp_path / "test" / "003" / "c.txt").write_bytes(b"x")
    lines(tmp_path / "label_cn.txt", "飞机", "汽车", "鸟", "猫", "鹿", end="\r\n", bom=True)
    lines(tmp_path / "label.txt", "airplane", "automobile", "bird", "cat", "deer")
    found, rows, table = imported("class-folders", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("test/001/a.jpg", "test", ["汽车"]), ("test/001/b.png", "test", ["汽车"]),
        ("test/003/a.jpg", "test", ["猫"]),
        ("train/000/a.jpg", "train", ["飞机"]), ("train/000/b.png", "train", ["飞机"]),
        ("train/001/a.jpg", "train", ["汽车"]), ("train/001/b.png", "train", ["汽车"]),
    ]  # fmt: skip
    assert classes(table) == ["飞机", "汽车", "鸟", "猫", "鹿"]  # that without a picture, too
    assert {(t.source, t.text_id) for row in rows for t in row.texts} == {
        ("class", "000"), ("class", "001"), ("class", "003"),
    }  # fmt: skip
    assert found.dropped.counts == {"image empty": 1, NO_SUFFIX: 1}


@pytest.mark.parametrize("how", ["lines", "tabs", "json"])
def test_names_of_folders_that_are_words(tmp_path, how):
    for folder in ("dog", "cat"):
        pictures(tmp_path / "data" / folder, "a.jpg")
    if how == "lines":
        names = lines(tmp_path / "names.txt", "猫", "狗")  # in order of the folders
    elif how == "tabs":
        names = lines(tmp_path / "names.txt", "dog\t狗", "cat\t 猫 ")
    else:
        names = lines(tmp_path / "names.json", '{"dog": "狗", "cat": "猫"}', bom=True)
    _, rows, _ = imported(
        "class-folders", tmp_path / "t.lance", tmp_path / "data", names, split="test"
    )
    assert said(rows) == [("cat/a.jpg", "test", ["猫"]), ("dog/a.jpg", "test", ["狗"])]


def test_folders_may_bear_the_names(tmp_path):
    pictures(tmp_path / "狗", "a.jpg")
    pictures(tmp_path / "猫", "a.jpg")
    _, rows, table = imported("class-folders", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [("狗/a.jpg", "train", ["狗"]), ("猫/a.jpg", "train", ["猫"])]
    assert classes(table) == ["狗", "猫"]
    pictures(tmp_path / "cat", "a.jpg")
    with pytest.raises(R2D2Error, match="no file of the classes' names"):
        imported("class-folders", tmp_path / "u.lance", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("猫\n", "names 1 classes, but there are 2 folders"),
        ("dog\t狗\nbird\t鸟\n", "folder cat has no name"),
        ("猫狗".encode("gb18030"), "names 1 classes, but there are 2 folders"),
        ("黑色的貓\n會跑的狗\n".encode("big5"), "neither UTF-8 nor GB18030"),
    ],
)
def test_a_file_of_names_that_does_not_fit(tmp_path, content, message):
    for folder in ("dog", "cat"):
        pictures(tmp_path / folder, "a.jpg")
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "classes.txt").write_bytes(data)
    with pytest.raises(R2D2Error, match=message):
        imported("class-folders", tmp_path / "t.lance", tmp_path)


def box_file(folder, annotations, **others):
    content = {
        "categories": [{"id": 1, "name": "狗"}, {"id": 2, "name": "猫"}, {"id": 5, "name": "马"}],
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "x.jpg"},
                   {"id": 9, "file_name": "b.jpg"}],
        "annotations": annotations, **others,
    }  # fmt: skip
    return lines(
        folder / "valid_category_data_total_zh.json",
        json.dumps(content, ensure_ascii=False),
        bom=True,
    )


def test_boxes(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(picture(1, "PNG", (30, 20)))
    (images / "b.jpg").write_bytes(b"broken")
    box_file(tmp_path, [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [2, 3, 10, 5]},
        {"id": 2, "image_id": 7, "category_id": 5, "bbox": [20.4, 10.6, 99, 99]},
        {"id": 2, "image_id": 7, "category_id": 5, "bbox": [0, 0, 5, 5]},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [40, 0, 5, 5]},
        {"id": 4, "image_id": 7, "category_id": 1, "bbox": ["x", 0, 5, 5]},
        {"id": 5, "image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5]},
        {"id": 6, "image_id": 8, "category_id": 1, "bbox": [0, 0, 5, 5]},
        {"id": 7, "image_id": 9, "category_id": 1, "bbox": [0, 0, 5, 5]},
        {"id": 8, "image_id": 99, "category_id": 1, "bbox": [0, 0, 5, 5]},
        {"id": 9, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1e400, 5]},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 30, 20]},
    ])  # fmt: skip
    found, rows, table = imported("boxclass-cn", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("7:1", "test", ["狗"]), ("7:2", "test", ["马"]), (rows[2].image_id, "test", ["马"]),
        ("7:10", "test", ["猫"]),
    ]  # fmt: skip
    assert rows[2].image_id.startswith("7:2-")  # another box of that id
    whole = np.asarray(decode_image(picture(1, "PNG", (30, 20))))
    for row, part in zip(
        rows, (whole[3:8, 2:12], whole[10:, 20:], whole[:5, :5], whole), strict=True
    ):
        assert np.array_equal(np.asarray(decode_image(row.image)), part)
        assert (row.height, row.width) == part.shape[:2]
    assert classes(table) == ["狗", "猫", "马"]
    assert found.dropped.counts == {
        "no box within the picture": 3, "malformed annotation": 1,
        "image not found": 1, "image unreadable": 1, "image not listed": 1,
    }  # fmt: skip


def test_a_box_means_the_picture_as_it_is_stored(tmp_path):
    image = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(10, 20, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    out = io.BytesIO()
    image.save(out, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(out.getvalue())
    box_file(tmp_path, [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [15, 2, 5, 3]}])
    _, rows, _ = imported("boxclass-cn", tmp_path / "t.lance", tmp_path)
    assert np.array_equal(np.asarray(decode_image(rows[0].image)), np.asarray(image)[2:5, 15:])


def test_a_broken_file_of_boxes_is_named(tmp_path):
    pictures(tmp_path, "a.jpg")
    lines(tmp_path / "valid_category_data_total_zh.json", "{")
    with pytest.raises(R2D2Error, match="no readable JSON"):
        imported("boxclass-cn", tmp_path / "t.lance", tmp_path)
    box_file(tmp_path, [], categories={})
    with pytest.raises(R2D2Error, match="has no categories, images, annotations"):
        imported("boxclass-cn", tmp_path / "t.lance", tmp_path)


def test_folders_of_splits_stand_above_those_of_classes(tmp_path):
    for name in ("data/train/猫", "data/验证集/猫", "data/test/狗/大狗", "data/test/狗/小狗"):
        pictures(tmp_path / name, "1.jpg")
    pictures(tmp_path / "data" / "test", "lost.jpg")
    found, rows, _ = imported("class-folders", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("data/test/狗/大狗/1.jpg", "test", ["狗"]), ("data/test/狗/小狗/1.jpg", "test", ["狗"]),
        ("data/train/猫/1.jpg", "train", ["猫"]), ("data/验证集/猫/1.jpg", "val", ["猫"]),
    ]  # fmt: skip
    assert found.dropped.counts == {"picture in no folder of a class": 1}


def test_a_class_may_be_called_as_a_split(tmp_path):
    for name in ("train/fast", "train/slow", "bus", "car"):
        pictures(tmp_path / "set" / name, "1.jpg")
    names = lines(tmp_path / "names.json", '{"train": "火车", "bus": "公交车", "car": "轿车"}')
    _, rows, _ = imported("class-folders", tmp_path / "t.lance", tmp_path / "set", names)
    assert [(row.split, row.texts[0].text) for row in rows] == [
        ("train", "公交车"), ("train", "轿车"), ("train", "火车"), ("train", "火车"),
    ]  # fmt: skip
    _, rows, _ = imported(
        "class-folders", tmp_path / "u.lance", tmp_path / "set", names, split="test"
    )
    assert {row.split for row in rows} == {"test"}


def test_what_systems_leave_is_no_class(tmp_path):
    pictures(tmp_path / "猫", "a.jpg", "._a.jpg", "Thumbs.db")
    pictures(tmp_path / "__MACOSX" / "猫", "._a.jpg")
    pictures(tmp_path / ".ipynb_checkpoints", "a.jpg")
    (tmp_path / "猫" / "loop").symlink_to(tmp_path)
    found, rows, table = imported("class-folders", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [("猫/a.jpg", "train", ["猫"])]
    assert classes(table) == ["猫"]
    assert found.dropped.counts == {"hidden file passed over": 3}


def test_files_without_a_picture_s_suffix_are_counted(tmp_path):
    """Such as a picture that lost its suffix, or one that Pillow cannot read."""
    pictures(tmp_path / "猫", "a.jpg")
    pictures(tmp_path / "狗", "a.jpg")
    for name in ("猫/b", "猫/c.svg", "狗/d.jpg.download", "狗/Thumbs.db"):
        (tmp_path / name).write_bytes(picture(1))
    lines(tmp_path / "label_cn.txt", "猫", "狗")
    found, rows, _ = imported("class-folders", tmp_path / "t.lance", tmp_path)
    assert len(rows) == 2
    assert found.dropped.counts == {NO_SUFFIX: 3}
    assert found.dropped.examples[NO_SUFFIX][0] == str(tmp_path / "狗" / "d.jpg.download")
