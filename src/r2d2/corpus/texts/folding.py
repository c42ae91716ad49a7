"""Texts in the form in which rules look for what is hidden; no text is stored like this.

One character may be written in many ways: circled or as an emoji, full-width, as a variant or a
letter of another script that looks the same. Folding makes them one. Compacting takes out what
stands between characters and remembers where it was.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
import numpy.typing as npt

from r2d2.corpus.texts.spelling import CHINESE

LAST = 0xFFFF  # characters beyond it are looked up as if they were it
NUMERALS = "〇零洞一幺壹二两贰三叁四肆五伍六陆七柒八捌九玖"

_VARIANTS = (  # a character, then those that are written for it
    "冰氷 麻蔴麽痳痲 博愽 淫婬滛 做莋 卖売賣 发発髪 药薬 钱銭 价価 证証 图図圖 户戸 带帯 "
    "处処 黑黒 假仮 对対 枪鎗 烟菸 毒毐蝳 票嘌 色銫 奸姦 彩綵采 群羣峮 满満 微溦嶶徴徾 "
    "薇嶶 扣釦 点奌 网网罓 站詀 信伩訫 号呺 开幵 办辧 代玳 黄⻩ 长⻓ 马⻢ 车⻋ 门⻔ 见⻅ "
    "贝⻉ 青⻘ 鱼⻥ 鸟⻦ 龙⻰ 麦⻨ 民⺠ 西⻄ 风⻛ 页⻚ 食⻝ 母⺟"
)
_LOOK_ALIKES = {  # letters of other scripts, and small capitals
    "а": "a", "е": "e", "о": "o", "р": "p", "с": "c", "х": "x", "у": "y", "і": "i", "ѕ": "s",
    "ј": "j", "ԛ": "q", "ԝ": "w", "ѵ": "v", "ν": "v", "ο": "o", "α": "a", "ϲ": "c", "χ": "x",
    "ω": "w", "к": "k", "м": "m", "т": "t", "ᴀ": "a", "ʙ": "b", "ᴄ": "c", "ᴅ": "d", "ᴇ": "e",
    "ꜰ": "f", "ɢ": "g", "ʜ": "h", "ɪ": "i", "ᴊ": "j", "ᴋ": "k", "ʟ": "l", "ᴍ": "m", "ɴ": "n",
    "ᴏ": "o", "ᴘ": "p", "ǫ": "q", "ʀ": "r", "ꜱ": "s", "ᴛ": "t", "ᴜ": "u", "ᴠ": "v", "ᴡ": "w",
    "ʏ": "y", "ᴢ": "z", "✓": "v", "√": "v", "∨": "v", "╳": "x", "✖": "x", "❌": "x",
}  # fmt: skip
_EMOJI = {
    "➕": "+", "✚": "+", "✛": "+", "🞡": "+", "🐧": "qq", "♥": "❤", "💗": "❤", "💕": "❤", "💓": "❤",
    "💖": "❤", "💙": "❤", "💚": "❤", "💛": "❤", "💜": "❤", "🧡": "❤", "🖤": "❤", "🩷": "❤",
    "✉": "信", "📧": "信", "📩": "信", "💌": "信", "🛰": "卫星", "⭐": "星", "🌟": "星",
}  # fmt: skip
_MARKS = re.compile("[\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f]")


@cache
def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for group in _VARIANTS.split():
        table.update({ord(variant): group[0] for variant in group[1:]})
    for start, first, count in (
        (0x2776, 1, 9), (0x2780, 1, 9), (0x278A, 1, 9), (0x24F5, 1, 9), (0x24FF, 0, 1)
    ):  # fmt: skip
        table.update({start + n: str(first + n) for n in range(count)})
    for start in (0x1F150, 0x1F170, 0x1F1E6):  # white letters on black, and those of flags
        table.update({start + n: chr(ord("a") + n) for n in range(26)})
    table.update({ord(c): plain for c, plain in (_LOOK_ALIKES | _EMOJI).items()})
    return table


def fold(text: str) -> str:
    """A text in lower case with every character in its plainest form; spaces stay."""
    text = unicodedata.normalize("NFKC", text).lower().translate(_table())
    return text if text.isascii() else _MARKS.sub("", text)


_DIGITS = str.maketrans(NUMERALS, "00011122233445566778899"[: len(NUMERALS)])


def with_digits(folded: str) -> str:
    """A folded text with Chinese numerals as digits; as long as before."""
    return folded.translate(_DIGITS)


_SINGLES = re.compile(
    r"(?<![^\W_])[^\W_](?:([\s*|~^=、·]{1,2}|[-_.])[^\W_](?:\1[^\W_])*)(?![^\W_])"
)


def close_up(folded: str) -> str:
    """A folded text in which characters that all stand apart are one word (v x, 1 3 8, 全 场)."""
    return _SINGLES.sub(lambda match: match[0].replace(match[1], ""), folded)


class GapKind(IntEnum):
    """What stood before a character of a compact text."""

    NONE = 0
    SPACE = 1
    DASH = 2  # marks that also join words, or end a sentence
    COMMA = 3  # marks that also part clauses
    OTHER = 4


_WORD = re.compile(rf"[0-9a-z{CHINESE}]+")
_COMMAS = set("，,、；;：:（）()《》<>“”\"'‘’【】[]—–")
_DASHES = set("-/&+·!?。！？…")


@dataclass(frozen=True)
class CompactText:
    """Letters, digits and Chinese characters of a folded text, without what lay between them."""

    text: str
    # before each character, and after the last one; the text's ends are OTHER
    gaps: tuple[GapKind, ...]

    def hides(self, start: int, stop: int) -> bool:
        """Whether the word in text[start:stop] was taken apart on purpose.

        A mark that has no business within a sentence tells. Spaces, dashes and commas also
        stand between words that have nothing to do with each other (刨冰 毒舌): they tell where
        they cut off single characters.
        """
        inner = self.gaps[start + 1 : stop]
        kinds = {gap for gap in inner if gap is not GapKind.NONE}
        if not kinds:
            return False
        if kinds == {GapKind.OTHER}:
            return True
        edges = [start, *(start + 1 + n for n, gap in enumerate(inner) if gap), stop]
        singles = sum(
            after - before == 1 and self.gaps[before] is not GapKind.NONE is not self.gaps[after]
            for before, after in itertools.pairwise(edges)
        )
        return singles >= (2 if GapKind.COMMA in kinds else 1)


def compact(folded: str) -> CompactText:
    """A folded text without spaces, punctuation and symbols."""
    words: list[str] = []
    gaps: list[GapKind] = []
    stop = 0
    for match in _WORD.finditer(folded):
        gaps.append(max(map(_kind, folded[stop : match.start()]), default=GapKind.OTHER))
        gaps.extend([GapKind.NONE] * (len(match[0]) - 1))
        words.append(match[0])
        stop = match.end()
    if gaps:
        gaps[0] = GapKind.OTHER
    return CompactText("".join(words), (*gaps, GapKind.OTHER))


def _kind(c: str) -> GapKind:
    if c.isspace():
        return GapKind.SPACE
    return GapKind.COMMA if c in _COMMAS else GapKind.DASH if c in _DASHES else GapKind.OTHER


def changed_by_folding() -> npt.NDArray[np.bool_]:
    """By code point up to LAST, what `fold` changes, lower case aside; all beyond LAST as one."""
    changed = np.zeros(LAST + 1, dtype=bool)
    for code in range(LAST):
        c = chr(code)
        if not 0xD800 <= code < 0xE000 and fold(c) != c.lower() and code > 0x7F:
            changed[code] = True
    changed[0xFF01:0xFF0F] = False  # full-width punctuation alone hides nothing
    changed[[0xFF1A, 0xFF1B, 0xFF1F, 0x3000, 0x2026]] = False
    changed[LAST] = True
    return changed
