"""Text rules on sentences they should keep and drop, and each beside a plain twin."""

import math
from collections import Counter
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.corpus.config import TextFilterConfig
from r2d2.corpus.rows import PAIR_COLUMNS, PAIRS, part_file, read_pairs, write_rows
from r2d2.corpus.texts.measures import TextBatch
from r2d2.corpus.texts.text_filter import TextFilter, TextWork
from r2d2.corpus.texts.words import ADVERTISING, CONTEXTS, built_in, read_words
from r2d2.errors import R2D2Error
from r2d2.tokenizer import SPECIAL_TOKENS

CAPTIONS = Path(__file__).parents[3] / "../shared/data/flickr8k-cn/train.parquet"
KEYWORDS = Path(__file__).parents[3] / "../shared/data/emoji-zh/keywords.parquet"
ZERO = TextFilter(TextFilterConfig())

KEPT = (
    "一个男孩在雪地里玩耍",
    "红色的汽车停在路边",
    "两只狗在草地上奔跑，一只是棕色的",
    "苹果 iPhone 15 Pro 手机壳",
    "华为Mate60手机",
    "微信图标",
    "微信小程序开发界面截图",
    "QQ表情包大全",
    "企鹅在冰面上行走",
    "大麻哈鱼洄游",
    "无码头的小渔村",
    "办证大厅里排队的人",
    "2023年春节联欢晚会",
    "售价299元的蓝牙耳机",
    "身高180cm的篮球运动员",
    "禁毒宣传海报",
    "体育彩票投注站门口",
    "哈哈哈，孩子笑得很开心",
    "春眠不觉晓，处处闻啼鸟",
    "3.5英寸硬盘",
    "1912年2月12日的老照片",
    "加拿大枫叶",
    "露点温度计算公式",
    "邓小平同志视察深圳",
    "美白粉底液",
    "一杯咖啡和一本书。",
    "汽车维修手册第400页",
    "满200减50的活动海报",
)

DROPPED = [
    ("contacts", "加微信abc12345看更多"),
    ("contacts", "美女写真 微信号：xiaomei_88"),
    ("contacts", "详情咨询vx13800138000"),
    ("contacts", "电话：138-0013-8000"),
    ("contacts", "QQ群：123456789，欢迎加入"),
    ("contacts", "扣扣8812345"),
    ("contacts", "更多请访问www.example.com"),
    ("contacts", "高清壁纸下载 tupian.example.cn"),
    ("contacts", "联系邮箱 someone@example.com"),
    ("contacts", "服务热线 400-800-8888"),
    ("contacts", "想要的+v"),
    ("contacts", "座机 010-12345678 随时联系"),
    ("contacts", "Ｖ信同号 weixin：ａｂｃ１２３４５"),
    ("advertising", "新款女装包邮"),
    ("advertising", "原价¥299现价¥99的连衣裙"),
    ("advertising", "满200减50速来"),
    ("advertising", "全场5折"),
    ("advertising", "羽绒服 低至99"),
    ("advertising", "厂家直销不锈钢水杯"),
    ("words: gambling", "澳门六合彩开奖结果"),
    ("words: gambling", "六 合 彩 图库"),
    ("words: pornography", "色·情网站截图"),
    ("words: drugs", "出售冰毒"),
    ("words: fraud", "代开發票找我"),
    ("words: violence", "血腥图片大全"),
    ("repeated characters", "啊啊啊啊啊啊啊啊"),
    ("too little Chinese", "IMG_20230101_123456"),
    ("too little Chinese", "the quick brown fox 跳"),
    ("too short", "猫"),
    ("empty", "  \u200b "),
]  # fmt: skip


@pytest.mark.parametrize("text", KEPT)
def test_what_should_be_kept(text):
    assert ZERO([text])[1] == [None]


@pytest.mark.parametrize(("rule", "text"), DROPPED)
def test_what_should_be_dropped(rule, text):
    assert ZERO([text])[1] == [rule]


