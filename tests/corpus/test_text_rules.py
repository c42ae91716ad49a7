"""Error rates of the text rules on sentences judged by hand, and the sentences themselves."""

import pytest

from benchmarks.text_rules import FILES, SENTENCES, measure, read_sentences
from r2d2.corpus.config import TextConfig
from r2d2.corpus.text_filter import TextFilter

ZERO = TextFilter(TextConfig())


@pytest.mark.parametrize("name", FILES)
def test_few_bad_sentences_are_missed_and_few_good_ones_dropped(name):
    rates = measure(read_sentences(SENTENCES / f"{name}.tsv"), ZERO)
    assert min(rates.good, rates.bad) > 100
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
    assert TextFilter(TextConfig(**{setting: False}))([text])[1] == [None]
