"""The terms by which full-text search compares texts, in the spelling of the corpus.

In a script without spaces between words, such as Chinese, the terms are single characters and
pairs of neighbouring characters; with the words of a dictionary, 蛋糕 would not find 蛋糕店. In
other scripts they are words. Symbols and emoji are terms, punctuation is not.

The weight of a term is its inverse document frequency among the texts of the pictures. A picture
that shares with a query only characters that name nothing visible, such as 的 or 大, has no share.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain, islice, pairwise

from r2d2.corpus.texts.spelling import CHINESE, spell_queries

# Thai and Lao, Burmese, Khmer, 々, kana, Hangul: a syllable or a character is a term there.
_UNSPACED = CHINESE + "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\uac00-\ud7af"
_RUN = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|(?:(?![{_UNSPACED}])\w)+|[^\w\s]")
KEPT = 2000  # most common terms, whose counts are kept
COUNTED = 400_000  # terms whose counts are in memory at a time
SAY_NOTHING = frozenset(
    "的地得了着过吗呢吧啊呀嘛么哦之其所以而且或与及和跟同在从向往到由于被把将给让对为因是有无没不"
    "未非也都就才又再还很太最更真好这那哪此每各某我你您他她它们自己人者谁什怎几个些点上下中里内外前"
    "后左右间旁大小多少高低长短新老旧一二两三四五六七八九十百千万零半第能会可要想做去来看说用"
) | {"a", "an", "the", "of", "and", "or", "in", "on", "at", "to", "is", "are", "with", "for"}


def text_terms(texts: Sequence[str]) -> list[list[str]]:
    """The terms of each text, (n,), in their order and with repetitions."""
    return [_terms(spelt) for spelt in spell_queries(texts)]


def image_terms(images: Sequence[Sequence[str]]) -> list[str]:
    """The terms of all texts of each image, (n,), joined by spaces; no term spans two texts."""
    terms_of_texts = iter(text_terms([text for texts in images for text in texts]))
    return [" ".join(chain.from_iterable(islice(terms_of_texts, len(texts)))) for texts in images]


def _terms(spelt: str) -> list[str]:
    terms: list[str] = []
    for run in _RUN.finditer(spelt):
        characters = run.group()
        if run["unspaced"]:
            terms += [*characters, *map("".join, pairwise(characters))]
        elif has_meaning(characters[0]):
            terms.append(characters)
    return terms


def has_meaning(character: str) -> bool:
    """Whether a character is more than punctuation, a space or a control character."""
    return unicodedata.category(character)[0] in "LNMS"


@dataclass(frozen=True)
class TermWeights:
    """The weights of the terms of a gallery."""

    documents: int  # pictures with texts
    counts: Mapping[str, int]  # pictures that have a term, for the most common terms
    rest: int  # the largest number of pictures that have any other term

    def weight(self, term: str) -> float:
        """The inverse document frequency of a term."""
        return math.log((self.documents + 1) / (self.counts.get(term, self.rest) + 0.5))

    def coverage(self, query: Sequence[str], document: Set[str]) -> float:
        """The share of a query's terms that a document has, by their weight, 0 to 1.

        It is 0 where they share only terms of `SAY_NOTHING`.
        """
        weights = {term: self.weight(term) for term in query}
        shared = document & weights.keys()
        if shared <= SAY_NOTHING:
            return 0.0
        return sum(weights[term] for term in shared) / sum(weights.values())


def count_terms(documents: Iterable[Set[str]]) -> TermWeights:
    """Count the distinct terms of documents in bounded memory; the rarest terms are dropped."""
    counts: Counter[str] = Counter()
    number, rest = 0, 0
    for terms in documents:
        number += 1
        counts.update(terms)
        if len(counts) > 2 * COUNTED:
            common = counts.most_common(COUNTED + 1)
            rest += common[-1][1]
            counts = Counter(dict(common[:-1]))
    common = counts.most_common(KEPT + 1)
    if len(common) > KEPT:
        rest = max(rest, common.pop()[1])
    return TermWeights(number, dict(common), rest)
