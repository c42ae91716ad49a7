"""Characters in their plainest form, and words that were taken apart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.corpus.texts.folding import changed_by_folding, close_up, compact, fold, with_digits


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("ＶＸ①②❸➃⓿", "vx12340"),
        ("𝐕𝒳 🅥🅧 🆅 🇻", "vx vx v v"),
        ("1️⃣3️⃣", "13"),
        ("氷毒 蔴 発票 愽彩", "冰毒 麻 发票 博彩"),
        ("ᴠχ Ьаѕе", "vx ьase"),
        ("➕微💗", "+微❤"),
        ("红色，汽车", "红色,汽车"),
    ],
)
def test_fold(text, plain):
    assert fold(text) == plain


def test_numerals_are_digits():
    assert with_digits("幺三八零〇壹叁捌两洞九") == "13800138209"


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("加 v x abc", "加vx abc"),
        ("1-3-8-0 号", "1380 号"),
        ("全 场 5 折", "全场5折"),
        ("a b-c", "ab-c"),
        ("红色 的 汽车", "红色 的 汽车"),
        ("iphone 15", "iphone 15"),
    ],
)
def test_close_up(text, closed):
    assert close_up(text) == closed


@pytest.mark.parametrize(
    ("text", "word", "hidden"),
    [
        ("代。开。发。票", "代开发票", True),
        ("找代·开·发·票的", "代开发票", True),
        ("赌★博网", "赌博", True),
        ("色 情 网", "色情", True),
        ("刨冰 毒舌", "冰毒", False),
        ("真大，麻辣", "大麻", False),
        ("赌博", "赌博", False),
        ("高-利-贷", "高利贷", True),
        ("来到北京 赛车比赛", "北京赛车", False),
    ],
)
def test_what_hides_a_word(text, word, hidden):
    short = compact(fold(text))
    start = short.text.index(word)
    assert short.hides(start, start + len(word)) is hidden


@settings(deadline=None)
@given(st.text(max_size=20))
def test_compact_has_a_gap_before_each_character_and_at_the_end(text):
    short = compact(fold(text))
    assert len(short.gaps) == len(short.text) + 1
    assert not any(c.isspace() for c in short.text)


def test_what_folding_leaves_alone_is_known():
    changed = changed_by_folding()
    plain = [c for c in range(0x80, 0xD800) if not changed[c] and c not in (0x2026, 0x3000)]
    assert all(fold(chr(c)) == chr(c).lower() for c in plain)
