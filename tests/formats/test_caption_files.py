"""Caption files: both styles of lines, files of names, and their dirt."""

import pytest

from helpers.published_formats import imported, lines, pictures, said
from r2d2.errors import R2D2Error
from r2d2.formats.caption_files import joined, split_line
from r2d2.formats.tree import NOT_READ
from r2d2.inputs.ids import RENAMED_TEXT, REPEATED_TEXT
from r2d2.inputs.pictures import MissingPicture


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a.jpg#zhc#0 一只狗", ("a.jpg", "a.jpg#zhc#0", "一只狗")),
        ("123#0\t一只 狗", ("123", "123#0", "一只 狗")),
        ("123 一只狗", ("123", None, "一只狗")),
        ("images/a b.jpg\t长\t句", ("images/a b.jpg", None, "长\t句")),
        ("a.jpg#0\t", ("a.jpg", "a.jpg#0", "")),
        ("a.jpg#0", ("a.jpg", "a.jpg#0", "")),
        ("a.jpg", None),
        ("\t一只狗", None),
        ("#0 一只狗", None),
    ],
)
def test_a_line(line, found):
    assert split_line(line) == found


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("两:m 个:q 男人:n 在:p 笑:v", "两个男人在笑"),
        ("两个 男人  在 T恤 里", "两个男人，在T恤里"),
        ("a man 和 狗", "a man和狗"),
        ("一:m 8:30 点:q", "一:m 8:30点:q"),  # a time is no tag
        ("", ""),
    ],
)
def test_words_are_joined_again(cut, whole):
    assert joined(cut) == whole


def test_flickr8k_cn_takes_captions_by_people_and_the_files_of_names(tmp_path):
    data = tmp_path / "flickr8kcn" / "data"
    pictures(tmp_path / "Flicker8k_Dataset", "1_a.jpg", "2_b.jpg", "3_c.jpg", "5_e.jpg")
    lines(
        data / "flickr8kzhc.caption.txt",
        "1_a.jpg#zhc#0 一只狗",
        "2_b.jpg#zhc#0 \u3000",  # a full-width space
        "2_b.jpg#zhc#1 \u3000一只猫 ",
        "1_a.jpg#zhc#1 一只狗",  # said twice by two people: both stay
        "1_a.jpg#zhc#1 又一只",  # another caption of that id
        "1_a.jpg#zhc#1 一只狗",
        "",
        "3_c.jpg#zhc#0 一匹马",
        "4_d.jpg#zhc#0 没有图",
        "5_e.jpg#zhc#0 不在表里",
        "乱",
        end="\r\n", bom=True,
    )  # fmt: skip
    lines(data / "flickr8kzhb.caption.txt", "1_a.jpg#zhb#0 机器")
    lines(data / "flickr8kenc.caption.txt", "1_a.jpg#enc#0 a dog")
    lines(data / "flickr8ktrain.txt", "1_a", "4_d", end="\r\n", bom=True)
    lines(data / "flickr8kval.txt", "2_b", "1_a")
    lines(data / "flickr8ktest.txt", "3_c.jpg")
    found, rows, _ = imported("flickr8k-cn", tmp_path / "t.lance", tmp_path)
    folder = "Flicker8k_Dataset"
    assert said(rows) == [
        (f"{folder}/1_a.jpg", "train", ["一只狗", "一只狗", "又一只"]),
        (f"{folder}/2_b.jpg", "val", ["一只猫"]), (f"{folder}/3_c.jpg", "test", ["一匹马"]),
    ]  # fmt: skip
    first, second, third = (text.text_id for text in rows[0].texts)
    assert (first, second) == ("1_a.jpg#zhc#0", "1_a.jpg#zhc#1")
    assert third.startswith("1_a.jpg#zhc#1-")
    assert found.renamed.counts == {RENAMED_TEXT: 1}
    assert found.dropped.counts == {
        "no text": 1,
        REPEATED_TEXT: 1, "image not found": 1, "in no split file": 1,
        "malformed line": 1, "in two split files, the first holds": 1, NOT_READ: 1,
    }  # fmt: skip


