"""What is counted of each text of a batch in one go, over the code points of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from r2d2.corpus.texts import mojibake
from r2d2.corpus.texts.folding import NUMERALS, changed_by_folding
from r2d2.corpus.texts.prices import SIGNS

Bools = npt.NDArray[np.bool_]
LAST = 0xFFFF  # characters beyond it are looked up as if they were it

# Bits that tell what a text has; without them a rule need not look at it.
DIGIT, LETTER, FOLDED, NAME, NUMERAL, PRICE, WORD, NATURAL, MOJIBAKE, UNCOMMON = (
    1 << n for n in range(10)
)


@dataclass(frozen=True)
class TextBatch:
    """A batch as one string, and what is counted of each text in one go."""

    texts: Sequence[str]

    @cached_property
    def codes(self) -> npt.NDArray[np.uint32]:
        """Code points of all texts, each followed by a line break."""
        return np.frombuffer("".join(f"{t}\n" for t in self.texts).encode("utf-32-le"), "<u4")

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each text begins in `codes`, and where one more would (n + 1,)."""
        return np.concatenate([[0], np.flatnonzero(self.codes == 10) + 1])

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Characters of each text."""
        return np.diff(self.starts) - 1

    def sums(self, flags: Bools) -> npt.NDArray[np.int64]:
        """How many characters of each text have a flag; `flags` is as long as `codes`."""
        total = np.concatenate([[0], np.cumsum(flags)])
        sums: npt.NDArray[np.int64] = total[self.starts[1:] - 1] - total[self.starts[:-1]]
        return sums

    @cached_property
    def character_bits(self) -> npt.NDArray[np.uint16]:
        """The bits of each of `codes`."""
        return _bits()[np.minimum(self.codes, LAST)]

    @cached_property
    def bits(self) -> npt.NDArray[np.uint16]:
        """The bits of each text: what any of its characters has."""
        if not self.texts:
            return np.zeros(0, np.uint16)
        bits: npt.NDArray[np.uint16] = np.bitwise_or.reduceat(self.character_bits, self.starts[:-1])
        return bits

    @cached_property
    def taken_apart(self) -> Bools:
        """Texts (n,) with a Chinese character that stands alone, or a symbol beside one.

        Words can only be hidden in these.
        """
        word = self.character_bits & WORD != 0
        before, after = np.append(False, word[:-1]), np.append(word[1:], False)
        han = (self.character_bits & (WORD | DIGIT | LETTER)) == WORD
        by_han = np.append(False, han[:-1]) | np.append(han[1:], False)
        symbol = (self.character_bits & (WORD | NATURAL)) == 0
        return self.sums((han & ~before & ~after) | (symbol & before & after & by_han)) > 0

    @cached_property
    def suspicious(self) -> Bools:
        """Texts (n,) that may have been decoded by a wrong encoding."""
        uncommon = self.sums(self.character_bits & UNCOMMON != 0)
        many = (uncommon >= 2) & (uncommon * 4 >= self.lengths)
        suspicious: Bools = many | (self.bits & MOJIBAKE != 0)
        return suspicious

    @cached_property
    def chinese(self) -> npt.NDArray[np.float64]:
        """The share of Chinese characters among these, words of Latin letters and other signs.

        A word counts once; single letters, digits and ASCII punctuation do not count, for they
        belong to no language: iPhone 15 手机壳 is three of four.
        """
        c = self.codes
        han = ((c >= 0x3400) & (c <= 0x9FFF)) | ((c >= 0xF900) & (c <= 0xFAFF)) | (c >= 0x20000)
        han &= c < 0x30000
        han |= c == 0x3007
        letter = self.character_bits & LETTER != 0
        word = letter & ~np.append(False, letter[:-1]) & np.append(letter[1:], False)
        counted = word | (~letter & (c > 0x7F))
        return self.sums(han) / np.maximum(self.sums(counted), 1)

    @cached_property
    def longest_run(self) -> npt.NDArray[np.int64]:
        """How often the same character stands in a row, at most."""
        change = np.flatnonzero(np.append(True, np.diff(self.codes) != 0)[: len(self.codes)])
        runs = np.diff(np.append(change, len(self.codes)))
        text = np.searchsorted(self.starts, change, side="right") - 1
        longest = np.zeros(len(self.texts), np.int64)
        real = self.codes[change] != 10
        np.maximum.at(longest, text[real], runs[real])
        return longest

    @cached_property
    def entropy(self) -> npt.NDArray[np.float64]:
        """Bits of each text's own characters."""
        n = len(self.texts)
        text = np.repeat(np.arange(n), self.lengths)
        keep = self.codes != 10
        keys, counts = np.unique(text * 2**21 + self.codes[keep], return_counts=True)
        where = keys >> 21
        shares = counts / np.maximum(self.lengths[where], 1)
        bits = -shares * np.log2(shares)
        return np.bincount(where, bits, minlength=n).astype(np.float64)


@cache
def _bits() -> npt.NDArray[np.uint16]:
    """By code point up to LAST, the bits of each character."""
    bits = np.zeros(LAST + 1, dtype=np.uint16)

    def mark(characters: str, bit: int) -> None:
        bits[[ord(c) for c in characters]] |= bit

    mark("0123456789", DIGIT | WORD)
    mark("".join(c for c in map(chr, range(0x250)) if c.isalpha()), LETTER | WORD)
    mark("微薇徽威卫维", NAME)
    mark(NUMERALS, NUMERAL)
    mark("".join(SIGNS), PRICE)
    mark(" \n，,、；;：:（）()《》<>“”\"'‘’【】[]—–。！？!?…", NATURAL)
    bits[0x3007] |= WORD
    for start, stop in ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00)):
        bits[start:stop] |= WORD
    bits[changed_by_folding()] |= FOLDED
    bits[mojibake.forms()] |= MOJIBAKE
    bits[mojibake.uncommon()] |= UNCOMMON
    return bits
