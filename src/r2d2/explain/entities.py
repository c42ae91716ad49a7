"""Entities of a Chinese text: its nouns and noun phrases, by part of speech, as spans of the text.

A phrase is a run of nouns with the adjectives and colours before it: 大西瓜, 红色的火烈鸟.
Other nouns that 的 joins stay two, for each may be elsewhere in the picture: 沙发的狗. The tags are
jieba's; its dictionary takes some verbs for nouns, and knows no slang. What it calls a set phrase
is a noun where it ends in one: 火烈鸟, 独木舟. Of a verb with its noun the noun is taken: 荡秋千.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.extras import require

LONGEST = 2000  # characters of a text that is looked at
NOUNS = ("n", "eng", "j", "s")  # jieba's: n, nr, ns, nt, nz, ng; see ENGLISH; 欧盟; 海边
ADJECTIVES = ("a", "b", "z")  # adjectives, 大型 and the like, states
MODIFIERS = ("vn",)  # verbs as nouns: a part of a compound before a noun, 胜利手势; no thing alone
SET_PHRASES = ("i", "l")  # idioms, and what else has become one word
COLOUR = "色"  # the end of a colour's name, which jieba takes for a noun
SKIN = "肤色"  # no colour of a thing
TAKEN_FOR_VERBS = frozenset("花树")
ACTIONS = frozenset("荡打吃喝脱摆做看笑翻洗扔踢弹拉")  # first in set phrases of a verb and its noun
TOOLS = frozenset("机器")  # last in names of what an action is done with: 打火机
PLACES = frozenset("上里中下旁")  # last in set phrases of a noun and a place: 马路上
MIXED = "相间"  # 黑白相间 and the like, which jieba takes for nouns
AND = ("和", "与", "、")  # between colours of one thing
NOTHING = ("x", "w")  # punctuation and what has no tag
# jieba gives 5,666 single characters one tag, whatever they are: 车 and 鸟, and also 穿, 叼 and 啊.
# Nouns among them are those that name what a picture may show.
PICTURES = frozenset(["图片", "照片", "相片", "图像", "画面"])  # the picture itself, nothing in it
ENGLISH = "eng"  # Latin letters, whatever they say: those that name nothing are known by the word
ENGLISH_FUNCTION_WORDS = frozenset((
    "a", "an", "the", "this", "that", "these", "those", "some", "any", "each", "every", "no",
    "not", "and", "or", "but", "nor", "so", "as", "than", "then", "of", "in", "on", "at", "by",
    "to", "from", "with", "without", "for", "into", "onto", "over", "under", "near", "behind",
    "beside", "between", "through", "across", "around", "about", "up", "down", "off", "out", "i",
    "you", "he", "she", "it", "we", "they", "me", "him", "her", "us", "them", "my", "your", "his",
    "its", "our", "their", "who", "whom", "whose", "which", "what", "where", "when", "there",
    "here", "is", "are", "was", "were", "be", "been", "being", "am", "do", "does", "did", "has",
    "have", "had", "will", "would", "can", "could", "may", "might", "must", "very", "too",
))  # fmt: skip
UNSORTED = "zg"
THINGS = frozenset(
    "车鸟帽桶土棒棍糖奶汗厂贝垫椽唇睛肾囊孙园井槛篱炉轮篓篷豺蛤螟牡蕉芋薯苇圩岬渚湾浦狱县帜囝囡斧拳疹疖"
    "凫荪菽屐珥璧杵桦楮榛槭檩甑牍牖镬簋簪箸箪篝笏缶衾裾粽脍蛟螯舫觥豕犍狨"
    "車樹書門頭雲電燈葉蟲髮紙鐘麵麥龜鍋劍槍樓島園國圖軍銀線鶴體"
)
DEGREES = frozenset([*"较很稍又最更", "非常", "十分", "特别"])  # with the adjective behind them
WITH = frozenset("穿戴拿抱骑背举玩亲牵")  # verbs that jieba's guesses join to an adjective


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text: text[start:end]."""

    text: str
    start: int
    end: int


def entities(text: str) -> list[Span]:
    """Nouns and noun phrases in their order; none in a text that has none.

    Raises:
        R2D2Error: the text is too long to be a caption.
    """
    spans: list[Span] = []
    start: int | None = None  # of the phrase in hand
    end = 0  # of its last noun; 0: it has none yet
    joined = False  # 的 came last, or adjectives after it

    def close() -> None:
        nonlocal start, end, joined
        if start is not None and end:
            spans.append(Span(text[start:end], start, end))
        start, end, joined = None, 0, False

    tagged = [part for span, tag in _tagged(text) for part in _parts(span, tag)]
    for position, (span, noun, adjective) in enumerate(tagged):
        if noun or (adjective and (joined or not end)):
            start = span.start if start is None else start
            end, joined = (span.end, False) if noun else (end, joined)
        elif adjective:  # after a noun: it belongs to the next
            close()
            start = span.start
        elif span.text == "的" and start is not None and (not end or text[end - 1] == COLOUR):
            joined = True
        elif not _joins_colours(tagged, position):
            close()
    close()
    return spans


def words(text: str) -> list[Span]:
    """All words but punctuation, in their order. R2D2Error as for `entities`."""
    return [span for span, tag in _tagged(text) if not tag.startswith(NOTHING)]


