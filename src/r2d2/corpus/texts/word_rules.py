"""Which listed words drop a text: those that do harm where they stand, also if they are hidden.

A list of one's own drops wherever a word of it stands. A word of a built-in list does not count
where the text's own words cut it (路口|交通 holds no 口交), nor beside words that report it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from r2d2.corpus.config import TextFilterConfig
from r2d2.corpus.texts.folding import compact, fold
from r2d2.corpus.texts.words import (
    ADVERTISING,
    CONTEXTS,
    WordMatch,
    WordMatcher,
    built_in,
    read_words,
)
from r2d2.extras import require

_TWO_LETTERS = re.compile("[a-z]{2}")
_OTHER_WORDS = {"ai", "pin", "ma"}  # 做AI模型 means what it says
_AFTER = 8  # characters between a phrase of sellers and the design that shows it
_LONGEST = 6  # characters of a word for a design
_CLAUSE = re.compile("[，。！；,!;]")


class WordRules:
    """Words to drop by, each of a list, and what makes them harmless."""

    def __init__(
        self,
        lists: Mapping[str, Sequence[str]],
        allowed: Sequence[str],
        contexts: Mapping[str, Sequence[str]],
    ) -> None:
        """`lists` by the rule's name; `contexts` are words by a name in `CONTEXTS`."""
        self._built_in = lists.keys() & {ADVERTISING, *(f"words: {name}" for name in built_in())}
        spelt = {
            name: [*words, *_half_in_pinyin(words)] if name in self._built_in else words
            for name, words in lists.items()
        }
        self.find = WordMatcher(spelt, allowed).find
        self._reports = {
            rule: _any_of(word for name in names for word in contexts.get(name, ()))
            for rule, names in _contexts_by_rule().items()
        }
        self._designs = _any_of(contexts.get("designs", ()))

    def judge(self, text: str, matches: Sequence[WordMatch], hidden: bool = False) -> str | None:
        """The rule of the first match that does harm in a text in lower case; None: there is none.

        Words that are `hidden` were taken apart, so that it means nothing how the text is cut.
        """
        words: list[tuple[int, int]] | None = None
        for match in matches:
            if match.list not in self._built_in:
                return match.list
            if _is_part_of_latin(text, match) or self._is_harmless(text, match):
                continue
            if not hidden:
                words = words or _cut(text)
                if any(_cuts(start, stop, match) for start, stop in words):
                    continue
            return match.list
        return None

    def find_hidden(self, lowered: str) -> str | None:
        """The rule of a word that is spelt otherwise in a text, or taken apart."""
        folded = fold(lowered)
        short = compact(folded)
        matches = self.find(short.text)
        if not matches:
            return None
        apart = [match for match in matches if short.hides(match.start, match.stop)]
        if rule := self.judge(short.text, apart, hidden=True):
            return rule
        if folded == lowered:
            return None
        whole = [m for m in matches if not any(short.gaps[m.start + 1 : m.stop])]
        return self.judge(short.text, whole)

    def is_design(self, text: str, spans: Sequence[tuple[int, int]]) -> bool:
        """Whether each phrase in text[start:stop] is followed by the design that shows it."""
        return all(self._is_followed_by_design(text, stop) for _, stop in spans)

    def _is_harmless(self, text: str, match: WordMatch) -> bool:
        if match.list == ADVERTISING:
            return self._is_followed_by_design(text, match.stop)
        reports = self._reports.get(match.list)
        return reports is not None and reports.search(text) is not None

    def _is_followed_by_design(self, text: str, stop: int) -> bool:
        if self._designs is None:
            return False
        design = self._designs.search(text, stop, stop + _AFTER + _LONGEST)
        return (
            design is not None
            and design.start() - stop <= _AFTER
            and not _CLAUSE.search(text, stop, design.start())
        )


def make_word_rules(config: TextFilterConfig) -> WordRules:
    """The rules of a configuration.

    Raises:
        R2D2Error: a list cannot be read.
    """
    lists = dict(read_words(name) for name in config.word_lists)
    lists = {f"words: {name}": words for name, words in lists.items()}
    if config.advertising:
        lists[ADVERTISING] = read_words(ADVERTISING)[1]
    contexts = {name: read_words(name)[1] for name in config.allow if name in CONTEXTS}
    allowed = [w for name in config.allow if name not in CONTEXTS for w in read_words(name)[1]]
    return WordRules(lists, allowed, contexts)


def _half_in_pinyin(words: Iterable[str]) -> set[str]:
    """Words (赌博) with one character by its sound (du博, 赌bo)."""
    pinyin = load_pinyin()
    spellings: set[str] = set()
    for word in words:
        if word.isascii() or not all("\u4e00" <= c <= "\u9fff" for c in word):
            continue
        sounds = pinyin.lazy_pinyin(word)
        spellings |= {
            word[:n] + sound + word[n + 1 :]
            for n, sound in enumerate(sounds)
            if len(sound) > 1 and sound not in _OTHER_WORDS
        }
    return spellings


def _contexts_by_rule() -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for context, names in CONTEXTS.items():
        for name in names:
            rules.setdefault(f"words: {name}", []).append(context)
    return rules


def _any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    patterns = sorted(map(re.escape, words), key=len, reverse=True)
    return re.compile("|".join(patterns)) if patterns else None


def _is_part_of_latin(text: str, match: WordMatch) -> bool:
    """Whether a match begins or ends within a word of Latin letters."""
    before, after = text[match.start - 1 : match.start + 1], text[match.stop - 1 : match.stop + 1]
    return bool(_TWO_LETTERS.fullmatch(before) or _TWO_LETTERS.fullmatch(after))


def _cut(text: str) -> list[tuple[int, int]]:
    """Where the words of a text start and stop."""
    stops = list(accumulate(len(word) for word in load_rjieba().cut(text, hmm=False)))
    return list(zip([0, *stops], stops, strict=False))


def _cuts(start: int, stop: int, match: WordMatch) -> bool:
    """Whether the word in text[start:stop] lies across an end of the match."""
    return start < match.start < stop < match.stop or match.start < start < match.stop < stop


def load_pinyin() -> Any:
    """The package that tells how characters sound; R2D2Error where it is missing."""
    return require("corpus", "pypinyin", "telling how characters sound")


@cache
def load_rjieba() -> Any:
    """The package that cuts words; R2D2Error where it is missing."""
    return require("corpus", "rjieba", "cutting texts into words")
