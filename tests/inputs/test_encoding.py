"""Which encoding a text file is in, by what people's programs save, and what is broken in it."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.errors import R2D2Error
from r2d2.inputs import encoding as subject
from r2d2.inputs.encoding import (
    as_utf8,
    decode_text,
    encoding_of,
    open_text,
    read_lines,
    read_text,
)

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
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"]),
    step=st.integers(60, 130),
)
@settings(max_examples=60, deadline=None)
def test_the_cut_of_what_is_read_at_once_changes_nothing(text, encoding, step):
    text = table([*CHINESE, text])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "STEP", step)
        patch.setattr(subject, "SAMPLE_BYTES", 400)
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
        (f"{HEADER}http://a,{TRADITIONAL[0]}\n".encode("big5"), r"perhaps Big5.*iconv -f BIG5"),
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


def test_the_encoding_is_told_where_the_first_chinese_stands():
    """Two megabytes of addresses come first, and more than fits into memory at once."""
    ascii_rows = HEADER + "".join(f"http://a/{n:09}.jpg,a dog\n" for n in range(80_000))
    assert len(ascii_rows) > 2 << 20
    for saved in ("utf-8", "gb18030", "utf-16", "utf-16-le"):
        assert read((ascii_rows + table(CHINESE, "")).encode(saved)).decode() == (
            ascii_rows + table(CHINESE, "")
        )


def test_what_comes_before_the_first_chinese_is_read_without_being_held():
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size=-1):
            self.given += size
            return b"http://a/b.jpg,dog\n" * (size // 19)

    stream = Endless()
    found = as_utf8(stream, "x.csv")
    for _ in range(1000):
        assert found.readline() == b"http://a/b.jpg,dog\n"
    assert stream.given < 1 << 20


SMALL = [
    "猫", "一只猫", "猫 猫", "两只猫", "一只猫一只猫一只猫坐", "小狗在跑", "红色，好看", "T恤", "a",
    "", "5 只猫", "第5路公交车", "猫\n",
]  # fmt: skip


@pytest.mark.parametrize("saved", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("text", SMALL)
def test_a_small_text_is_read(text, saved):
    assert decode_text(text.encode(saved)) == text


@pytest.mark.parametrize("text", ["café", "25°C", "дом и сад", "Ελλάδα", "naïve café", "5×3"])
def test_letters_that_are_not_chinese_stay(text):
    assert decode_text(text.encode()) == text


@pytest.mark.parametrize("saved", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["小狗在跑", "一只猫", "红色，好看\n"])
def test_a_small_text_in_utf16_without_a_mark(text, saved):
    assert decode_text(text.encode(saved)) == text


@pytest.mark.parametrize(
    "data",
    [
        "crème brûlée à l'été".encode("latin-1"), "這間餐廳的牛肉麵很好吃".encode("big5"),
        "小狗".encode()[:-1], b"\xff\xfe\x81", bytes(range(256)),
        "猫ねこネコ".encode("shift-jis"),
    ],
)  # fmt: skip
def test_a_small_text_that_fits_no_encoding_is_none(data):
    assert decode_text(data) is None


@given(
    st.text(
        "的一是了我不人在他有这上们来到时大地为子中你说生国年着就那和要她出也得里后猫狗，。",
        min_size=1,
    )
)
def test_any_text_of_common_characters_is_read_in_gbk(text):
    assert decode_text(text.encode("gbk")) == text


def test_lines_of_utf8_within_gbk_are_read_as_such():
    mixed = table(CHINESE[:2]).encode("gbk") + table(CHINESE[2:3], "").encode()
    assert read(mixed * 2).decode() == (table(CHINESE[:2]) + table(CHINESE[2:3], "")) * 2


def test_a_small_file_is_read_whole(tmp_path):
    file = tmp_path / "words.txt"
    file.write_bytes("猫\r\n狗\r鸟\n".encode("utf-16"))
    assert read_lines(file) == ["猫", "狗", "鸟", ""]
    file.write_bytes("猫\n狗".encode() + b"\xff\n")
    with pytest.raises(R2D2Error, match=r"words\.txt, line 2 has characters that cannot be read"):
        read_text(file)
    with pytest.raises(R2D2Error, match="cannot read"):
        read_text(tmp_path / "none.txt")


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_a_mark_in_the_middle_of_a_file_is_a_broken_line(mark):
    data = HEADER.encode() * 9 + mark + b"\x81\n" + "http://a,一只猫\n".encode() * 3
    assert read(data) == data
    assert read(b"x" * 200_000 + b"\n" + data) == b"x" * 200_000 + b"\n" + data


def test_a_nul_in_a_few_words_of_utf_8_does_not_make_another_encoding():
    assert subject.decode_text("小狗\0在跑".encode()) == "小狗\0在跑"
    assert subject.decode_text("小\0狗\n猫".encode()) == "小\0狗\n猫"


def test_a_character_that_was_lost_in_utf_8_is_that_of_the_text():
    assert subject.decode_text("猫\ufffd".encode()) == "猫\ufffd"