def test_another_choice_of_captions_is_given_by_name(tmp_path):
    images = pictures(tmp_path / "images", "1_a.jpg")
    data = tmp_path / "data"
    lines(data / "flickr8kzhc.caption.txt", "1_a.jpg#zhc#0 人写的")
    machine = lines(data / "flickr8kzhb.caption.txt", "1_a.jpg#zhb#0 机器译的")
    _, rows, _ = imported("flickr8k-cn", tmp_path / "t.lance", machine, images)
    assert said(rows) == [("1_a.jpg", "train", ["机器译的"])]
    _, rows, _ = imported("flickr8k-cn", tmp_path / "u.lance", machine, images, split="test")
    assert said(rows) == [("1_a.jpg", "test", ["机器译的"])]


def test_flickr30k_cn_is_joined_again(tmp_path):
    pictures(tmp_path / "flickr30k-images", "1.jpg", "2.jpg")
    for name, key, caption in (
        ("flickr30kzhbbosontrain", "1", "1#zhb#0 两个 男人  在 笑"),
        ("flickr30kzhmbosontest", "2", "2#zhm#0 一:m 只:q 狗:n"),
    ):
        lines(tmp_path / name / "TextData" / f"seg.{name}.caption.txt", caption)
        lines(tmp_path / name / "ImageSets" / f"{name}.txt", key)
    _, rows, _ = imported("flickr30k-cn", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("flickr30k-images/1.jpg", "train", ["两个男人，在笑"]),
        ("flickr30k-images/2.jpg", "test", ["一只狗"]),
    ]