def nouns(text: str) -> list[str]:
    """Words of a text that are nouns by themselves; no compounds. R2D2Error as for `entities`."""
    return [
        span.text for span, tag in _tagged(text) if tag.startswith("n") and _kind(span.text, tag)[0]
    ]


def spans_of(text: str, chosen: Sequence[str]) -> list[Span]:
    """Every place where one of the words `chosen` stands, in the order of the text.

    Raises:
        R2D2Error: a word that is empty, or not in the text.
    """
    bounds = set()
    for word in chosen:
        at = text.find(word) if word else -1
        if at < 0:
            raise R2D2Error(f"'{word}' is not in the text '{shorten(text)}': give words of it")
        while at >= 0:
            bounds.add((at, at + len(word)))
            at = text.find(word, at + len(word))
    return [Span(text[start:end], start, end) for start, end in sorted(bounds)]


def positions_of(span: Span, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The tokens that a span takes part in; none where the text was cut before it.

    `offsets` (L,) of `Tokenizer.offsets`.
    """
    return [
        position
        for position, (start, end) in enumerate(offsets)
        if start < end and start < span.end and end > span.start
    ]


def shorten(text: str, longest: int = 30) -> str:
    """The text in one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _parts(span: Span, tag: str) -> list[tuple[Span, bool, bool]]:
    """A word, or the two it is made of: whether a noun, and whether it belongs to one after it."""
    word = span.text
    if tag.startswith(ADJECTIVES) and len(word) > 1 and word[0] in WITH:
        return [(_piece(span, 0, 1), False, False), (_piece(span, 1), False, True)]
    if tag in SET_PHRASES and word[-1] in PLACES:
        tags = _dictionary().tag(word[:-1], False)
        return [(_piece(span, 0, -1), len(tags) == 1 and tags[0][1].startswith("n"), False)]
    if tag in SET_PHRASES or (word[0] in ACTIONS and tag == "n" and len(word) == 3):
        tail = _noun_at_the_end(word)
        if tail > 1 and word[0] in ACTIONS and word[-1] not in TOOLS:
            cut = len(word) - tail  # of 打篮球
            return [(_piece(span, 0, cut), False, False), (_piece(span, cut), True, False)]
        return [(span, tail > 0, False)]
    noun, adjective = _kind(word, tag)
    return [(span, noun, adjective)]


def _kind(word: str, tag: str) -> tuple[bool, bool]:
    """Whether it is a noun, and whether it belongs to a noun after it."""
    if word in PICTURES or (tag == ENGLISH and word.casefold() in ENGLISH_FUNCTION_WORDS):
        return False, False
    if word in DEGREES or word.endswith(MIXED) or "又" in word[1:-1]:
        return False, True
    if tag == UNSORTED or word in TAKEN_FOR_VERBS:
        return word in THINGS | TAKEN_FOR_VERBS, False
    noun = tag.startswith(NOUNS)
    return noun, not noun and tag.startswith(ADJECTIVES + MODIFIERS)


def _noun_at_the_end(word: str) -> int:
    """How many characters of a set phrase are the noun that it ends in: 2, 1, or 0 for none.

    In four characters, only where the first two are no verb: 五彩纸屑, but not 对牛弹琴.
    """
    lengths = (2, 1) if len(word) == 3 else (2,)
    for length in lengths:
        head, tail = word[:-length], word[-length:]
        before, noun = (
            _dictionary().tag(part, False) for part in (head, tail)
        )  # words of its dictionary
        if len(noun) == 1 and (noun[0][1].startswith("n") or tail in THINGS):
            thing = len(before) == 1 and before[0][1].startswith(("n", "m", "t", *ADJECTIVES))
            if len(word) == 3 or thing or word[0] in ACTIONS:
                return length
    return 0


def _joins_colours(tagged: list[tuple[Span, bool, bool]], position: int) -> bool:
    """Whether a word stands between two colours of one thing: 绿色和黄色的苹果."""
    if tagged[position][0].text not in AND or not 0 < position < len(tagged) - 2:
        return False
    before, after, then = (tagged[i][0].text for i in (position - 1, position + 1, position + 2))
    colours = all(word.endswith(COLOUR) and not word.endswith(SKIN) for word in (before, after))
    return colours and then == "的"


def _piece(span: Span, start: int, end: int | None = None) -> Span:
    text = span.text[start:end]
    return Span(text, span.start + start, span.start + start + len(text))


def _tagged(text: str) -> list[tuple[Span, str]]:
    if len(text) > LONGEST:
        raise R2D2Error(
            f"the text has {len(text)} characters, more than {LONGEST}: give a sentence of it"
        )
    try:
        parts = _dictionary().tag(text)
    except UnicodeEncodeError as error:  # half a surrogate pair in it
        raise R2D2Error(f"the text is no valid Unicode string ({error}): give another") from error
    tagged, at = [], 0
    for word, tag in parts:
        start = text.index(word, at)
        at = start + len(word)
        tagged.append((Span(word, start, at), tag))
    return tagged


@cache
def _dictionary() -> Any:
    """Jieba in Rust, which reads its dictionary when it is imported."""
    return require("explain", "rjieba", "finding the nouns of a text")
