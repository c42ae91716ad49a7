"""A folder of pictures and a file of captions, as people have them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.cli import refused
from helpers.pictures import picture, png
from r2d2.data.own import import_folder
from r2d2.inputs.ids import RENAMED_IMAGE, REPEATED_TEXT
from r2d2.inputs.pictures import MissingPicture
from r2d2.table import PairsTable


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "deep/c.png", "deep/d.png", "other/d.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(name)).integers(0, 256, (20, 30, 3)).astype(np.uint8)
        noise[0, 0] = [ord(c) for c in name[:3]]
        path.write_bytes(png(Image.fromarray(noise)))
    return tmp_path


def run(folder, text, name="captions.csv", encoding="utf-8", **more):
    (folder / name).write_text(text, encoding=encoding)
    found = import_folder(
        folder / "images", folder / name, folder / "t.lance", overwrite=True, **more
    )
    table = PairsTable.open(folder / "t.lance")
    pairs = {pair.image_id: pair for pair in table.take(table.rows())}
    return found, {name: [t.text for t in pair.texts] for name, pair in pairs.items()}, pairs


def test_rows_of_one_picture_become_one(folder):
    found, texts, pairs = run(folder, "image,caption\na.png,猫\nb.png,狗\na.png,一只猫\na.png,猫\n")
    assert texts == {"a.png": ["猫", "一只猫"], "b.png": ["狗"]}
    assert (found.rows, found.texts) == (2, 3)
    assert (pairs["a.png"].width, pairs["a.png"].height) == (30, 20)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.jsonl", '{"图片": "a.png", "描述": ["猫","一只猫"]}\n\n{"img": "b.png", "text": "狗"}'),
        ("c.json", '[{"path": "a.png", "text": ["猫", "一只猫"]}, {"img": "b.png", "text": "狗"}]'),
        ("c.tsv", "path\ttitle\na.png\t猫\na.png\t一只猫\nb.png\t狗\n"),
        ("c.csv", "图片名称,文本\na.png,猫\na.png,一只猫\nb.png,狗\n"),
        ("c.csv", "path\ttitle\na.png\t猫\na.png\t一只猫\nb.png\t狗\n"),
        ("c.csv", "path;title\na.png;猫\na.png;一只猫\nb.png;狗\n"),
        ("c.csv", 'Filename,Caption\na.png,"猫"\na.png,一只猫\nb.png,狗\n'),
    ],
)  # fmt: skip
def test_formats_and_names_of_columns(folder, name, text):
    assert run(folder, text, name)[1] == {"a.png": ["猫", "一只猫"], "b.png": ["狗"]}


def test_a_caption_with_a_line_break_and_quotes(folder):
    text = 'image,caption\na.png,"第一行\n第""二""行"\n'
    assert run(folder, text, encoding="utf-8-sig")[1] == {"a.png": ['第一行\n第"二"行']}


def test_a_file_is_found_by_its_base_name_where_that_is_unique(folder):
    found, texts, _ = run(folder, "image,caption\nc.png,山\nd.png,水\nother/d.png,云\n")
    assert texts == {"deep/c.png": ["山"], "other/d.png": ["云"]}
    assert found.dropped.counts == {MissingPicture.AMBIGUOUS.value: 1}
    assert "line 3: d.png" in found.dropped.examples[MissingPicture.AMBIGUOUS.value][0]


def test_copies_of_a_picture_share_a_split_and_a_given_split_stays(folder):
    (folder / "images" / "copy.png").write_bytes((folder / "images" / "a.png").read_bytes())
    rows = "image,caption,split\na.png,猫,\ncopy.png,猫猫,\nb.png,狗,holdout\n"
    _, _, pairs = run(folder, rows, val_share=0.5, test_share=0.5)
    assert pairs["a.png"].split == pairs["copy.png"].split in ("val", "test")
    assert pairs["b.png"].split == "holdout"
    _, _, pairs = run(folder, rows, val_share=0, test_share=0)
    assert pairs["a.png"].split == "train"


def test_labels_keep_pairs_apart(folder):
    (folder / "c.csv").write_text(
        "image,caption,label\na.png,猫,1\na.png,狗,0.0\nb.png,狗,yes\n", encoding="utf-8"
    )
    found = import_folder(folder / "images", folder / "c.csv", folder / "t.lance")
    table = PairsTable.open(folder / "t.lance")
    pairs = [(p.texts[0].text, p.label) for p in table.take(table.rows())]
    assert pairs == [("猫", 1), ("狗", 0)]
    assert found.dropped.counts == {"label is not 0 or 1": 1}


def test_what_is_broken_is_counted(folder):
    (folder / "images" / "broken.png").write_bytes(b"no")
    lines = [{"image": "a.png", "caption": "猫"}, {"image": "broken.png", "caption": "坏"},
             {"image": "b.png", "caption": "  "}, ["list"]]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines) + "{oops\n"
    found, texts, _ = run(folder, text, "c.jsonl")
    assert texts == {"a.png": ["猫"]}
    assert found.dropped.counts == {"image unreadable": 1, "no text": 1, "not a JSON object": 2}


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
@pytest.mark.parametrize("name", ["c.csv", "c.jsonl"])
def test_what_excel_saves_in_china_is_read(folder, encoding, name):
    text = "图片,描述\na.png,一只白猫\n"
    if name == "c.jsonl":
        text = '{"图片": "a.png", "描述": "一只白猫"}\n'
    assert run(folder, text, name, encoding)[1] == {"a.png": ["一只白猫"]}
    # "Unicode text" is of tabs, whatever its ending
    if name == "c.csv":
        assert run(folder, text.replace(",", "\t"), name, encoding)[1] == {"a.png": ["一只白猫"]}


def test_a_row_that_cannot_be_read_is_counted(folder):
    rows = "image,caption\na.png,一只白猫\n".encode() + b"b.png,\xe7\x8b\n"
    (folder / "c.csv").write_bytes(rows)
    found = import_folder(folder / "images", folder / "c.csv", folder / "t.lance")
    assert (found.rows, found.dropped.counts) == (1, {"characters that cannot be read": 1})


def test_what_is_of_no_known_encoding_or_outside_is_refused(folder):
    (folder / "b5.csv").write_bytes("圖片,描述\na.png,紅色方塊\n".encode("big5"))
    out = folder / "t.lance"
    assert "perhaps Big5" in refused(import_folder, folder / "images", folder / "b5.csv", out)
    Image.new("RGB", (8, 8)).save(folder / "secret.png")
    (folder / "out.csv").write_text("image,caption\n../secret.png,猫\n", encoding="utf-8")
    assert "image not found" in refused(import_folder, folder / "images", folder / "out.csv", out)
    assert not out.exists()


BREAKS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"  # what `str.splitlines` takes for a line's end


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.jsonl"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_only_line_breaks_end_a_row(folder, name, line_end):
    caption = f"一{BREAKS}二"
    rows = [("image", "caption"), ("a.png", caption), ("b.png", "狗")]
    if name.endswith("jsonl"):
        lines = [json.dumps({"image": i, "caption": c}, ensure_ascii=False) for i, c in rows[1:]]
        # JSON spells control characters, so that the others are left to stand raw
        assert "\u2028" in lines[0]
    else:
        lines = [("\t" if name.endswith("tsv") else ",").join(row) for row in rows]
    (folder / name).write_bytes((line_end.join(lines) + line_end).encode())
    found = import_folder(folder / "images", folder / name, folder / "t.lance", overwrite=True)
    table = PairsTable.open(folder / "t.lance")
    texts = {p.image_id: [t.text for t in p.texts] for p in table.take(table.rows())}
    assert texts == {"a.png": [caption], "b.png": ["狗"]}
    assert not found.dropped


def test_swapped_columns_are_told(folder):
    long = "很长的说明" * 200
    rows = f"image,caption\n{long},a.png\n{long}\0,b.png\n"
    (folder / "c.csv").write_text(rows, encoding="utf-8")
    said = refused(import_folder, folder / "images", folder / "c.csv", folder / "t.lance")
    assert "image and caption are swapped: 1" in said
    assert len(said) < 700


def test_a_quote_that_is_not_closed_spoils_its_own_row(folder):
    """Whether the file ends first, the longest field is passed, or a later quote closes it."""
    for more in ("", ("x" * 999 + "\n") * 200, 'd.png,"还有" 一个\n'):
        text = f'image,caption\na.png,"没有完\nb.png,狗\n{more}c.png,山\n'
        found, texts, _ = run(folder, text)
        assert texts == {"b.png": ["狗"], "deep/c.png": ["山"]}
        assert found.dropped.counts["a quote is not closed"] == 1


def test_rows_of_odd_values_are_counted(folder):
    rows = [
        {"image": "a.png", "caption": [None, "猫", True, {"zh": "狗"}, 7]},
        {"image": "b.png", "caption": "\ud800"},
        {"image": "c.png\ud800", "caption": "山"},
        {"image": "b.png", "caption": float("nan")},
        {"image": "b.png"},
        {"caption": "狗"},
        {"image": ["b.png"], "caption": "狗"},
    ]
    text = "\n".join(json.dumps(row) for row in rows) + "\n" + "[" * 100_000 + "\n"
    found, texts, _ = run(folder, text, "c.jsonl")
    assert texts == {"a.png": ["猫"]}
    assert found.dropped.counts == {
        "half of a surrogate pair in a text": 2, "no text": 2, "image not found": 1,
        "a text that is no string": 1, "not a JSON object": 1,
        "a text of a row that is kept: no text": 2,
        "a text of a row that is kept: a text that is no string": 2,
    }  # fmt: skip


def test_splits_as_people_write_them(folder):
    _, _, pairs = run(folder, "image,caption,split\na.png,猫,Train\nb.png,狗,validation\n")
    assert {name: pair.split for name, pair in pairs.items()} == {"a.png": "train", "b.png": "val"}


def test_a_picture_that_cannot_be_opened_is_counted(folder, monkeypatch):
    allowed = Path.read_bytes

    def read_bytes(path):
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied")
        return allowed(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    found, texts, _ = run(folder, "image,caption\na.png,猫\nb.png,狗\nc.png,山\nother/d.png,水\n")
    assert set(texts) == {"a.png", "deep/c.png", "other/d.png"}
    assert found.dropped.counts == {"image cannot be read": 1}
    assert found.splits == {"train": 1, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.csv", "", "holds no row"),
        ("c.csv", "image,caption\n", "holds no row"),
        ("c.jsonl", "\n\n", "holds no row"),
        ("c.json", "5", "not a JSON object: 1"),
        (
            "c.csv",
            '"image,caption\na.png,猫\n',
            "a quote is not closed among the names of the columns",
        ),
        ("c.csv", "a,b\na.png,猫\n", "it has a, b): name it in the first line image, or"),
        (
            "c.jsonl",
            '{"image": {"path": ["a.png"]}, "caption": "猫"}',
            "a text that is no string: 1, such as",
        ),
    ],
)
def test_what_holds_no_pair_is_told(folder, name, text, said):
    (folder / name).write_text(text, encoding="utf-8")
    assert said in refused(import_folder, folder / "images", folder / name, folder / "t.lance")


def test_a_picture_of_two_splits_and_equal_rows_lose_nothing(tmp_path):
    (tmp_path / "c.csv").write_text(
        "image,caption,split\na.png,猫,train\na.png,一只猫,val\na.png,猫,train\nb.png,狗,val\n"
    )
    for number, name in enumerate(("a.png", "b.png")):
        (tmp_path / name).write_bytes(png(picture(number)))
    found = import_folder(tmp_path, tmp_path / "c.csv", tmp_path / "t.lance")
    table = PairsTable.open(tmp_path / "t.lance")
    rows = table.take(table.rows())
    assert [(r.image_id[:5], r.split, r.texts[0].text) for r in rows] == [
        ("a.png", "train", "猫"), ("a.png", "val", "一只猫"), ("b.png", "val", "狗"),
    ]  # fmt: skip
    assert len({row.image_id for row in rows}) == 3
    assert found.renamed.counts == {RENAMED_IMAGE: 1}
    assert found.dropped.counts == {REPEATED_TEXT: 1}
    assert found.dropped.examples[REPEATED_TEXT] == [f"{tmp_path / 'c.csv'}, line 4: 猫"]
    (tmp_path / "l.csv").write_text("image,caption,label\na.png,猫,1\na.png,狗,0\na.png,猫,1\n")
    found = import_folder(tmp_path, tmp_path / "l.csv", tmp_path / "l.lance")
    assert (found.rows, found.texts, sum(found.splits.values())) == (2, 2, 2)
    assert found.dropped.counts == {REPEATED_TEXT: 1}


@pytest.mark.parametrize("given", ["images", "images/deep/..", "link", "absolute"])
def test_absolute_paths_however_the_folder_is_given(folder, monkeypatch, given):
    monkeypatch.chdir(folder)
    (folder / "link").symlink_to(folder / "images")
    rows = [f"{folder}/images/a.png,猫", f"{folder}/link/b.png,狗", f"{folder}/secret.png,没有"]
    (folder / "abs.csv").write_text("\n".join(["image,caption", *rows]), encoding="utf-8")
    Image.new("RGB", (8, 8)).save(folder / "secret.png")
    images = folder / "images" if given == "absolute" else given
    found = import_folder(images, "abs.csv", "t.lance")
    table = PairsTable.open("t.lance")
    texts = {p.image_id: p.texts[0].text for p in table.take(table.rows())}
    assert texts == {"a.png": "猫", "b.png": "狗"}
    assert found.dropped.counts == {MissingPicture.ELSEWHERE.value: 1}


def test_a_missing_folder_gives_no_other_picture(folder):
    found, texts, _ = run(
        folder, "image,caption\nnone/a.png,没有\nother/c.png,没有\nother\\d.png,云\nb.png,狗\n"
    )
    assert texts == {"other/d.png": ["云"], "b.png": ["狗"]}
    assert found.dropped.counts == {"image not found": 2}


def test_folders_and_the_name_of_the_file_tell_the_split(folder):
    (folder / "images" / "deep").rename(folder / "images" / "val")
    rows = "image,caption,split\nval/c.png,山,\nval/d.png,水,测试集\na.png,猫,开发集\n"
    _, _, pairs = run(folder, rows)
    assert {n: p.split for n, p in pairs.items()} == {
        "val/c.png": "val", "val/d.png": "test", "a.png": "val",
    }  # fmt: skip
    _, _, pairs = run(folder, "image,caption\na.png,猫\nval/c.png,山\n", "训练集.csv")
    assert {p.split for p in pairs.values()} == {"train"}


def test_other_suffixes_are_pictures_too(folder):
    (folder / "images" / "a.png").rename(folder / "images" / "a.JFIF")
    (folder / "images" / "b.heic").write_bytes(b"x")
    found, texts, _ = run(folder, "image,caption\na.jfif,猫\nb.heic,狗\n")
    assert texts == {"a.JFIF": ["猫"]}
    assert found.dropped.counts == {"image unreadable": 1}