def test_a_batch_judges_each_as_if_alone():
    texts = [*KEPT, *(text for _, text in DROPPED)]
    cleaned, rules = ZERO(texts)
    assert rules == [None] * len(KEPT) + [rule for rule, _ in DROPPED]
    assert cleaned == [ZERO([text])[0][0] for text in texts]


@pytest.mark.parametrize(
    ("given_", "found"),
    [
        ("紅色的貓\n在　睡覺 ", "红色的猫 在 睡觉"),
        ("ＡＢＣ１２３，你好！", "ABC123，你好！"),
        ("Tom &amp; Jerry 猫和老鼠", "Tom & Jerry 猫和老鼠"),
        ("零\u200b宽\ufeff字符", "零宽字符"),
        ("後來\r\n又\t來", "后来 又 来"),
        ("", ""),
    ],
)
def test_cleaning(given_, found):
    assert ZERO.clean([given_]) == [found]
    assert ZERO.clean([found]) == [found]


def test_traditional_texts_stay_where_that_is_asked():
    plain = TextFilter(TextFilterConfig(simplified=False))
    assert plain(["紅色的貓"]) == (["紅色的貓"], [None])


# Each measure beside a plain twin

TEXTS = st.lists(st.text(alphabet="aBé 1-，。猫狗跑😀々龘\u3007", max_size=12), max_size=8)


def is_han(c):
    code = ord(c)
    return (
        0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code < 0x30000
        or c == "\u3007"
    )


def share_of_chinese(text):
    han = other = 0
    for letters, run in groupby(text, key=lambda c: c in "aBé"):
        run = list(run)
        han += sum(map(is_han, run))
        other += len(run) > 1 if letters else sum(not (is_han(c) or c.isascii()) for c in run)
    return han / max(1, han + other)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_measures_are_those_of_plain_python(texts):
    lines = TextBatch(texts)
    assert lines.lengths.tolist() == [len(t) for t in texts]
    assert np.allclose(lines.chinese, [share_of_chinese(text) for text in texts])
    runs = [max((len(list(g)) for _, g in groupby(t)), default=0) for t in texts]
    assert lines.longest_run.tolist() == runs
    bits = [-sum(n / len(t) * math.log2(n / len(t)) for n in Counter(t).values()) for t in texts]
    assert np.allclose(lines.entropy, bits)


def test_limits_of_length_and_entropy():
    strict = TextFilter(TextFilterConfig(min_chars=3, max_chars=6, min_entropy=1.0))
    assert strict(["猫狗", "猫狗鸟", "猫狗鸟鱼虫龙", "猫狗鸟鱼虫龙马", "猫猫猫猫"])[1] == [
        "too short", None, None, "too long", "low entropy",
    ]  # fmt: skip


def test_words_and_nouns_of_danqing():
    danqing = TextFilter(TextFilterConfig(min_words=3, max_words=6, noun=True))
    texts = [
        "红色的汽车停在路边",
        "汽车",
        "非常非常地快快跑",
        "一个男孩在雪地里和他的小狗一起开心地玩耍",
    ]
    assert danqing(texts)[1] == [None, "too few words", "no noun", "too many words"]


def test_unknown_characters(tmp_path):
    (tmp_path / "vocab.txt").write_text(
        "\n".join([*SPECIAL_TOKENS, *"红色的猫ab"]), encoding="utf-8"
    )
    config = TextFilterConfig(max_unknown=0.4, vocab=str(tmp_path / "vocab.txt"))
    assert TextFilter(config)(["红色的猫", "红色的狗", "红狗鸟", "A红 B色"])[1] == [
        None, None, "unknown characters", None,
    ]  # fmt: skip


def test_off_it_only_cleans():
    off = TextFilter(TextFilterConfig(enabled=False))
    assert off(["加微信abc12345", "紅", ""]) == (
        ["加微信abc12345", "红", ""],
        [None, None, "empty"],
    )


