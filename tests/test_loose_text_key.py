"""What counts as the same text for splits and leak checks, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.tokenizer import loose_text_key, text_key

SAME = [
    ("一只猫坐在屋顶上", "一只猫坐在屋顶上。"),
    ("一只猫坐在屋顶上", "一只猫坐在屋顶上！！"),
    ("一只猫坐在屋顶上", "一只猫坐在屋顶上……"),
    ("一只猫坐在屋顶上", "“一只猫坐在屋顶上”"),
    ("一只猫坐在屋顶上", "《一只猫坐在屋顶上》"),
    ("一只猫坐在屋顶上", " 一只猫 坐在屋顶上 "),
    ("一只猫坐在屋顶上", "一只猫\u3000坐在屋顶上"),
    ("一只猫坐在屋顶上", "一只猫\u200b坐在屋顶上"),
    ("一只猫坐在屋顶上", "\ufeff一只猫坐在屋顶上"),
    ("爱心❤", "爱心❤\ufe0f"),
    ("iPhone手机", "IPHONE 手机"),
    ("iPhone手机", "ｉｐｈｏｎｅ手机"),
    ("Straße", "STRASSE"),
    ("价格100元", "价格１００元"),
    ("你好,世界", "你好，世界"),
    ("一只猫～", "一只猫"),
    ("ready?", "Ready ？"),
]
OTHER = [
    ("一只猫", "一只狗"),
    ("C++", "C"),
    ("C#", "C"),
    ("增长5%", "增长5"),
    ("-5度", "5度"),
    ("？", "！"),
    ("红楼梦、西游记", "红楼梦西游记"),
    ("里面", "裡面"),  # traditional characters are another text: to fold them needs a dictionary
    ("❤", "★"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_text_in_another_spelling(one, other):
    assert loose_text_key(one) == loose_text_key(other)
    assert loose_text_key(one)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_texts(one, other):
    assert loose_text_key(one) != loose_text_key(other)


@given(st.text())
def test_what_training_takes_for_the_same_text_is_the_same_here(text):
    key = loose_text_key(text)
    assert key == loose_text_key(text_key(text))
    # a text that is left out as empty is empty here too, and no other
    assert bool(key) == bool(text_key(text))
