"""Captions are optional: a file of them, or files beside the pictures; changes are taken up."""

import json

from PIL import Image

from helpers.cli import refused
from helpers.photo_folders import counts, draw, embedded_pictures, rows, start, vectors
from helpers.pictures import picture
from r2d2.index.layout import open_lance, texts_uri
from r2d2.search.searcher import Searcher


def texts(opened):
    return {name: [t["text"] for t in row["texts"]] for name, row in rows(opened, "texts").items()}


def test_a_csv_of_captions(photos, model, tmp_path):
    draw(photos, ["a.png", "b/b.png", "c.png"])
    file = tmp_path / "captions.csv"
    file.write_text("image,caption\na.png,红色的猫\nb.png,蓝色的狗\na.png,猫\nx.png,没有\n")
    opened, lines = start(photos, model, captions=file)
    assert texts(opened) == {"a.png": ["红色的猫", "猫"], "b/b.png": ["蓝色的狗"], "c.png": []}
    assert any("image not found: 1" in line and "x.png" in line for line in lines)
    before = vectors(opened)
    file.write_text("image,caption\na.png,红色的猫\nb.png,绿色的鸟\n")
    with embedded_pictures() as count:
        opened, lines = start(photos, model)  # the file is known
    assert count["pictures"] == 0
    assert texts(opened) == {"a.png": ["红色的猫"], "b/b.png": ["绿色的鸟"], "c.png": []}
    assert counts(opened) == (0, 0, 0, 0, 1)
    assert any("captions of 2 changed" in line for line in lines)
    assert vectors(opened) == before
    file.unlink()
    assert "captions" in refused(start, photos, model)


def test_captions_with_a_label_of_0_are_not_the_pictures(photos, model, tmp_path):
    draw(photos, ["a.png"])
    file = tmp_path / "c.csv"
    file.write_text("image,caption,label\na.png,红色的猫,1\na.png,绿色的狗,0\n")
    assert texts(start(photos, model, captions=file)[0]) == {"a.png": ["红色的猫"]}


def test_texts_beside_the_pictures(photos, model):
    draw(photos, ["a.png", "b.png", "c.v2.png", "d.png", "e.png", "f.png"])
    (photos / "a.txt").write_text("红色的猫\n")
    (photos / "b.json").write_text(json.dumps({"caption": ["蓝色的狗", "狗"], "split": "val"}))
    (photos / "c.v2.txt").write_bytes("黄色的马".encode("gb18030"))
    (photos / "d.json").write_text("{no json")
    (photos / "e.png.json").write_text(json.dumps({"title": "e.png"}))  # as exports of albums have
    (photos / "notes.txt").write_text("of nothing")
    opened, lines = start(photos, model)
    found = texts(opened)
    assert found["a.png"] == ["红色的猫"]
    assert found["b.png"] == ["蓝色的狗", "狗"]
    assert found["c.v2.png"] == ["黄色的马"]
    assert found["d.png"] == found["e.png"] == found["f.png"] == []
    assert rows(opened, "split")["b.png"]["split"] == "val"
    assert any(
        ("json unreadable: 1" in line and "d.png" in line) or "d.json" in line for line in lines
    )
    assert any("no picture by its name: 1 (notes.txt)" in line for line in lines)
    (photos / "a.txt").unlink()
    (photos / "f.txt").write_text("紫色的花")
    opened, lines = start(photos, model)
    found = texts(opened)
    assert (found["a.png"], found["f.png"]) == ([], ["紫色的花"])
    assert any("6 unchanged" not in line and "captions of 2 changed" in line for line in lines)


def test_two_formats_of_a_picture_share_its_text(photos, model):
    draw(photos, ["a.png"])
    Image.fromarray(picture_array(3)).save(photos / "a.jpg")
    (photos / "a.txt").write_text("红色的猫")
    assert texts(start(photos, model)[0]) == {"a.png": ["红色的猫"], "a.jpg": ["红色的猫"]}


def picture_array(number):
    import numpy as np

    return np.asarray(picture(number))


def test_texts_are_searched_by_a_picture_and_follow_it(photos, model):
    draw(photos, ["a.png", "b.png"])
    (photos / "a.txt").write_text("红色的猫")
    (photos / "b.txt").write_text("蓝色的狗")
    start(photos, model)
    (photos / "a.png").rename(photos / "z.png")
    (photos / "a.txt").rename(photos / "z.txt")
    (photos / "b.txt").unlink()
    start(photos, model)
    searcher = Searcher.open(photos, str(model))
    hits = searcher.search(picture(0), target="texts").hits
    assert [(hit.texts, hit.image_id) for hit in hits] == [(("红色的猫",), "z.png")]
    assert hits[0].image_row is not None
    (photos / "z.txt").unlink()
    opened, _ = start(photos, model)
    assert open_lance(texts_uri(opened.uri)) is None
    told = refused(Searcher.open(photos, str(model)).search, picture(0), target="texts")
    assert "no texts" in told
    assert str(photos) in told


def test_texts_in_another_encoding_are_named_by_the_first_file(photos, model, caplog):
    """Once for a folder: there may be thousands of them."""
    draw(photos, ["a.png", "sub/b.png", "sub/c.png"])
    (photos / "a.txt").write_text("红色的猫")
    (photos / "sub" / "b.json").write_bytes('{"caption": "蓝色的狗"}'.encode("gb18030"))
    (photos / "sub" / "c.txt").write_bytes("黄色的马".encode("gb18030"))
    caplog.set_level("INFO")
    start(photos, model)
    told = [r.getMessage() for r in caplog.records if "UTF-8" in r.getMessage()]
    file, folder = photos / "sub" / "b.json", photos / "sub"
    assert told == [f"{file} is no UTF-8: read as GB18030 (the first of {folder} that is)"]


def test_a_broken_text_is_told_at_each_start_until_it_is_mended(photos, model):
    draw(photos, ["a.png", "b.png", "c.png"])
    (photos / "a.json").write_text("{no json")
    (photos / "b.json").write_text(json.dumps({"caption": "蓝色的狗", "split": "x" * 65}))
    (photos / "c.txt").write_text("红色的猫")

    def told(lines):
        return [line for line in lines if "left out" in line]

    first = told(start(photos, model)[1])
    assert any("json unreadable: 1" in line and "a.json" in line for line in first)
    assert any("split is no name: 1" in line and "b.json" in line for line in first)
    with embedded_pictures() as count:
        opened, lines = start(photos, model)
    assert told(lines) == first
    assert (count["pictures"], counts(opened)) == (0, (0, 0, 0, 0, 3))
    assert not opened.changes.any
    assert texts(opened) == {"a.png": [], "b.png": ["蓝色的狗"], "c.png": ["红色的猫"]}
    (photos / "a.json").write_text(json.dumps({"caption": "绿色的鸟"}))
    (photos / "b.json").write_text(json.dumps({"caption": "蓝色的狗", "split": "val"}))
    for changed in (2, 0):
        opened, lines = start(photos, model)
        assert (told(lines), opened.changes.captions) == ([], changed)
    assert texts(opened)["a.png"] == ["绿色的鸟"]
