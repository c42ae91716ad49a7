"""Which encoding a text file is in, by what people's programs save, and what is broken in it."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.data import encodings
from r2d2.data.encodings import as_utf8, encoding_of, open_text
from r2d2.errors import R2D2Error

CHINESE = [
    "一只白色的小狗在雪地里奔跑",
    "红色的汽车停在路边",
    "一碗牛肉面，加了香菜",
    "镕瑄堃：二〇二六年",
]
TRADITIONAL = ["一隻白色的小狗在雪地裡奔跑", "紅色的汽車停在路邊", "這間餐廳的牛肉麵很好吃"]
HEADER = "url,caption\n"
SAVED = ("utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-16-be")


def table(captions, header=HEADER):
    return header + "".join(f"http://a/{n}.jpg,{text}\n" for n, text in enumerate(captions))


def read(data, name="x.csv"):
    with io.BytesIO(data) as stream:
        return as_utf8(stream, name).read()


@pytest.mark.parametrize("encoding", SAVED)
@pytest.mark.parametrize("header", [HEADER, "图片,描述\n"])
@pytest.mark.parametrize("captions", [CHINESE, TRADITIONAL, CHINESE[:1], ["a dog"] * 9, []])
def test_what_people_save_is_read(encoding, header, captions):
    text = table(captions, header)
    if encoding == "gbk":
        text = text.replace("〇", "零")
    assert read(text.encode(encoding)).decode() == text


@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"]),
    step=st.integers(60, 130),
)
@settings(max_examples=60, deadline=None)
def test_the_cut_of_what_is_read_at_once_changes_nothing(text, encoding, step):
    text = table([*CHINESE, text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "STEP", step)
        patch.setattr(encodings, "HEAD_BYTES", 400)
        assert read(text.encode(encoding)).decode() == text


def test_a_broken_line_does_not_make_another_encoding():
    cut = "小狗在雪地".encode()[:-1] + b"\n"  # as programs do that count bytes
    found = read(table(CHINESE).encode() + cut)
    assert found == table(CHINESE).encode() + cut
    assert (
        encoding_of(HEADER.encode() + b"http://a,\xff\xfe\n" + b"http://b,dog\n" * 3, "") == "UTF-8"
    )
    many = b"".join(text.encode()[: 3 * n + 1] + b",1\n" for n in (3, 4, 5) for text in CHINESE)
    assert encoding_of(many, "x") == "UTF-8"


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le"])
def test_where_bytes_have_no_meaning_only_that_line_is_broken(encoding):
    good = table(CHINESE * 3).encode(encoding)
    bad = {"gb18030": b"\xb9\n", "utf-16-le": b"\x00\xd8\n\x00"}[encoding]
    lines = read(good + bad + "好\n".encode(encoding)).split(b"\n")
    assert b"\n".join(lines[:13]).decode() + "\n" == table(CHINESE * 3)
    with pytest.raises(UnicodeDecodeError):
        lines[13].decode()
    assert lines[14].decode() == "好"
    assert "\ufffd\n好" in open_text(io.BytesIO(good + bad + "好\n".encode(encoding)), "x").read()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (table(TRADITIONAL, "圖片,描述\n").encode("big5"), r"perhaps Big5.*iconv -f BIG5 -t UTF-8"),
        (
            table(["crème brûlée à l'érable", "été", "où ça"], "é,à\n").encode("latin-1"),
            "iconv -f ENC",
        ),
        (b"PAR1" + bytes(range(64)) * 20, r"x\.csv is no text"),
        (b"\xff\xfe\x81", "neither UTF-8 nor GB18030"),
    ],
)
def test_what_cannot_be_told_is_named(data, word):
    with pytest.raises(R2D2Error, match=rf"x\.csv is neither.*{word}|{word}") as caught:
        read(data)
    assert "\n" not in str(caught.value)


def test_a_file_read_as_another_encoding_is_told_once(caplog):
    caplog.set_level("INFO")
    for _ in range(2):
        read(table(CHINESE).encode("gbk", "ignore"), "told-once.csv")
        read(table(CHINESE).encode(), "not-told.csv")
    assert [r.getMessage() for r in caplog.records] == [
        "told-once.csv is no UTF-8: read as GB18030"
    ]
