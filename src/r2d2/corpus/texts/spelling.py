"""One spelling of a text: no markup, nothing unseen, letters narrow, characters simplified.

Queries are spelt more strictly than other texts, since those that differ in case, in width or in
spaces between Chinese characters are one: their clicks and impressions have to be added up before
anything is ranked. The table holds this spelling, not the most frequent one of those in the log, so
that a query and its id stay the same when another day is added to the log.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.extras import require

LAST = 0xFFFF  # no character; those beyond it are looked up as if they were it
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3007\U00020000-\U0003ffff"  # of a regex's class

# Full-width letters and digits as their narrow twins; Chinese punctuation stays.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()}
# Of a query, punctuation too: an input method decides about its width.
_NARROW_QUERY: dict[int, int | str] = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    **dict(zip(map(ord, "￠￡￥｡､･﹐﹑﹒﹔﹕﹖﹗﹙﹚﹢"), "¢£¥。、・,、.;:?!()+", strict=True)),
}
_SPACE = re.compile(r"[^\S\n]+")
_INNER_SPACE = re.compile(rf"(?<=[{CHINESE}]) (?=[{CHINESE}?!,、。])")
_UNSEEN = re.compile(  # control characters, soft hyphens, marks of direction, variation selectors
    "[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u00ad\u034f\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_BLOCK = "br|p|div|li|ul|ol|tr|td|th|table|h[1-6]|hr"
_INLINE = "em|b|i|u|s|strong|span|font|mark|small|big|sub|sup|a|img|hl|highlight"
_TAGS = re.compile(
    rf"</?(?:(?P<block>{_BLOCK})|{_INLINE})(?:\s[^<>\n]*)?/?>", re.IGNORECASE | re.ASCII
)


def clean(texts: Sequence[str], simplified: bool = True) -> list[str]:
    """Texts (n,) without markup and what cannot be seen, narrow, simplified if asked.

    Each is on one line, and runs of spaces are one space.
    """
    return _spell(texts, simplified, _plain)


def spell_queries(queries: Sequence[str], simplified: bool = True) -> list[str]:
    """Queries (n,) as `clean` leaves texts, and in lower case, with narrow punctuation.

    Spaces are removed between Chinese characters, and between one and a mark that follows it.
    """
    return _spell(queries, simplified, _plain_queries)


def simplify(joined: str) -> str:
    """A text, or lines of them, in simplified characters."""
    converted: str = _opencc("t2s").convert(joined)
    return converted


def make_traditional(text: str) -> str:
    """A text in traditional characters, as far as one can tell."""
    converted: str = _opencc("s2t").convert(text)
    return converted


def _spell(texts: Sequence[str], simplified: bool, plain: Callable[[str], str]) -> list[str]:
    """Spell until nothing changes: what is made narrow or removed may leave a tag or an entity."""
    spelt = _spell_once(texts, simplified, plain)
    rows = [row for row, text in enumerate(spelt) if "<" in text or "&" in text]
    while rows:
        again = _spell_once([spelt[row] for row in rows], simplified, plain)
        changed = [(row, text) for row, text in zip(rows, again, strict=True) if text != spelt[row]]
        for row, text in changed:
            spelt[row] = text
        rows = [row for row, text in changed if "<" in text or "&" in text]
    return spelt


def _spell_once(texts: Sequence[str], simplified: bool, plain: Callable[[str], str]) -> list[str]:
    unescaped = [_unescape(t) if "&" in t else t for t in texts]
    joined = "\n".join(unescaped)
    if "\r" in joined or joined.count("\n") >= len(unescaped):
        joined = "\n".join([t.replace("\n", " ").replace("\r", " ") for t in unescaped])
    joined = plain(joined)
    if simplified:
        joined = simplify(joined)
    return [text.strip() for text in joined.split("\n")] if texts else []


def _plain(joined: str) -> str:
    if "<" in joined:
        joined = _TAGS.sub(_tag, joined)
    codes = np.frombuffer(joined.encode("utf-32-le"), "<u4")
    if "  " in joined or _odd()[np.minimum(codes, LAST)].any():
        joined = _SPACE.sub(" ", _UNSEEN.sub("", joined)).translate(_NARROW)
        joined = unicodedata.normalize("NFC", joined)
    return joined


def _plain_queries(joined: str) -> str:
    joined = _plain(joined)
    codes = np.frombuffer(joined.encode("utf-32-le"), "<u4")
    if _odd_in_queries()[np.minimum(codes, LAST)].any():
        joined = unicodedata.normalize("NFC", joined.translate(_NARROW_QUERY).lower())
    return _INNER_SPACE.sub("", joined) if " " in joined else joined


def _tag(match: re.Match[str]) -> str:
    return " " if match["block"] else ""


def _unescape(text: str) -> str:
    """A text whose entities are replaced, also those that were escaped more than once."""
    while (plain := html.unescape(text)) != text:
        text = plain
    return text


@cache
def _odd() -> npt.NDArray[np.bool_]:
    """By code point up to LAST, what is not left as it is or needs a closer look."""
    odd = np.zeros(LAST + 1, dtype=bool)
    characters = "".join(map(chr, range(LAST)))
    unusual = [*_UNSEEN.findall(characters), *"".join(_SPACE.findall(characters))]
    odd[[ord(c) for c in unusual if c != " "]] = True
    odd[list(_NARROW)] = True
    changed = [c for c in range(LAST) if unicodedata.normalize("NFC", chr(c)) != chr(c)]
    marks = [c for c in range(LAST) if unicodedata.combining(chr(c)) or 0x1100 <= c <= 0x11FF]
    odd[[*changed, *marks, LAST]] = True
    return odd


@cache
def _odd_in_queries() -> npt.NDArray[np.bool_]:
    """By code point up to LAST, what is not left as it is in a query; capital letters too."""
    odd = np.zeros(LAST + 1, dtype=bool)
    odd[[c for c in range(LAST) if chr(c).lower() != chr(c)]] = True
    odd[[*_NARROW_QUERY, LAST]] = True
    return odd


@cache
def _opencc(conversion: str) -> Any:
    opencc = require("search", "opencc", "telling simplified from traditional characters")
    return opencc.OpenCC(conversion)  # not at import: it reads its dictionaries
