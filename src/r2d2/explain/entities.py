"""Entities of a Chinese text: its nouns and noun phrases, by part of speech, as spans of the text.

A phrase is a run of nouns with the adjectives and colours before it: 大西瓜, 漂亮的花, 红色的裙子.
Other nouns that 的 joins stay two, for each may be elsewhere in the picture: 沙发的狗. The tags are
jieba's; its dictionary takes some verbs for nouns, misses some short nouns, and knows no slang.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import rjieba

from r2d2.errors import R2D2Error

LONGEST = 2000  # characters of a text that is looked at
NOUNS = ("n", "eng", "j")  # jieba's: n, nr, ns, nt, nz, ng; Latin letters; 欧盟
ADJECTIVES = ("a", "b", "z")  # adjectives, 大型 and the like, states
COLOUR = "色"  # the end of a colour's name, which jieba takes for a noun
NOTHING = ("x", "w")  # punctuation and what has no tag
# jieba gives 5,666 single characters one tag, whatever they are: 车 and 鸟, and also 穿, 叼 and 啊.
# Nouns among them are those that name what a picture may show.
UNSORTED = "zg"
THINGS = frozenset(
    "车鸟帽桶土棒棍糖奶汗厂贝垫椽唇睛肾囊孙园井槛篱炉轮篓篷豺蛤螟牡蕉芋薯苇圩岬渚湾浦狱县帜囝囡斧拳疹疖"
    "凫荪菽屐珥璧杵桦楮榛槭檩甑牍牖镬簋簪箸箪篝笏缶衾裾粽脍蛟螯舫觥豕犍狨"
    "車樹書門頭雲電燈葉蟲髮紙鐘麵麥龜鍋劍槍樓島園國圖軍銀線鶴體"
)
DEGREES = frozenset("较很稍")  # of the same tag; they go with the adjective behind them


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
    found: list[Span] = []
    start: int | None = None  # of the phrase in hand
    end = 0  # of its last noun; 0: it has none yet
    joined = False  # 的 came last, or adjectives after it

    def close() -> None:
        nonlocal start, end, joined
        if start is not None and end:
            found.append(Span(text[start:end], start, end))
        start, end, joined = None, 0, False

    for span, tag in _tagged(text):
        noun, adjective = _kind(span.text, tag)
        if noun or (adjective and (joined or not end)):
            start = span.start if start is None else start
            end, joined = (span.end, False) if noun else (end, joined)
        elif adjective:  # after a noun: it belongs to the next
            close()
            start = span.start
        elif span.text == "的" and start is not None and (not end or text[end - 1] == COLOUR):
            joined = True
        else:
            close()
    close()
    return found


def words(text: str) -> list[Span]:
    """All words but punctuation, in their order. R2D2Error as for `entities`."""
    return [span for span, tag in _tagged(text) if not tag.startswith(NOTHING)]


def spans_of(text: str, wanted: Sequence[str]) -> list[Span]:
    """Every place where one of the words `wanted` stands, in the order of the text.

    Raises:
        R2D2Error: a word that is empty, or not in the text.
    """
    found = set()
    for word in wanted:
        at = text.find(word) if word else -1
        if at < 0:
            raise R2D2Error(f"'{word}' is not in the text '{shorten(text)}': give words of it")
        while at >= 0:
            found.add((at, at + len(word)))
            at = text.find(word, at + len(word))
    return [Span(text[start:end], start, end) for start, end in sorted(found)]


def positions_of(span: Span, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The tokens that a span takes part in; none where the text was cut before it.

    `offsets` (L,) of `Tokenizer.offsets`.
    """
    return [
        place
        for place, (start, end) in enumerate(offsets)
        if start < end and start < span.end and end > span.start
    ]


def shorten(text: str, longest: int = 30) -> str:
    """The text in one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _kind(word: str, tag: str) -> tuple[bool, bool]:
    """Whether it is a noun, and whether it belongs to an adjective before one."""
    if tag == UNSORTED:
        return word in THINGS, word in DEGREES
    noun = tag.startswith(NOUNS)
    return noun, not noun and tag.startswith(ADJECTIVES)


def _tagged(text: str) -> list[tuple[Span, str]]:
    if len(text) > LONGEST:
        raise R2D2Error(
            f"the text has {len(text)} characters, more than {LONGEST}: give a sentence of it"
        )
    try:
        parts = rjieba.tag(text)
    except UnicodeEncodeError as error:  # half a surrogate pair in it
        raise R2D2Error(f"the text is no valid Unicode string ({error}): give another") from error
    tagged, at = [], 0
    for word, tag in parts:
        start = text.index(word, at)
        at = start + len(word)
        tagged.append((Span(word, start, at), tag))
    return tagged
