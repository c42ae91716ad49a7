"""One's own pictures by `data import own`; and what an import does to tables that are there."""

import pytest

from helpers.published_formats import imported, jsonl, lines, picture, pictures, said
from r2d2.errors import R2D2Error
from r2d2.formats.registry import FORMATS, export_table, import_table
from r2d2.table import Pair, PairsTable, Text, write_table


def test_one_s_own(tmp_path):
    images = pictures(tmp_path / "photos", "a.jpg", "b.jpg")
    file = lines(
        tmp_path / "captions.csv", "图片,描述,split", "a.jpg,一只狗,train", "b.jpg,\u3000,train",
        "x.jpg,没有,train", "a.jpg,两只狗,train", end="\r\n", bom=True,
    )  # fmt: skip
    found, rows, _ = imported("own", tmp_path / "t.lance", images, file)
    assert said(rows) == [("a.jpg", "train", ["一只狗", "两只狗"])]
    assert found.dropped.counts == {"image not found": 1, "no text": 1}
    other = jsonl(tmp_path / "more.jsonl", {"image": "a.jpg", "caption": "狗"})
    found, rows, _ = imported("own", tmp_path / "u.lance", images, file, other)
    assert said(rows) == [("a.jpg", "train", ["一只狗", "两只狗", "狗"])]
    with pytest.raises(R2D2Error, match="2 folders of pictures: give one"):
        imported("own", tmp_path / "v.lance", images, file, tmp_path)


def test_a_table_that_is_there_is_kept_before_any_work(tmp_path):
    images = pictures(tmp_path / "photos", "a.jpg")
    file = lines(tmp_path / "captions.csv", "image,caption", "a.jpg,狗")
    write_table(tmp_path / "t.lance", [Pair("id", picture(), (Text("猫", "caption"),), "train")])
    with pytest.raises(R2D2Error, match="exists"):
        imported("own", tmp_path / "t.lance", images, file)
    with pytest.raises(R2D2Error, match="no path given: own wants a folder"):
        imported("own", tmp_path / "u.lance")
    with pytest.raises(R2D2Error, match="FORMAT is 'flickr8k': did you mean flickr8k-cn"):
        imported("flickr8k", tmp_path / "u.lance", images)
    imported("own", tmp_path / "t.lance", images, file, overwrite=True)
    assert PairsTable.open(tmp_path / "t.lance").image_ids([0]) == ["a.jpg"]


@pytest.mark.parametrize("kind", [name for name, one in FORMATS.items() if one.write])
def test_a_row_without_texts_goes_out_and_comes_back(tmp_path, kind):
    rows = [
        Pair("a", picture(1), (), "test", width=30, height=20),
        Pair("b", picture(2), (Text("狗", "query", text_id="7"),), "test", width=30, height=20),
    ]
    write_table(tmp_path / "a.lance", rows)
    export_table(PairsTable.open(tmp_path / "a.lance"), kind, tmp_path / "out")
    found = import_table([tmp_path / "out"], kind, tmp_path / "b.lance")
    assert not found.dropped
    table = PairsTable.open(tmp_path / "b.lance")
    assert table.take(table.rows()) == rows


def numbered(folder, count, start=0):
    for number in range(start, start + count):
        (folder / f"{number}.jpg").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(picture(number))
    return folder


@pytest.mark.parametrize("name", ["train.csv", "训练集.csv"])
def test_a_file_named_train_alone_still_holds_out(tmp_path, caplog, name):
    images = numbered(tmp_path / "photos", 5)
    rows = ["image,caption", *(f"{n}.jpg,第{n}" for n in range(5))]
    plain, named = lines(tmp_path / "captions.csv", *rows), lines(tmp_path / name, *rows)
    _, expected, _ = imported("own", tmp_path / "t.lance", images, plain)
    assert "hold" not in caplog.text
    with caplog.at_level("INFO"):
        _, rows, _ = imported("own", tmp_path / "u.lance", images, named)
    assert rows == expected
    assert {row.split for row in rows} == {"train", "val", "test"}
    assert "say no split but train: a tenth each is held out for val and test" in caplog.text


def test_a_folder_named_train_alone_still_holds_out(tmp_path):
    numbered(tmp_path / "data" / "train", 5)
    rows = ["file_name,text", *(f"{n}.jpg,第{n}" for n in range(5))]
    lines(tmp_path / "data" / "train" / "metadata.csv", *rows)
    found, _, _ = imported("own", tmp_path / "t.lance", tmp_path / "data")
    assert set(found.splits) == {"train", "val", "test"}


def test_a_column_is_taken_at_its_word_and_so_is_another_split(tmp_path):
    images = numbered(tmp_path / "photos", 5)
    rows = [f"{n}.jpg,第{n},train" for n in range(4)]
    column = lines(tmp_path / "train.csv", "image,caption,split", *rows)
    found, _, _ = imported("own", tmp_path / "t.lance", images, column)
    assert found.splits == {"train": 4}
    blank = lines(tmp_path / "train.csv", "image,caption,split", *rows, "0.jpg,又一,", "4.jpg,五,")
    found, rows, _ = imported("own", tmp_path / "v.lance", images, blank)
    assert said(rows)[0] == ("0.jpg", "train", ["第0", "又一"])  # never in two splits
    test = lines(tmp_path / "test.csv", "image,caption", *(f"{n}.jpg,第{n}" for n in range(5)))
    found, _, _ = imported("own", tmp_path / "u.lance", images, test)
    assert found.splits == {"test": 5}


def test_files_of_captions_that_belong_together(tmp_path):
    """As Kaggle has them, and as `datasets` reads a folder of pictures."""
    data = tmp_path / "kaggle"
    numbered(data / "images", 6)
    for place, name in enumerate(("train", "val", "test")):
        rows = [f"{n}.jpg,第{n}" for n in (2 * place, 2 * place + 1)]
        lines(data / f"{name}.csv", "image,caption", *rows)
    found, _, _ = imported("own", tmp_path / "t.lance", data)
    assert found.splits == {"train": 2, "val": 2, "test": 2}
    hub = tmp_path / "hub"
    for place, name in enumerate(("train", "validation", "test")):
        numbered(hub / name, 2, start=10 * place)
        fields = [{"file_name": f"{10 * place + n}.jpg", "text": "图"} for n in range(2)]
        jsonl(hub / name / "metadata.jsonl", *fields)
    found, rows, _ = imported("own", tmp_path / "u.lance", hub)
    assert found.splits == {"train": 2, "val": 2, "test": 2}
    assert {row.image_id for row in rows if row.split == "val"} == {
        "validation/10.jpg", "validation/11.jpg",
    }  # fmt: skip
    lines(data / "captions_old.csv", "image,caption", "1.jpg,旧")
    with pytest.raises(R2D2Error, match=r"4 files of captions \(.*captions_old.csv.*: name those"):
        imported("own", tmp_path / "v.lance", data)
    images = data / "images"
    found, _, _ = imported(
        "own", tmp_path / "v.lance", images, data / "captions_old.csv", data / "val.csv"
    )
    assert found.rows == 3
