"""Two spellings of a query are one query, and a batch is spelt as each query alone."""

import html
import re
import unicodedata

import opencc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from r2d2.corpus.texts.spelling import clean, spell_queries

SAME = [
    ("❤爱心图片", "❤️爱心图片", "❤\ufe0e爱心图片", "❤爱心\u200b图片", "\ufeff❤爱心图片 "),
    ("iPhone 15 手机壳", "iphone 15 手机壳", "ＩＰＨＯＮＥ　15  手机壳", "IPHONE\t15 手机壳"),
    ("这是什么花？", "这是什么花?", "这是什么花﹖", " 这是什么花 ?"),
    ("你好，世界！", "你好,世界!", "你好，世界!"),
    (
        "红色的汽车",
        "<em>红色</em>的汽车",
        "<B>紅色</B>的汽車",
        '<font color="red">红色</font>的汽车',
    ),
    ("红色的汽车", "&lt;em&gt;红色&lt;/em&gt;的汽车", "&amp;lt;em&amp;gt;红色的汽车"),
    ("红色的汽车", "红色 的 汽车", "红 色　的汽车", "红色\u00a0的汽车", "红色&nbsp;的<br/>汽车"),
    ("小狗&小猫", "小狗&amp;小猫", "小狗&amp;amp;小猫", "小狗＆小猫", "小狗&#38;小猫"),
    ("反复", "反覆", "反 覆"),
    ("café 咖啡", "cafe\u0301 咖啡", "CAFÉ 咖啡"),
    ("葛\U000e0100城", "葛城"),
    ("售价￥99", "售价¥99"),
]
DIFFERENT = [
    ("iphone 15 手机壳", "iphone 1 5 手机壳"),
    ("a b", "ab"),
    ("3<5且7>6", "3且6"),
    ("红色的车", "红色的車子"),
    ("1.5米", "15米"),
    ("c++", "c"),
]


@pytest.mark.parametrize("spellings", SAME)
def test_spellings_of_one_query(spellings):
    assert len(set(spell_queries(spellings))) == 1


@pytest.mark.parametrize("queries", DIFFERENT)
def test_different_queries_stay_different(queries):
    assert len(set(spell_queries(queries))) == len(queries)


def test_the_spelling_that_is_stored():
    assert spell_queries(["<em>iPhone</em> 15 　手机 壳 ？", "", "<em> </em>"]) == [
        "iphone 15 手机壳?",
        "",
        "",
    ]


@pytest.mark.parametrize("text", ["x<y>z", "a < b > c", "<3 爱心", "List<String>用法", "1<2"])
def test_what_only_looks_like_a_tag_stays(text):
    assert clean([text]) == [text]


PIECES = [
    *(
        "红",
        "紅",
        "反",
        "覆",
        "〇",
        "\U00020000",
        "豈",
        "、",
        "。",
        "，",
        ",",
        "？",
        "?",
        "Ａ",
        "a",
    ),
    *(
        "B",
        "9",
        "９",
        "İ",
        "ΑΣ",
        "ﬁ",
        "e\u0301",
        "é",
        "❤",
        "\ufe0f",
        "\ufe0e",
        "\u200b",
        "\U000e0101",
    ),
    *(" ", "  ", "\u3000", "\u00a0", "\n", "\r", "\t", "\x00"),
    *(
        "<em>",
        "</EM>",
        "<b>",
        "<br>",
        '<a href="x">',
        "<x>",
        "<",
        ">",
        "&lt;",
        "&amp;",
        "&amp;lt;b>",
    ),
]
queries = st.lists(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), max_size=8)
BLOCK = {"br", "p", "div", "li", "tr", "td", "h1"}
INLINE = {"em", "b", "a"}


def is_chinese(c):
    return (
        unicodedata.name(c, "").startswith("CJK ") and "IDEOGRAPH" in unicodedata.name(c)
    ) or c == "〇"


def twin(text, convert):
    """One query, step by step, until nothing changes."""
    while (spelt := twin_once(text, convert)) != text:
        text = spelt
    return text


def twin_once(text, convert):
    """One query, step by step."""
    while html.unescape(text) != text:
        text = html.unescape(text)
    for tag in re.findall(r"<[^<>]*>", text):
        words = tag.strip("</>").lower().split()
        if words and (words[0] in INLINE) and tag[1:2] not in " ":
            text = text.replace(tag, "")
        elif words and words[0] in BLOCK:
            text = text.replace(tag, " ")
    out = []
    for c in text:
        if "！" <= c <= "～":
            c = chr(ord(c) - 0xFEE0)
        if c.isspace():
            c = " "
        if c == "\x00" or c in "\ufe0f\ufe0e\u200b\U000e0101":
            continue
        out.append(c)
    text = unicodedata.normalize("NFC", "".join(out)).lower()
    kept = ""
    for word in text.split():
        joins = kept and is_chinese(kept[-1]) and (is_chinese(word[0]) or word[0] in "?!,、。")
        kept += word if not kept or joins else " " + word
    return convert(kept) if convert else kept


@settings(deadline=None, max_examples=300)
@given(queries, st.booleans())
@example(["红 覆", "反\n覆"], True)
@example([], True)
@example(["\n"], False)
def test_a_batch_is_spelt_as_each_query_alone(texts, simplified):
    convert = opencc.OpenCC("t2s").convert if simplified else None
    assert spell_queries(texts, simplified) == [twin(text, convert) for text in texts]


@settings(deadline=None)
@given(queries)
@example(["<Ａ>"])
@example(["<\ufe0fB>", "<<b>B>", "&ａmp;lt;"])
def test_a_spelt_query_is_left_alone(texts):
    spelt = spell_queries(texts)
    assert spell_queries(spelt) == spelt
    assert clean(spelt) == spelt
