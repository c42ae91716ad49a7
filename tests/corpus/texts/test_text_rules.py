"""Error rates of the text rules on sentences judged by hand, and the sentences themselves."""

import pytest

from benchmarks.text_rules import FILES, SENTENCES, measure, read_sentences
from r2d2.corpus.config import TextFilterConfig
from r2d2.corpus.texts.text_filter import TextFilter

ZERO = TextFilter(TextFilterConfig())


@pytest.mark.parametrize("name", FILES)
def test_few_bad_sentences_are_missed_and_few_good_ones_dropped(name):
    rates = measure(read_sentences(SENTENCES / f"{name}.tsv"), ZERO)
    assert min(rates.good, rates.bad) > 60
    assert len(rates.missed) <= 0.1 * rates.bad, rates.missed
    assert len(rates.dropped) <= 0.05 * rates.good, rates.dropped
    assert not rates.mistaken


def test_no_sentence_is_there_twice():
    texts = [s.text for name in FILES for s in read_sentences(SENTENCES / f"{name}.tsv")]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("contacts", "可爱的小猫 V❤abc12345"),
        ("mojibake", "浣犲ソ锛屼笘鐣"),
        ("advertising", "全 场 5 折"),
    ],
)
def test_each_rule_can_be_turned_off(setting, text):
    assert ZERO([text])[1] == [setting]
    assert TextFilter(TextFilterConfig(**{setting: False}))([text])[1] == [None]


@pytest.mark.parametrize(
    "text",
    [
        "手工皂 wei xin hao: soap2020",
        "手工皂 🛰️ soap2020",
        "手工皂 薇⭐ soap2020",
        "订票电话 8 0 0 - 8 2 0 - 5 5 1 2",
    ],
)
def test_sounds_emoji_and_wide_gaps_hide_no_contact(text):
    assert ZERO([text])[1] == ["contacts"]


@pytest.mark.parametrize("text", ["五⭐酒店大堂", "卫星🛰️模型", "微号螺丝刀", "hao123导航页截图"])
def test_the_same_signs_without_an_account_are_kept(text):
    assert ZERO([text])[1] == [None]
