"""Texts that were decoded by another encoding than the one they were written in.

What UTF-8 becomes when it is read as Latin-1 has a form of its own. What it becomes as GBK, Big5 or
another encoding of East Asia is made of real characters: such a text is encoded again by that
encoding and decoded by the one that it may have been written in. If common Chinese comes out of
uncommon characters, it was.
"""

from __future__ import annotations

import codecs
import re
from functools import cache

import numpy as np
import numpy.typing as npt

from r2d2.corpus.texts.spelling import make_traditional

LAST = 0xFFFF

_TAIL = (
    "[\u00a1-\u00bf\u0192\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u02c6\u02dc\u2013-\u203a\u20ac"
    "\u2122]"
)
_FORM = re.compile(
    "|".join(
        (
            "\ufffd",
            "锟斤|斤拷",  # U+FFFD in UTF-8, read as GBK
            "烫{4}|屯{4}",  # memory that a debugger filled, read as GBK
            "□{3}",
            "[\u4e00-\u9fff][\uff66-\uff9f].*[\uff66-\uff9f]",  # as Shift JIS
            "[\ue000-\uf8ff].*[\ue000-\uf8ff]",
            rf"[\u00c2-\u00ef]{_TAIL}.*[\u00c2-\u00ef]{_TAIL}",  # UTF-8 as Latin-1 or Windows-1252
            "\u00e2\u20ac|\u00c3[\u00a1-\u00bf]|\u00c2[\u00a1-\u00bf]|\u00ef\u00bc|\u00e3\u20ac",
            "[\u00a1-\u00ff]*[\u00c0-\u00ff][\u00a1-\u00ff]*[\u00c0-\u00ff][\u00a1-\u00ff]*",
            r"(?:%[0-9A-Fa-f]{2}){3}|(?:\\u[0-9A-Fa-f]{4}){2}|(?:\\x[0-9A-Fa-f]{2}){3}",
        )
    )
)
_AS_UTF8 = ("gb18030", "big5", "cp949", "cp932")  # by which UTF-8 was read
_AS_OTHER = (  # read as, written in
    ("gb18030", "big5"), ("big5", "gb18030"), ("cp949", "gb18030"), ("cp932", "gb18030"),
)  # fmt: skip
_CHINESE = re.compile("[\u4e00-\u9fff]")
_JAPANESE = re.compile("[\u3041-\u30ff]{3}")


def is_mojibake(text: str) -> bool:
    """Whether a text, or a part of it between spaces, was decoded by a wrong encoding."""
    for match in _FORM.finditer(text):
        if len(match[0]) >= 4 or not "\u00a1" <= match[0][0] <= "\u00ff" or match[0][0] in "âÃÂïã":
            return True
    return any(_from_utf8(part) or _from_other(part) for part in text.split())


def _from_utf8(text: str) -> bool:
    strange = sum(c > "\u007f" for c in text)
    # three bytes are one Chinese character, and one and a half of an encoding of two bytes
    enough = max(2, 0.4 * strange)
    for encoding in _AS_UTF8:
        raw = b"".join(_encode(c, encoding) for c in text)
        common = _common(raw.decode("utf-8", "ignore"))
        if common >= enough:
            return True
        if common >= 0.4 * enough and _common_in_utf8(text, encoding) >= enough:
            return True
    return False


def _common_in_utf8(text: str, encoding: str) -> int:
    """Common characters in UTF-8 that was read by an encoding, and may have been simplified since.

    Simplification has changed some of the bytes. Each character is tried as it is and as a
    traditional one, and the most that comes out counts.
    """
    most = {b"": 0}  # by the bytes of a character that is not complete, the common ones before it
    for options in zip(text, _traditional(text), strict=True):
        after: dict[bytes, int] = {}
        for raw in {_encode(c, encoding) for c in options}:
            for rest, count in most.items():
                decoder = codecs.getincrementaldecoder("utf-8")("ignore")
                total = count + _common(decoder.decode(rest + raw))
                rest = decoder.getstate()[0]
                after[rest] = max(total, after.get(rest, 0))
        most = after
    return max(most.values())


def _from_other(text: str) -> bool:
    strange = sum(c > "\u007f" for c in text)
    if strange < 3 or sum(c in _common_simplified() for c in text) >= 0.5 * strange:
        return False
    if _JAPANESE.search(text) or not _CHINESE.search(text):
        return False
    options = list(zip(text, _traditional(text), strict=True))
    for read_as, written_in in _AS_OTHER:
        left = [_encode(c, read_as) for c, _ in options]
        whole = [_encode(c, read_as) or _encode(other, read_as) for c, other in options]
        for raw in (b"".join(left), b"".join(whole)):
            pairs = len(raw.decode(read_as, "ignore"))
            common = _common(raw.decode(written_in, "ignore"))
            if common >= 3 and common >= 0.9 * pairs and pairs >= 0.5 * strange:
                return True
    return False


def _traditional(text: str) -> str:
    """As many characters, traditional ones where that can be."""
    traditional = make_traditional(text)
    return traditional if len(traditional) == len(text) else text


def _encode(c: str, encoding: str) -> bytes:
    """Bytes of a character, none if the encoding lacks it; Windows has the euro sign in GBK."""
    return b"\x80" if (c, encoding) == ("€", "gb18030") else c.encode(encoding, "ignore")


def _common(text: str) -> int:
    common = _common_characters()
    return sum(c in common for c in text)


@cache
def _common_simplified() -> frozenset[str]:
    """The first level of GB 2312."""
    pairs = bytes(
        b for lead in range(0xB0, 0xD8) for tail in range(0xA1, 0xFF) for b in (lead, tail)
    )
    return frozenset(pairs.decode("gb2312", "ignore"))


@cache
def _common_characters() -> frozenset[str]:
    """The first levels of GB 2312 and of Big5."""
    tails = (*range(0x40, 0x7F), *range(0xA1, 0xFF))
    pairs = bytes(b for lead in range(0xA4, 0xC7) for tail in tails for b in (lead, tail))
    return _common_simplified() | frozenset(pairs.decode("big5", "ignore"))


def forms() -> npt.NDArray[np.bool_]:
    """By code point up to LAST, characters of which one is enough to look at a text."""
    odd = np.zeros(LAST + 1, dtype=bool)
    odd[0xC0:0x100] = True
    odd[[0xD7, 0xF7]] = False  # × and ÷
    odd[0xE000:0xF900] = True
    odd[[ord(c) for c in "\ufffd锟拷烫屯□%\\"]] = True
    return odd


def uncommon() -> npt.NDArray[np.bool_]:
    """By code point up to LAST, characters of East Asia that are not common in Chinese."""
    common = _common_characters()
    odd = np.zeros(LAST + 1, dtype=bool)
    for start, stop in ((0x3041, 0x3130), (0x3400, 0xA000), (0xAC00, 0xD7A4), (0xFF61, 0xFFA0)):
        odd[start:stop] = [chr(code) not in common for code in range(start, stop)]
    return odd
