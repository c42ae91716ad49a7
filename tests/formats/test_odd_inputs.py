"""Files as people really have them: what is right stays whole, what is not is counted."""

import base64
import csv
import io
import json
import math
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.published_formats import imported, lines, picture, pictures
from r2d2.errors import R2D2Error
from r2d2.inputs.folders import NO_SUFFIX

NO_TEXT = "no text"
KEPT = "a text of a row that is kept: no text"
CHINESE = "一只白色的小狗在雪地里奔跑，后面有人"


def texts(rows):
    return [[text.text for text in row.texts] for row in rows]


def tar(path, members):
    with tarfile.open(path, "w") as opened:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return path


def own(folder, data, name="c.csv"):
    """What `data import own` makes of a file of captions beside pictures p0.jpg to p5.jpg."""
    images = pictures(folder / "photos", *(f"p{number}.jpg" for number in range(6)))
    (folder / name).write_bytes(data)
    found, rows, _ = imported("own", folder / "t.lance", images, folder / name)
    return {row.image_id: [t.text for t in row.texts] for row in rows}, found.dropped


def json_tar(folder, *records):
    members = []
    for number, record in enumerate(records):
        members.append((f"{number}.jpg", picture(number)))
        members.append((f"{number}.json", json.dumps(record).encode()))
    return imported("webdataset", folder / "t.lance", tar(folder / "a.tar", members))


# null captions


def test_null_captions_of_a_tar_are_no_text(tmp_path):
    found, rows, _ = json_tar(
        tmp_path, {"caption": [None, "一只猫"]}, {"caption": None}, {"caption": math.nan},
        {"caption": "None"}, {"caption": "小狗"}, {"texts": [None], "caption": "不用"},
    )  # fmt: skip
    assert texts(rows) == [["一只猫"], ["小狗"]]
    assert found.dropped.counts == {NO_TEXT: 4, KEPT: 1}
    assert found.dropped.examples[NO_TEXT][0].endswith("a.tar, 1")


def test_a_caption_list_with_every_kind_of_hole(tmp_path):
    holes = [None, "猫", math.nan, 5, "", {"text": None}, "nan", "\ud800"]
    found, rows, _ = json_tar(tmp_path, {"captions": holes}, {"captions": holes[2:]})
    assert texts(rows) == [["猫"]]
    assert found.dropped.counts == {
        KEPT: 5, "a text of a row that is kept: a text that is no string": 1,
        "a text of a row that is kept: half of a surrogate pair in a text": 1, NO_TEXT: 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["猫", None, "nan", "狗"]),
        pa.array(["猫", None, "NaN", "狗"]).dictionary_encode(),
        pa.array(["猫", None, "", "狗"], pa.large_string()),
        pa.array([["猫"], None, [None], ["狗", None]]),
        pa.array([[{"text": "猫"}], None, [{"text": None}], [{"text": "狗", "lang": "zh"}]]),
        pa.array(["猫".encode("gbk"), None, b"  ", "狗".encode("gbk")], pa.binary()),
        pa.array(["猫".encode(), None, b"   ", "狗".encode()], pa.binary(3)),
        pa.array([1.0, None, math.nan, 2.0]),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_of_captions_in_parquet(tmp_path, column):
    images = pa.array([{"bytes": picture(n), "path": f"{n}.jpg"} for n in range(4)])
    pq.write_table(pa.table({"image": images, "Caption": column}), tmp_path / "a.parquet")
    if column.type == pa.float64():
        with pytest.raises(R2D2Error, match=r"no string: 2, such as .*a\.parquet, row 1: 1\.0"):
            imported("parquet", tmp_path / "t.lance", tmp_path / "a.parquet")
        return
    found, rows, _ = imported("parquet", tmp_path / "t.lance", tmp_path / "a.parquet")
    assert texts(rows) == [["猫"], ["狗"]]
    assert found.dropped.counts[NO_TEXT] == 2


def test_a_string_of_parquet_that_is_no_utf8_drops_its_row(tmp_path):
    captions = pa.Array.from_buffers(
        pa.string(), 2, pa.array([b"\xff\xfe", "好".encode()], pa.binary()).buffers()
    )
    images = pa.array([picture(0), picture(1)])
    pq.write_table(pa.table({"image": images, "caption": captions}), tmp_path / "a.parquet")
    found, rows, _ = imported("parquet", tmp_path / "t.lance", tmp_path / "a.parquet")
    assert texts(rows) == [["好"]]
    assert found.dropped.counts == {"characters that cannot be read": 1}


# commas without quotes


