"""Terms of texts: characters and pairs where no spaces are written, words elsewhere."""

import pytest

from r2d2.index.text.terms import image_terms, text_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("生日蛋糕", ["生", "日", "蛋", "糕", "生日", "日蛋", "蛋糕"]),
        ("貓 飛機", ["猫", "飞", "机", "猫飞", "飞机"]),
        ("ＤＶＤ播放", ["dvd", "播", "放", "播放"]),
        ("C++ 2024年", ["c", "+", "+", "2024", "年"]),
        ("カレー🍛", ["カ", "レ", "ー", "カレ", "レー", "🍛"]),
        ("，。？!\u200b ", []),
    ],
)
def test_terms_of_a_text(text, terms):
    assert text_terms([text]) == [terms]


def test_terms_of_an_image_do_not_reach_from_one_text_into_the_next():
    assert image_terms([("红猫", "蓝马"), (), ("dog",)]) == ["红 猫 红猫 蓝 马 蓝马", "", "dog"]
