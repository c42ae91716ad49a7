"""Find the entities of a Chinese text: its nouns and noun phrases, as spans of the text.

A phrase is a run of nouns together with the adjectives and colours before it: 大西瓜, 红色的火烈鸟.
Other nouns that 的 joins stay separate, because each may be in a different part of the picture:
沙发的狗. The part-of-speech tags are jieba's; its dictionary tags some verbs as nouns and has no
slang. A word that it tags as a set phrase counts as a noun where it ends in a noun: 火烈鸟, 独木舟.
Where it tags a verb and its object as one word, only the object is taken: 荡秋千.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.extras import require

LONGEST = 2000  # characters: a longer text is refused
# Prefixes of jieba's tags for nouns: n, nr, ns, nt, nz and ng begin with n; eng is a word of Latin
# letters (see ENGLISH), j an abbreviation such as 欧盟, s a place such as 海边.
NOUNS = ("n", "eng", "j", "s")
ADJECTIVES = ("a", "b", "z")  # adjectives, words such as 大型 that only stand before nouns, states
MODIFIERS = ("vn",)  # verbal nouns: part of a compound before a noun, as in 胜利手势, never alone
SET_PHRASES = ("i", "l")  # idioms and fixed expressions
COLOUR = "色"  # the last character of a colour's name, which jieba tags as a noun
SKIN = "肤色"  # ends in 色, but is not the colour of a thing
TAKEN_FOR_VERBS = frozenset("花树")  # nouns that jieba tags as verbs
ACTIONS = frozenset(
    "荡打吃喝脱摆做看笑翻洗扔踢弹拉"
)  # first in set phrases of a verb and an object
TOOLS = frozenset("机器")  # last in the name of a tool, which is no object of the verb: 打火机
PLACES = frozenset("上里中下旁")  # last in set phrases of a noun and a place: 马路上
MIXED = "相间"  # the end of words such as 黑白相间, which jieba tags as nouns
AND = ("和", "与", "、")  # between two colours of one thing
NOTHING = ("x", "w")  # tags of punctuation and of what jieba does not know
PICTURES = frozenset(["图片", "照片", "相片", "图像", "画面"])  # they name the picture, not a part
ENGLISH = "eng"  # the tag of any word of Latin letters, also of function words
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
# jieba gives this one tag to 5,666 single characters, nouns such as 车 and 鸟 as well as 穿, 叼 and
# 啊. THINGS has those of them that name something a picture can show.
UNSORTED = "zg"
THINGS = frozenset(
    "车鸟帽桶土棒棍糖奶汗厂贝垫椽唇睛肾囊孙园井槛篱炉轮篓篷豺蛤螟牡蕉芋薯苇圩岬渚湾浦狱县帜囝囡斧拳疹疖"
    "凫荪菽屐珥璧杵桦楮榛槭檩甑牍牖镬簋簪箸箪篝笏缶衾裾粽脍蛟螯舫觥豕犍狨"
    "車樹書門頭雲電燈葉蟲髮紙鐘麵麥龜鍋劍槍樓島園國圖軍銀線鶴體"
)
DEGREES = frozenset(
    [*"较很稍又最更", "非常", "十分", "特别"]
)  # adverbs that belong to an adjective
WITH = frozenset("穿戴拿抱骑背举玩亲牵")  # verbs that jieba sometimes joins to the next adjective


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text: text[start:end]."""

    text: str
    start: int
    end: int


def entities(text: str) -> list[Span]:
    """Return the nouns and noun phrases of a text in their order; the list may be empty.

    Raises:
        R2D2Error: the text is longer than LONGEST, or no valid Unicode.
    """
    spans: list[Span] = []
    start: int | None = None  # of the phrase that is being read; None: there is none
    end = 0  # the end of its last noun; 0: it has no noun yet
    joined = False  # whether 的 was the last word, or was followed by adjectives only

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
        elif adjective:  # an adjective after a noun belongs to the next noun
            close()
            start = span.start
        elif span.text == "的" and start is not None and (not end or text[end - 1] == COLOUR):
            joined = True
        elif not _joins_colours(tagged, position):
            close()
    close()
    return spans


def words(text: str) -> list[Span]:
    """Return all words except punctuation, in their order. Raises R2D2Error as `entities` does."""
    return [span for span, tag in _tagged(text) if not tag.startswith(NOTHING)]


def nouns(text: str) -> list[str]:
    """Return the words that are nouns by themselves, without compounds.

    Raises:
        R2D2Error: as `entities` does.
    """
    return [
        span.text for span, tag in _tagged(text) if tag.startswith("n") and _kind(span.text, tag)[0]
    ]


def spans_of(text: str, chosen: Sequence[str]) -> list[Span]:
    """Return each occurrence of the words `chosen`, in the order of the text.

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
    """Return the positions of the tokens that overlap a span; none where the text was cut before.

    Args:
        span: of the text.
        offsets: start and end in the text of each of L tokens, from `Tokenizer.offsets`.
    """
    return [
        position
        for position, (start, end) in enumerate(offsets)
        if start < end and start < span.end and end > span.start
    ]


def shorten(text: str, longest: int = 30) -> str:
    """Return the text in one line of at most `longest` characters, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _parts(span: Span, tag: str) -> list[tuple[Span, bool, bool]]:
    """Return a word, or the two words it consists of, each with two properties.

    The first tells whether the word is a noun, the second whether it belongs to a noun after it.
    """
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
    """Return whether a word is a noun, and whether it belongs to a noun after it."""
    if word in PICTURES or (tag == ENGLISH and word.casefold() in ENGLISH_FUNCTION_WORDS):
        return False, False
    if word in DEGREES or word.endswith(MIXED) or "又" in word[1:-1]:
        return False, True
    if tag == UNSORTED or word in TAKEN_FOR_VERBS:
        return word in THINGS | TAKEN_FOR_VERBS, False
    noun = tag.startswith(NOUNS)
    return noun, not noun and tag.startswith(ADJECTIVES + MODIFIERS)


def _noun_at_the_end(word: str) -> int:
    """Return how many characters the noun has that a set phrase ends in: 2, 1, or 0 for no noun.

    A phrase of four characters counts only where its first two are not a verb: 五彩纸屑 counts, but
    对牛弹琴 does not.
    """
    lengths = (2, 1) if len(word) == 3 else (2,)
    for length in lengths:
        head, tail = word[:-length], word[-length:]
        before, noun = (_dictionary().tag(part, False) for part in (head, tail))
        if len(noun) == 1 and (noun[0][1].startswith("n") or tail in THINGS):
            thing = len(before) == 1 and before[0][1].startswith(("n", "m", "t", *ADJECTIVES))
            if len(word) == 3 or thing or word[0] in ACTIONS:
                return length
    return 0


def _joins_colours(tagged: list[tuple[Span, bool, bool]], position: int) -> bool:
    """Return whether a word stands between two colours of one thing, as in 绿色和黄色的苹果."""
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
    """Import rjieba, which is jieba in Rust and reads its dictionary when it is imported."""
    return require("explain", "rjieba", "finding the nouns of a text")
