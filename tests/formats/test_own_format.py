"""One's own pictures by `data import own`; and what an import does to tables that are there."""

import pytest

from formats.published import imported, jsonl, lines, picture, pictures, said
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
    with pytest.raises(R2D2Error, match="1 folders and 2 files of captions: give one of each"):
        imported("own", tmp_path / "u.lance", images, file, other)


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