# Lists of one's own


def test_lists_of_ones_own(tmp_path):
    (tmp_path / "brands.txt").write_text("# ours\n蓝鲸牌\nACME # a comment\n", encoding="utf-8-sig")
    (tmp_path / "fine.txt").write_text("蓝鲸牌坊\n", encoding="utf-8")
    own = TextFilter(
        TextFilterConfig(
            word_lists=(str(tmp_path / "brands.txt"),), allow=(str(tmp_path / "fine.txt"),)
        )
    )
    assert own(["蓝鲸牌电视机", "古老的蓝鲸牌坊", "acme的产品目录", "六合彩开奖"])[1] == [
        "words: brands", None, "words: brands", None,
    ]  # fmt: skip


def test_a_listed_word_beside_an_allowed_one_still_counts():
    assert ZERO(["吃大麻哈鱼也吃大麻"])[1] == ["words: drugs"]


def test_words_beside_which_a_built_in_word_does_no_harm_and_one_of_ones_own_does(tmp_path):
    (tmp_path / "brands.txt").write_text("蓝鲸牌\n", encoding="utf-8")
    texts = ["警方打击赌博", "优惠券海报", "警方查获蓝鲸牌", "路口交通", "打击赌博 加微信"]
    lists = (*TextFilterConfig().word_lists, str(tmp_path / "brands.txt"))
    assert TextFilter(TextFilterConfig(word_lists=lists))(texts)[1] == [
        None, None, "words: brands", None, "contacts",
    ]  # fmt: skip
    strict = TextFilter(TextFilterConfig(word_lists=lists, allow=("allow",)))
    assert strict(texts)[1] == [
        "words: gambling", "advertising", "words: brands", None, "contacts",
    ]  # fmt: skip


def test_a_design_excuses_only_the_phrase_before_it():
    assert (
        ZERO(["海报印刷厂家直销", "优惠券图标，点击购买", "包邮，海报纸"])[1] == ["advertising"] * 3
    )


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("蓝。鲸。牌", "words: brands"),
        ("蓝鲸★牌", "words: brands"),
        ("蓝 鲸 牌", "words: brands"),
        ("一只蓝鲸 牌子", None),
        ("一只蓝鲸，牌子", None),
        ("ａｃｍｅ的产品目录", "words: brands"),
        ("𝐀𝐂𝐌𝐄的产品目录", "words: brands"),
    ],
)
def test_hidden_words_of_ones_own_list(tmp_path, text, rule):
    (tmp_path / "brands.txt").write_text("蓝鲸牌\nACME\n", encoding="utf-8")
    own = TextFilter(TextFilterConfig(word_lists=(str(tmp_path / "brands.txt"),), min_chinese=None))
    assert own([text])[1] == [rule]


def test_lists_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(R2D2Error, match="pornography"):
        TextFilter(TextFilterConfig(word_lists=("nosuch",)))
    (tmp_path / "b5.txt").write_bytes("紅色的汽車\n這間餐廳\n".encode("big5"))
    with pytest.raises(R2D2Error, match="UTF-8"):
        TextFilter(TextFilterConfig(word_lists=(str(tmp_path / "b5.txt"),)))
    (tmp_path / "cut.txt").write_bytes("红色的汽车\n餐厅".encode()[:-1])
    with pytest.raises(R2D2Error, match=r"cut\.txt, line 2 has characters that cannot be read"):
        TextFilter(TextFilterConfig(word_lists=(str(tmp_path / "cut.txt"),)))


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_a_list_as_notepad_saves_it(tmp_path, encoding):
    (tmp_path / "brands.txt").write_text("蓝鲸牌\n白鹤牌\n", encoding=encoding)
    own = TextFilter(TextFilterConfig(word_lists=(str(tmp_path / "brands.txt"),)))
    assert own(["蓝鲸牌电视机", "一只白色的小狗"])[1] == ["words: brands", None]