def test_a_caption_with_commas_and_without_quotes_is_whole(tmp_path):
    rows, dropped = own(
        tmp_path,
        'image,caption\np0.jpg,一只猫,坐在窗台上,看雨\np1.jpg,一只狗\np2.jpg,"两只,鸟"\n'.encode(),
    )
    assert rows == {
        "p0.jpg": ["一只猫,坐在窗台上,看雨"],
        "p1.jpg": ["一只狗"],
        "p2.jpg": ["两只,鸟"],
    }
    assert not dropped


def test_where_another_column_is_last_the_row_is_malformed(tmp_path):
    rows, dropped = own(
        tmp_path, "image,caption,split\np0.jpg,猫,坐着,train\np1.jpg,狗,train\np2.jpg\n".encode()
    )
    assert rows == {"p1.jpg": ["狗"]}
    assert dropped.counts == {"malformed row": 2}
    assert dropped.examples["malformed row"] == [
        f"{tmp_path / 'c.csv'}, line 2: p0.jpg,猫,坐着,train",
        f"{tmp_path / 'c.csv'}, line 4: p2.jpg",
    ]


def test_commas_in_the_captions_of_the_web(tmp_path):
    pictures(tmp_path / "images", "a.jpg")
    lines(tmp_path / "w.csv", "dir,caption", "a.jpg,红色,好看,显瘦")
    _, rows, _ = imported("wukong", tmp_path / "t.lance", tmp_path)
    assert texts(rows) == [["红色,好看,显瘦"]]


def test_two_columns_of_one_name_are_refused(tmp_path):
    for header in (b"image,Caption,caption", b"image,caption,image "):
        with pytest.raises(R2D2Error, match=r"c\.csv has 2 columns named '(capt|im).*: rename"):
            own(tmp_path, header + b"\np0.jpg,a,p1.jpg\n")
    rows, _ = own(tmp_path, "image,caption,note,note\np0.jpg,猫,1,2\n".encode())
    assert rows == {"p0.jpg": ["猫"]}
    pairs = (
        '{"image": "p0.jpg", "caption": "猫", "caption": "狗"}\n{"image": "p1.jpg", "text": "鱼"}'
    )
    (tmp_path / "j").mkdir()
    rows, dropped = own(tmp_path / "j", pairs.encode(), "c.jsonl")
    assert rows == {"p1.jpg": ["鱼"]}
    assert dropped.counts == {"two fields of one name": 1}


# odd values


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"caption": "猫", "clicks": math.inf}, "clicks is out of range"),
        ({"caption": "猫", "clicks": 1e30}, "clicks is out of range"),
        ({"caption": "猫", "clicks": -1}, "clicks is out of range"),
        ({"caption": "猫", "impressions": "many"}, "impressions is no number"),
        ({"caption": "猫", "ctr": "high"}, "ctr is no number"),
        ({"caption": "猫", "ctr": 1e300}, "ctr is out of range"),
        ({"caption": "猫", "label": 2}, "label is not 0 or 1"),
        ({"caption": "猫", "url": ["u"]}, "a text that is no string"),
        ({"caption": "猫", "split": "\ud800"}, "half of a surrogate pair in a text"),
        ({"texts": [{"text": "猫", "weight": "high"}]}, "weight is no number"),
        ({"texts": [{"text": "猫", "weight": -1}]}, "weight is out of range"),
        ({"texts": [{"text": "猫", "source": 5, "text_id": 7}]}, "source is no text"),
        ({"caption": 5}, "a text that is no string"),
        ({"caption": "坏\ufffd"}, "characters that cannot be read"),
        ({"caption": "猫\0"}, "a NUL character in a text"),
    ],
)
def test_an_odd_value_drops_its_row_and_no_other(tmp_path, record, reason):
    good = {"caption": "狗", "clicks": 3.0, "ctr": None, "label": "1.0", "impressions": math.nan}
    found, rows, _ = json_tar(tmp_path, record, good)
    assert texts(rows) == [["狗"]]
    assert (rows[0].clicks, rows[0].ctr, rows[0].label, rows[0].impressions) == (3, None, 1, None)
    assert found.dropped.counts == {reason: 1}
    assert "a.tar, 0" in found.dropped.examples[reason][0]


def test_labels_as_people_write_them(tmp_path):
    rows, dropped = own(
        tmp_path,
        b"image,caption,label\np0.jpg,a,1.0\np1.jpg,b,true\np2.jpg,c,2\np3.jpg,d,yes\np4.jpg,e,0\n",
    )
    assert set(rows) == {"p0.jpg", "p1.jpg", "p4.jpg"}
    assert dropped.counts == {"label is not 0 or 1": 2}