def test_a_list_whose_name_tells_no_split_is_counted(tmp_path):
    pictures(tmp_path / "images", "1.jpg")
    lines(tmp_path / "flickr30kzhc.caption.txt", "1.jpg#zhc#0 一只狗")
    chosen = lines(tmp_path / "ImageSets" / "chosen.txt", "1")
    result, rows, _ = imported("flickr30k-cn", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [("images/1.jpg", "train", ["一只狗"])]
    assert str(chosen) in " ".join(result.dropped.lines())
    assert result.dropped.total == 1


def test_flickr30k_cna(tmp_path):
    pictures(tmp_path / "flickr30k-images", "1.jpg", "2.jpg", "3.jpg")
    lines(tmp_path / "train" / "flickr30k_cna_train.txt", "1#0\t一句", "1#1\t两句")
    lines(tmp_path / "val" / "flickr30k_cna_val.txt", "2 三句", "2 三句")  # as its page shows them
    lines(tmp_path / "test" / "flickr30k_cn_test.txt", "3.jpg#zhm#0\t四句")
    lines(tmp_path / "README.txt", "something else")
    _, rows, _ = imported("flickr30k-cna", tmp_path / "t.lance", tmp_path)
    assert [(name.removeprefix("flickr30k-images/"), *more) for name, *more in said(rows)] == [
        ("3.jpg", "test", ["四句"]), ("1.jpg", "train", ["一句", "两句"]),
        ("2.jpg", "val", ["三句", "三句"]),
    ]  # fmt: skip


def test_coco_cn(tmp_path):
    for part in ("train", "val"):
        pictures(tmp_path / f"{part}2014", f"COCO_{part}2014_000000000042.jpg")
    data = tmp_path / "coco-cn-version1805v1.1"
    lines(
        data / "imageid.human-written-caption.txt",
        "COCO_train2014_000000000042#0\t人写的",
        "COCO_val2014_000000000042#0\t另一句",
    )
    lines(data / "imageid.human-written-caption.bosonseg.txt", "COCO_val2014_000000000042#0\t另:r")
    other = lines(
        data / "imageid.manually-translated-caption.txt",
        *(f"COCO_val2014_000000000042#zhm#{n} 人译的{n}" for n in range(5)),
    )
    lines(data / "coco-cn_train.txt", "COCO_train2014_000000000042")
    lines(data / "coco-cn_test.txt", "COCO_val2014_000000000042")
    _, rows, table = imported("coco-cn", tmp_path / "t.lance", tmp_path)
    assert table.metadata["benchmark"] == "coco-cn"
    assert said(rows) == [
        ("train2014/COCO_train2014_000000000042.jpg", "train", ["人写的"]),
        ("val2014/COCO_val2014_000000000042.jpg", "test", ["另一句"]),
    ]
    _, rows, table = imported(
        "coco-cn", tmp_path / "u.lance", other, data / "coco-cn_test.txt", tmp_path / "val2014"
    )
    assert said(rows) == [
        ("COCO_val2014_000000000042.jpg", "test", [f"人译的{n}" for n in range(5)])
    ]
    assert table.metadata["benchmark"] == "coco-cn-translated"
    both = (data / "imageid.human-written-caption.txt", other)
    _, _, table = imported("coco-cn", tmp_path / "v.lance", *both, tmp_path / "val2014")
    assert "benchmark" not in table.metadata  # captions of two protocols are of neither


def test_coco_cn_translated_as_fg_clip_2_packs_it(tmp_path):
    pictures(tmp_path / "images", "COCO_val2014_000000000042.jpg")
    lines(
        tmp_path / "pair.txt",
        *(f"COCO_val2014_000000000042#zhm#{n}\t人译的{n}" for n in range(5)),
    )
    _, rows, table = imported("coco-cn", tmp_path / "t.lance", tmp_path, split="test")
    assert [len(row.texts) for row in rows] == [5]
    assert table.metadata["benchmark"] == "coco-cn-translated"


def test_the_extension_of_coco_cn_in_its_own_folder(tmp_path):
    pictures(tmp_path / "train2014", "COCO_train2014_000000000042.jpg")
    lines(tmp_path / "data" / "coco-cn_ext.icap2020.txt", "COCO_train2014_000000000042#0\t一句")
    _, rows, _ = imported("coco-cn", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [("train2014/COCO_train2014_000000000042.jpg", "train", ["一句"])]


def test_caption_files_that_are_not_read_are_named(tmp_path):
    pictures(tmp_path / "train2014", "COCO_train2014_000000000042.jpg")
    data = tmp_path / "data"
    human = lines(data / "imageid.human-written-caption.txt", "COCO_train2014_000000000042#0\t一句")
    ext = lines(data / "coco-cn_ext.icap2020.txt", "COCO_train2014_000000000042#0\t二句")
    other = lines(data / "imageid.manually-translated-caption.txt", "COCO_val2014_1#zhm#0\t三句")
    lines(data / "coco-cn_train.txt", "COCO_train2014_000000000042")
    result, rows, _ = imported("coco-cn", tmp_path / "t.lance", tmp_path)
    assert said(rows) == [("train2014/COCO_train2014_000000000042.jpg", "train", ["一句"])]
    assert result.dropped.counts == {NOT_READ: 2}
    assert result.dropped.examples == {NOT_READ: [str(ext), str(other)]}
    both = (human, ext, tmp_path / "train2014")  # who names files has chosen
    result, rows, _ = imported("coco-cn", tmp_path / "u.lance", *both)
    assert said(rows) == [("COCO_train2014_000000000042.jpg", "train", ["一句", "二句"])]
    assert not result.dropped


@pytest.mark.parametrize("folder", ["ImageSets", "imagesets"])
def test_lists_of_image_sets_by_whatever_name(tmp_path, folder):
    pictures(tmp_path / "flickr30k-images", "1.jpg", "2.jpg", "3.jpg")
    captions = [f"{number}#0 一 句" for number in (1, 2, 3)]
    lines(tmp_path / "TextData" / "seg.flickr30kzhb.caption.txt", *captions)
    for number, split in enumerate(("train", "val", "test"), 1):
        lines(tmp_path / folder / f"{split}.txt", str(number))
    _, rows, table = imported("flickr30k-cn", tmp_path / "t.lance", tmp_path)
    assert [split for _, split, _ in said(rows)] == ["train", "val", "test"]
    assert table.metadata["benchmark"] == "flickr30k-cn"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("lit-cn", "image_caption_long_cn.txt"),
        ("dci-cn", "image_caption_trans.txt"),
        ("docci-cn", "image_caption_trans.txt"),
    ],
)
def test_long_captions(tmp_path, kind, name):
    pictures(tmp_path / "images" / "a", "1.jpg")
    pictures(tmp_path / "images" / "b", "1.jpg", "2.jpg")
    long = "长" * 300
    lines(tmp_path / name, f"images/b/1.jpg\t{long}", f"images/b/2.jpg\t{long}。", "1.jpg\t哪一个")
    found, rows, _ = imported(kind, tmp_path / "t.lance", tmp_path)
    assert said(rows) == [
        ("images/b/1.jpg", "test", [long]),
        ("images/b/2.jpg", "test", [long + "。"]),
    ]
    assert found.dropped.counts == {MissingPicture.AMBIGUOUS.value: 1}