def test_every_built_in_list_is_sound():
    names = built_in()
    harmless = {"allow", *CONTEXTS}
    assert set(names) == {*TextFilterConfig().word_lists, ADVERTISING, *harmless}
    for name in names:
        words = read_words(name)[1]
        assert len(words) >= 15, name
        assert all(1 < len(word) <= 12 for word in words), name
        if name not in harmless:  # every word is found where it stands, and drops
            lists = () if name == "advertising" else (name,)
            rules = TextFilter(TextFilterConfig(min_chinese=None, word_lists=lists, allow=()))(
                words
            )[1]
            assert all(rules), [w for w, rule in zip(words, rules, strict=True) if not rule]


# A classifier of one's own


def no_cats(texts):
    return ["no cats" if "猫" in text else None for text in texts]


def wrong(texts):
    return []


def test_a_classifier_sees_what_is_left():
    seen = []

    def spy(texts):
        seen.extend(texts)
        return no_cats(texts)

    found = TextFilter(TextFilterConfig(), spy)(["红色的猫", "加微信abc12345", "红色的狗"])[1]
    assert found == ["no cats", "contacts", None]
    assert seen == ["红色的猫", "红色的狗"]


def test_a_classifier_by_name():
    name = f"{__name__}:no_cats"
    assert TextFilter(TextFilterConfig(classifier=name))(["红色的猫"])[1] == ["no cats"]
    with pytest.raises(R2D2Error, match="cannot be imported"):
        TextFilter(TextFilterConfig(classifier="nosuch:thing"))
    with pytest.raises(R2D2Error, match="0 answers for 1"):
        TextFilter(TextFilterConfig(classifier=f"{__name__}:wrong"))(["红色的猫"])


# A part


def test_a_part_is_judged_by_source(tmp_path):
    rows = [
        ("a" * 32, "紅色的貓", "query", 3, 10, 10.0, 0.3),
        ("a" * 32, "加微信abc12345", "query", 3, 10, 10.0, 0.3),
        ("b" * 32, "猫", "title", None, None, None, None),
        ("b" * 32, "狗", "query", 1, 1, 1.0, 0.1),
    ]
    table = pa.Table.from_pylist(
        [dict(zip(PAIR_COLUMNS.names, row, strict=True)) for row in rows], PAIR_COLUMNS
    )
    write_rows(part_file(tmp_path / "in", PAIRS, 0), table)
    work = TextWork(TextFilterConfig(min_chars=1), TextFilterConfig(min_chars=2))
    count = work({"pairs": str(tmp_path / "in"), "out": str(tmp_path / "out"), "part": "0"})
    assert (count.seen, count.kept) == (4, 2)
    assert count.dropped == {"contacts": 1, "too short": 1}
    assert count.examples["contacts"] == ("加微信abc12345",)
    found = read_pairs(part_file(tmp_path / "out", PAIRS, 0))
    assert found.schema.names == PAIR_COLUMNS.names
    assert found["text"].to_pylist() == ["红色的猫", "狗"]
    assert found["clicks"].to_pylist() == [3, 1]


# Real texts


@pytest.mark.skipif(not CAPTIONS.exists(), reason=f"no captions at {CAPTIONS}")
def test_captions_that_people_wrote_are_kept():
    texts = [t for row in pq.read_table(CAPTIONS)["human"].to_pylist() for t in row]
    rules = Counter(rule for rule in ZERO(texts)[1] if rule)
    assert len(texts) > 3000
    assert sum(rules.values()) < 0.002 * len(texts), rules


@pytest.mark.skipif(not KEYWORDS.exists(), reason=f"no keywords at {KEYWORDS}")
def test_names_of_emoji_are_kept():
    texts = [t for t in pq.read_table(KEYWORDS)["title"].to_pylist() if len(t) > 1]
    rules = Counter(rule for rule in ZERO(texts)[1] if rule and rule != "too little Chinese")
    assert sum(rules.values()) < 0.005 * len(texts), rules
