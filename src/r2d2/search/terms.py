"""The terms of a text that full-text search goes by, in the spelling of the corpus's queries.

Where a script sets no spaces between words, as Chinese does, terms are single characters and pairs
of neighbours: a dictionary's words would miss 蛋糕店 for 蛋糕. Elsewhere they are words. Symbols,
emoji among them, are terms; punctuation is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain, islice, pairwise

from r2d2.corpus.texts.spelling import CHINESE, spell_queries

# Thai and Lao, Burmese, Khmer, 々, kana, Hangul: a syllable or a character is a term there.
_UNSPACED = CHINESE + "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\uac00-\ud7af"
_RUN = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|(?:(?![{_UNSPACED}])\w)+|[^\w\s]")


def text_terms(texts: Sequence[str]) -> list[list[str]]:
    """Of each text (n,) its terms, in their order, repeated ones too."""
    return [_terms(spelt) for spelt in spell_queries(texts)]


def image_terms(images: Sequence[Sequence[str]]) -> list[str]:
    """Of each image (n,) the terms of all its texts, with spaces between; none spans two texts."""
    found = iter(text_terms([text for texts in images for text in texts]))
    return [" ".join(chain.from_iterable(islice(found, len(texts)))) for texts in images]


def _terms(spelt: str) -> list[str]:
    terms: list[str] = []
    for run in _RUN.finditer(spelt):
        found = run.group()
        if run["unspaced"]:
            terms += [*found, *map("".join, pairwise(found))]
        elif has_meaning(found[0]):
            terms.append(found)
    return terms


def has_meaning(character: str) -> bool:
    """Whether a character is more than punctuation, a space or a control character."""
    return unicodedata.category(character)[0] in "LNMS"
