"""Nouns and noun phrases as spans, and the tokens they stand in."""

from itertools import pairwise

import pytest
import rjieba
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.errors import R2D2Error
from r2d2.explain.entities import LONGEST, THINGS, UNSORTED, entities, positions_of, spans_of, words
from r2d2.tokenizer import Tokenizer


def names(text):
    return [span.text for span in entities(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("一只狗在草地上追飞盘", ["狗", "草地", "飞盘"]),
        ("绿色的大西瓜和红色的汽车", ["绿色的大西瓜", "红色的汽车"]),
        ("红色的", ["红色"]),
        ("红色的很大", ["红色"]),
        ("苹果大西瓜", ["苹果", "大西瓜"]),
        ("沙发的狗", ["沙发", "狗"]),
        ("较浅肤色的手", ["较浅肤色的手"]),
        ("漂亮的花朵", ["漂亮的花朵"]),
        ("女警察，较浅肤色", ["女警察", "较浅肤色"]),
        ("他在吃iPhone手机", ["iPhone手机"]),
        ("红色的车和一只鸟", ["红色的车", "鸟"]),
        ("一只狗叼着飞盘", ["狗", "飞盘"]),
        ("较深肤色", ["较深肤色"]),
        ("鸟很大", ["鸟"]),
        ("红色的火烈鸟", ["红色的火烈鸟"]),
        ("一只火烈鸟站着", ["火烈鸟"]),
        ("独木舟和放大镜", ["独木舟", "放大镜"]),
        ("玩具枪，五彩纸屑", ["玩具枪", "五彩纸屑"]),
        ("穿红裙子的女人", ["红裙子", "女人"]),
        ("非常漂亮的姑娘", ["非常漂亮的姑娘"]),
        ("又大又圆的月亮", ["又大又圆的月亮"]),
        ("很大的红色气球", ["很大的红色气球"]),
        ("黑白相间的猫", ["黑白相间的猫"]),
        ("绿色和黄色的苹果", ["绿色和黄色的苹果"]),
        ("红色、黄色的花", ["红色、黄色的花"]),
        ("中等肤色和较深肤色", ["中等肤色", "较深肤色"]),
        ("蓝色的大海和白色的沙滩", ["蓝色的大海", "白色的沙滩"]),
        ("胜利手势", ["胜利手势"]),
        ("海边日落", ["海边日落"]),
        ("走在马路上", ["马路"]),
        ("荡秋千的孩子在打篮球", ["秋千", "孩子", "篮球"]),
        ("打火机", ["打火机"]),
        ("一张小狗的照片", ["小狗"]),
        ("a dog on the grass", ["dog", "grass"]),
        ("The cat and an apple", ["cat", "apple"]),
        ("一只 dog 在 the grass", ["dog", "grass"]),
        ("画蛇添足，喜极而泣", []),
        ("在笑", []),
        ("美好的", []),
        ("，。！", []),
        ("", []),
    ],
)
def test_nouns(text, found):
    assert names(text) == found


@pytest.mark.parametrize("word", list("啊哦唉哟很较且往您穿叼踩掉否够"))
def test_a_character_that_jieba_leaves_unsorted_is_no_noun(word):
    assert rjieba.tag(word) == [(word, UNSORTED)]
    assert names(word) == []
    assert names(f"{word}，一只狗") == ["狗"]


def test_things_are_unsorted_by_jieba():
    assert [thing for thing in THINGS if rjieba.tag(thing) != [(thing, UNSORTED)]] == []
    assert all(names(thing) == [thing] for thing in THINGS)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("一只漂亮的大狗和汽车，在 e\u0301Ａ👍🏽跑步　\n"), max_size=20))
def test_spans_are_where_they_say(text):
    for found in (entities(text), words(text)):
        assert all(text[s.start : s.end] == s.text and s.text for s in found)
        assert all(a.end <= b.start for a, b in pairwise(found))


def test_words_leave_out_punctuation():
    assert [span.text for span in words("狗，猫！")] == ["狗", "猫"]


def test_words_asked_for():
    assert [(s.start, s.end) for s in spans_of("狗追狗", ["狗"])] == [(0, 1), (2, 3)]
    for wrong in ("猫", ""):
        with pytest.raises(R2D2Error, match="not in the text"):
            spans_of("狗追狗", [wrong])


def test_too_long():
    with pytest.raises(R2D2Error, match="give a sentence"):
        entities("狗" * (LONGEST + 1))


def test_positions():
    tokenizer = Tokenizer.train(["狗追iphone手机", "ＡＢ车"], max_length=8)
    text = "狗 追iPhone手机车"  # [CLS] 狗 追 iphone 手 机 车 [SEP]
    offsets = tokenizer.offsets(text)
    ids, _ = tokenizer([text])
    assert len(offsets) == ids.shape[1]
    for span in entities(text):
        kept = positions_of(span, offsets)
        assert kept
        assert "".join(text[a:b] for a, b in (offsets[p] for p in kept)) == span.text
    assert positions_of(spans_of(text, ["狗"])[0], offsets) == [1]
    assert (
        positions_of(spans_of("狗" * 9 + "车", ["车"])[0], tokenizer.offsets("狗" * 9 + "车")) == []
    )


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("狗车ＡＢab e\u0301㍿é👍🏽①，"), max_size=12))
def test_offsets_are_of_the_original(text):
    """One for each id; none beyond the text, whatever normalising did to it."""
    tokenizer = Tokenizer.train(["狗车ab", "株式会社1e"], max_length=32)
    offsets = tokenizer.offsets(text)
    assert len(offsets) == tokenizer([text])[0].shape[1]
    assert all(0 <= a <= b <= len(text) for a, b in offsets)
    places = [a for a, b in offsets if b]
    assert places == sorted(places)