# encodings


@pytest.mark.parametrize("saved", ["gbk", "utf-8-sig", "utf-16", "utf-16-le"])
def test_captions_and_json_beside_pictures(tmp_path, saved, caplog):
    caplog.set_level("INFO")
    members = [
        ("0.jpg", picture(0)), ("0.txt", "第0辆红色汽车".encode(saved)),
        ("1.jpg", picture(1)), ("1.json", '{"caption": "一只猫"}'.encode(saved)),
        ("2.jpg", picture(2)), ("2.txt", "这間餐廳的牛肉麵很好吃".encode("big5", "ignore")),
        ("3.jpg", picture(3)), ("3.txt", "一只猫".encode(saved)), ("3.json", b"\xff{"),
    ]  # fmt: skip
    found, rows, _ = imported("webdataset", tmp_path / "t.lance", tar(tmp_path / "a.tar", members))
    assert texts(rows) == [["第0辆红色汽车"], ["一只猫"], ["一只猫"]]
    assert found.dropped.counts == {
        "a text in no known encoding": 1,
        "json unreadable, its row is kept": 1,
    }
    told = [r.getMessage() for r in caplog.records if "read as" in r.getMessage()]
    assert len(told) == (saved != "utf-8-sig")
    folder = tmp_path / "i2d" / "00000"
    folder.mkdir(parents=True)
    for name, data in members:
        (folder / name).write_bytes(data)
    found, rows, _ = imported("img2dataset", tmp_path / "u.lance", tmp_path / "i2d")
    assert texts(rows) == [["第0辆红色汽车"], ["一只猫"], ["一只猫"]]


@pytest.mark.parametrize("saved", ["gbk", "utf-8-sig", "utf-16"])
def test_one_json_list_of_any_encoding(tmp_path, saved):
    images = pictures(tmp_path / "photos", "a.jpg", "b.jpg")
    items = [{"image_id": "a.jpg", "caption": ["一只小猫在草地上", None, 5]}, {"image_id": "b.jpg"}]
    file = tmp_path / "caption_train_annotations_1.json"
    file.write_bytes(json.dumps(items, ensure_ascii=False).encode(saved))
    found, rows, _ = imported("aic-icc", tmp_path / "t.lance", file, images)
    assert texts(rows) == [["一只小猫在草地上"]]
    assert found.dropped.total == 3
    listed = [{"image": "a.jpg", "caption": "猫"}, {"image": "b.jpg", "caption": "狗"}]
    (tmp_path / "c.json").write_bytes(json.dumps(listed, ensure_ascii=False).encode(saved))
    _, rows, _ = imported("own", tmp_path / "o.lance", images, tmp_path / "c.json")
    assert texts(rows) == [["猫"], ["狗"]]


@pytest.mark.parametrize("saved", ["gbk", "utf-8", "utf-16"])
def test_chinese_after_two_megabytes_of_ascii(tmp_path, saved):
    head = "image,caption\n" + "none.jpg,a dog that is nowhere to be seen\n" * 55_000
    assert len(head) > 2 << 20
    rows, dropped = own(tmp_path, (head + f"p0.jpg,{CHINESE}\n").encode(saved))
    assert rows == {"p0.jpg": [CHINESE]}
    assert dropped.counts == {"image not found": 55_000}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_header_with_a_mark_and_spaces(tmp_path, end, delimiter):
    table = [("\ufeff Image ", " CAPTION "), ("p0.jpg", "一只猫"), ("p1.jpg", "一只狗")]
    data = end.join(delimiter.join(row) for row in table).encode("utf-8-sig")
    rows, dropped = own(tmp_path, data)
    assert rows == {"p0.jpg": ["一只猫"], "p1.jpg": ["一只狗"]}
    assert not dropped


def test_two_files_put_one_behind_the_other(tmp_path):
    one = "\ufeffimage,caption\np0.jpg,一只猫\n"
    rows, dropped = own(tmp_path, (one + one.replace("p0", "p1")).encode())
    assert rows == {"p0.jpg": ["一只猫"], "p1.jpg": ["一只猫"]}
    assert dropped.counts == {"the names of the columns again": 1}