def test_a_wrong_folder_is_told_what_was_found(tmp_path):
    pictures(tmp_path / "photos", "1.jpg")
    lines(tmp_path / "notes.md", "x")
    with pytest.raises(R2D2Error, match=r"looked for flickr8kzhc.*found notes.md, photos/, 1.jpg"):
        imported("flickr8k-cn", tmp_path / "t.lance", tmp_path)
    captions = lines(tmp_path / "c.txt", "1.jpg#0 狗")
    with pytest.raises(R2D2Error, match="no picture there"):
        imported("flickr8k-cn", tmp_path / "t.lance", captions)
    captions.write_bytes("1.jpg#0 一隻狗\n1.jpg#1 黑色的貓\n".encode("big5"))
    with pytest.raises(R2D2Error, match=r"c\.txt is neither UTF-8 nor GB18030.*perhaps Big5"):
        imported("coco-cn", tmp_path / "t.lance", captions, tmp_path / "photos")
    assert not (tmp_path / "t.lance").exists()


def test_names_with_spaces_are_told_by_the_pictures_that_there_are(tmp_path):
    photos = pictures(tmp_path / "photos", "my.jpg", "my photo.jpg", "my 2nd photo.png", "b.jpg")
    pictures(photos / "summer trip", "sea side.jpg")
    file = lines(
        tmp_path / "flickr30k_cna.txt",
        "my photo.jpg 一只猫 坐着", "my photo.jpg#1 又一只", "my photo#2 第三只", "my 狗",
        "my.jpg 狗 跑", "my 2nd photo.png 鸟", "summer trip/sea side.jpg 海 边",
        "b 看 b.jpg 图", "no photo.jpg 没有", "none 没有 图",
    )  # fmt: skip
    found, rows, _ = imported("flickr30k-cna", tmp_path / "t.lance", file, photos)
    assert {name: texts for name, _, texts in said(rows)} == {
        "my photo.jpg": ["一只猫 坐着", "又一只", "第三只"], "my.jpg": ["狗", "狗 跑"],
        "my 2nd photo.png": ["鸟"], "summer trip/sea side.jpg": ["海 边"],
        "b.jpg": ["看 b.jpg 图"],
    }  # fmt: skip
    assert found.dropped.examples["image not found"] == [
        f"{file}, line 9: no photo.jpg", f"{file}, line 10: none",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["coco-cn", "flickr8k-cn"])
def test_names_with_spaces_in_a_file_of_names(tmp_path, kind):
    pictures(tmp_path / "my photos", "a 1.jpg", "a 2.jpg")
    captions, names = {
        "coco-cn": ("imageid.human-written-caption.txt", "coco-cn_{}.txt"),
        "flickr8k-cn": ("flickr8kzhc.caption.txt", "flickr8k{}.txt"),
    }[kind]
    lines(tmp_path / captions, "a 1.jpg#0\t一只猫", "a 2.jpg#0\t一只狗")
    lines(tmp_path / names.format("train"), "my photos/a 1.jpg")
    lines(tmp_path / names.format("test"), "my photos/a 2.jpg")
    _, table, _ = imported(kind, tmp_path / "t.lance", tmp_path)
    assert {row.texts[0].text: row.split for row in table} == {"一只猫": "train", "一只狗": "test"}


def test_a_file_of_empty_captions_is_no_file_of_names(tmp_path):
    pictures(tmp_path / "photos", "a.jpg")
    lines(tmp_path / "flickr30k_cna_train.txt", "a.jpg\t一只猫")
    lines(tmp_path / "flickr30k_cna_test.txt", "a.jpg\t ", "photos/a.jpg\t")
    found, table, _ = imported("flickr30k-cna", tmp_path / "t.lance", tmp_path)
    assert len(table) == 1
    assert found.dropped.counts == {"no text": 2}