def test_broken_rows_of_every_kind_and_the_import_goes_on(tmp_path):
    data = b"image,caption,note\n" + b"".join(
        [
            "p0.jpg,一只猫,\n".encode(), b"p1.jpg,\xe7\x8b,\n", "p2.jpg,山\0,\n".encode(),
            'p3.jpg,"没有完,\n'.encode(), b"p4.jpg\n", "p5.jpg,一只狗,x\n".encode(),
        ]
    )  # fmt: skip
    rows, dropped = own(tmp_path, data)
    assert rows == {"p0.jpg": ["一只猫"], "p5.jpg": ["一只狗"]}
    assert dropped.counts == {
        "characters that cannot be read": 1, "a NUL character in a text": 1,
        "a quote is not closed": 1, "malformed row": 1,
    }  # fmt: skip
    assert all(str(tmp_path / "c.csv") in named[0] for named in dropped.examples.values())


def test_a_line_of_a_hundred_megabytes_is_counted(tmp_path):
    data = b"image,caption\np0.jpg," + b"x" * (100 << 20) + b"\n" + "p1.jpg,猫\n".encode()
    rows, dropped = own(tmp_path, data)
    assert rows == {"p1.jpg": ["猫"]}
    assert dropped.counts == {"line too long": 1}


def test_a_file_of_nothing_is_told(tmp_path):
    for name, data in (("c.csv", b""), ("c.csv", b"\xef\xbb\xbf"), ("c.jsonl", b"\n \n")):
        with pytest.raises(R2D2Error, match="holds no row"):
            own(tmp_path, data, name)


def test_pictures_in_base64_keep_their_texts_apart(tmp_path):
    rows = [(base64.b64encode(picture(n)).decode(), f"{n}") for n in range(3)]
    lines(tmp_path / "x_imgs.tsv", *(f"{n}\t{data}" for data, n in rows))
    lines(
        tmp_path / "x_texts.jsonl",
        *(json.dumps(r, ensure_ascii=False) for r in (
            {"text_id": 1, "text": "猫", "image_ids": [0]}, {"text_id": 2.5, "text": "狗"},
            {"text_id": 3, "text": None, "image_ids": [1]}, {"text_id": 4, "text": 5},
            {"text_id": math.nan, "text": "鱼", "image_ids": [1]},
            {"text_id": "5", "text": "鸟", "image_ids": [None, 2.0, math.nan]},
        )),
    )  # fmt: skip
    found, read, _ = imported("chinese-clip", tmp_path / "t.lance", tmp_path)
    assert [t.text for row in read for t in row.texts] == ["猫", "鸟"]
    assert found.dropped.counts == {
        "a text that is no string": 2, NO_TEXT: 2, "no text id": 1,
    }  # fmt: skip


def test_what_a_writer_wrote_comes_back_however_it_is_saved(tmp_path):
    captions = [
        "一只猫",
        '他说"好"',
        "红,黄,蓝",
        "两行\n的",
        "emoji 🐱",
        "  空 格 ",
        "=SUM(1)",
        "'引'",
    ]
    images = pictures(tmp_path / "photos", *(f"{n}.jpg" for n in range(len(captions))))
    for saved in ("utf-8", "utf-8-sig", "gb18030", "utf-16"):
        for delimiter in ",;\t":
            out = io.StringIO(newline="")
            writer = csv.writer(out, delimiter=delimiter)
            writer.writerow(["图片", "描述"])
            writer.writerows((f"{n}.jpg", text) for n, text in enumerate(captions))
            (tmp_path / "c.csv").write_bytes(out.getvalue().encode(saved))
            found, rows, _ = imported(
                "own", tmp_path / "t.lance", images, tmp_path / "c.csv", overwrite=True
            )
            assert texts(rows) == [[text.strip()] for text in captions]
            assert not found.dropped


def test_stray_files_of_img2dataset_are_counted(tmp_path):
    folder = pictures(tmp_path / "out" / "00000", "a.jpg", "b.jpg")
    for name in ("a", "b"):
        lines(folder / f"{name}.txt", name)
    lines(tmp_path / "out" / "00000_stats.json", "{}")
    (folder / "c").write_bytes(picture(3))
    (folder / "d.svg").write_text("<svg/>")
    (folder / "e.txt").write_text("没有图")
    found, _, _ = imported("img2dataset", tmp_path / "t.lance", tmp_path / "out")
    assert found.rows == 2
    assert found.dropped.counts == {NO_SUFFIX: 2, "no picture beside a text": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"), (b"PK\x03\x04zip", "it is a zip: unpack it and give the folder"),
        (b"Rar!\x1a\x07", "it is no tar"),
    ],
)  # fmt: skip
def test_what_is_no_tar_is_told_in_one_line(tmp_path, content, told):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(R2D2Error) as error:
        imported("webdataset", tmp_path / "t.lance", tmp_path / "a.tar")
    assert f"a.tar ({told})" in str(error.value)
    assert "\n" not in str(error.value)
