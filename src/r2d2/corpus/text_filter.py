"""Which texts are kept: cleaned, made simplified, and judged by named rules, a batch at a time.

A batch is one string of lines wherever a library takes one: converting, searching and counting then
cost what they cost in C. Rules come in the order of their price, and the first that fails names the
drop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.classifier import Judge, ask, load_judge
from r2d2.corpus.config import TextConfig
from r2d2.corpus.contacts import CONTACTS, PRICES, SIGNS
from r2d2.corpus.funnel import StageCount, add_counts, count_stage
from r2d2.corpus.rows import PAIRS, QUERY, part_file, read_pairs, write_rows
from r2d2.corpus.spelling import clean
from r2d2.corpus.words import EXTRA, Words, read_words
from r2d2.errors import R2D2Error
from r2d2.tokenizer import Tokenizer

BATCH = 20_000  # texts judged at once
Bools = npt.NDArray[np.bool_]

_GAP = re.compile(r"(?<=[一-鿿])[ ·•*_~|/\\.\-]{1,3}(?=[一-鿿])")  # within a word to hide it


@dataclass(frozen=True)
class Lines:
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
        found: npt.NDArray[np.int64] = total[self.starts[1:] - 1] - total[self.starts[:-1]]
        return found

    @cached_property
    def chinese(self) -> npt.NDArray[np.float64]:
        """The share of Chinese characters among all but spaces."""
        c = self.codes
        han = ((c >= 0x3400) & (c <= 0x9FFF)) | ((c >= 0xF900) & (c <= 0xFAFF)) | (c >= 0x20000)
        han &= c < 0x30000
        return self.sums(han | (c == 0x3007)) / np.maximum(self.sums((c != 32) & (c != 10)), 1)

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


class TextFilter:
    """One configuration, made ready."""

    def __init__(
        self, config: TextConfig, classifier: Judge | None = None, home: str = "."
    ) -> None:
        """`classifier` takes the place of the one that `config` names, in the folder `home`."""
        self.config = config
        self.classifier = classifier or (
            load_judge(config.classifier, home) if config.classifier is not None else None
        )
        lists = dict(read_words(name) for name in config.word_lists)
        lists = {f"words: {name}": words for name, words in lists.items()}
        if config.advertising:
            lists["advertising"] = read_words("advertising")[1]
        allowed = [word for name in config.allow for word in read_words(name)[1]]
        self.words = Words(lists, allowed)
        self.known: npt.NDArray[np.uint32] | None = None
        if config.vocab is not None:
            vocab = Tokenizer.from_vocab(config.vocab)
            single = [t for t in vocab.vocabulary() if len(t) == 1]
            self.known = np.array(sorted(map(ord, single)), dtype=np.uint32)
        words = config.noun or config.min_words is not None or config.max_words is not None
        self._rjieba: Any = _rjieba() if words and config.enabled else None
        self.clean([""])  # what it needs may be missing

    def clean(self, texts: Sequence[str]) -> list[str]:
        """Texts (n,) without what cannot be seen, narrow, simplified; each on one line."""
        return clean(texts, self.config.simplified)

    def judge(self, texts: Sequence[str]) -> list[str | None]:
        """The rule that drops each cleaned text (n,); None: it is kept."""
        if not texts:
            return []
        config, lines = self.config, Lines(texts)
        rules: list[str | None] = [None] * len(texts)

        def drop(name: str, bad: Bools) -> None:
            for place in np.flatnonzero(bad).tolist():
                rules[place] = rules[place] or name

        length = lines.lengths
        drop("empty", length == 0)
        if not config.enabled:
            return rules
        if config.min_chars is not None:
            drop("too short", length < config.min_chars)
        if config.max_chars is not None:
            drop("too long", length > config.max_chars)
        if config.max_repeat is not None:
            drop("repeated characters", lines.longest_run > config.max_repeat)
        if config.min_entropy is not None:
            drop("low entropy", lines.entropy < config.min_entropy)
        if config.max_unknown is not None and self.known is not None:
            drop("unknown characters", self._unknown(lines) > config.max_unknown)
        self._look_for_signs(texts, rules)
        self._look_for_words(texts, rules)
        if config.min_chinese is not None:
            drop("too little Chinese", lines.chinese < config.min_chinese)
        self._cut_words(texts, rules)
        self._ask(texts, rules)
        return rules

    def __call__(self, texts: Sequence[str]) -> tuple[list[str], list[str | None]]:
        """Cleaned texts (n,), and the rule that drops each."""
        cleaned: list[str] = []
        rules: list[str | None] = []
        for start in range(0, len(texts), BATCH):
            some = self.clean(texts[start : start + BATCH])
            cleaned += some
            rules += self.judge(some)
        return cleaned, rules

    def _unknown(self, lines: Lines) -> npt.NDArray[np.float64]:
        """The share of characters that the vocabulary lacks, in lower case as BERT reads them."""
        assert self.known is not None
        lower = Lines([text.lower() for text in lines.texts])
        real = (lower.codes != 32) & (lower.codes != 10)
        strange = real & ~np.isin(lower.codes, self.known)
        return lower.sums(strange) / np.maximum(lower.sums(real), 1)

    def _look_for_signs(self, texts: Sequence[str], rules: list[str | None]) -> None:
        """Contacts and prices, where a text has any sign of them."""
        if not (self.config.contacts or self.config.advertising):
            return
        for place, text in enumerate(texts):
            if rules[place] is None and SIGNS.search(text):
                if self.config.contacts and CONTACTS.search(text.lower()):
                    rules[place] = "contacts"
                elif self.config.advertising and PRICES.search(text):
                    rules[place] = "advertising"

    def _look_for_words(self, texts: Sequence[str], rules: list[str | None]) -> None:
        """Listed words; also those with dots or spaces between their characters."""
        lowered = [text.lower() for text in texts]
        starts = np.cumsum([0, *(len(text) + 1 for text in lowered)])
        found = self.words.find("\n".join(lowered))
        hidden = [place for place, text in enumerate(lowered) if _GAP.search(text)]
        places = np.searchsorted(starts, [at for _, at in found], side="right") - 1
        for (name, _), place in zip(found, places.tolist(), strict=True):
            rules[place] = rules[place] or name
        for place in hidden:
            if rules[place] is None:
                told = self.words.find(_GAP.sub("", lowered[place]))
                rules[place] = told[0][0] if told else None

    def _cut_words(self, texts: Sequence[str], rules: list[str | None]) -> None:
        """Length in words, and nouns, of what is left."""
        config = self.config
        least, most = config.min_words, config.max_words
        if self._rjieba is None:
            return
        for place, text in enumerate(texts):
            if rules[place] is not None:
                continue
            tags = [(w, t) for w, t in self._rjieba.tag(text) if t[:1] not in ("x", "w")]
            if least is not None and len(tags) < least:
                rules[place] = "too few words"
            elif most is not None and len(tags) > most:
                rules[place] = "too many words"
            elif config.noun and not any(tag[:1] == "n" for _, tag in tags):
                rules[place] = "no noun"

    def _ask(self, texts: Sequence[str], rules: list[str | None]) -> None:
        if self.classifier is None:
            return
        left = [place for place, rule in enumerate(rules) if rule is None]
        name = self.config.classifier or str(getattr(self.classifier, "__name__", "of your own"))
        told = ask(self.classifier, name, [texts[place] for place in left]) if left else []
        for place, rule in zip(left, told, strict=True):
            rules[place] = rule


@dataclass(frozen=True)
class TextWork:
    """The texts of a part: queries by one configuration, all others by another."""

    query: TextConfig
    text: TextConfig
    behind: tuple[str, str] = ("", "")  # of each, a digest of what its settings name
    home: str = "."  # folder in which a classifier's module may lie

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_parts`."""
        part = int(job["part"])
        rows = read_pairs(part_file(Path(job["pairs"]), PAIRS, part))
        is_query = pc.equal(rows["source"], QUERY).to_numpy(zero_copy_only=False)
        texts = np.array(rows["text"].to_pylist(), dtype=object)
        kept = np.zeros(len(rows), dtype=bool)
        counts = [StageCount("text filter", "texts", 0, 0)]
        by_source = ((self.query, is_query), (self.text, ~is_query))
        for (config, chosen), behind in zip(by_source, self.behind, strict=True):
            places = np.flatnonzero(chosen)
            if not len(places):
                continue
            cleaned, rules = ready(config, behind, self.home)(texts[places].tolist())
            texts[places] = cleaned
            kept[places] = [rule is None for rule in rules]
            counts.append(count_stage("text filter", "texts", rules, cleaned))
        index = rows.schema.get_field_index("text")
        rows = rows.set_column(index, rows.schema.field(index), pa.array(texts, pa.string()))
        write_rows(part_file(Path(job["out"]), PAIRS, part), rows.filter(pa.array(kept)))
        return add_counts(counts)


# of this process: making one ready takes a second
_FILTERS: dict[tuple[TextConfig, str], TextFilter] = {}


def ready(config: TextConfig, behind: str, home: str) -> TextFilter:
    """The filter of some settings, and of what stood in the files they name (`behind`)."""
    if (config, behind) not in _FILTERS:
        _FILTERS[config, behind] = TextFilter(config, home=home)
    return _FILTERS[config, behind]


def _rjieba() -> Any:
    try:
        import rjieba
    except ImportError as error:
        raise R2D2Error(f"rjieba, which cuts words, is missing: {EXTRA}") from error
    return rjieba
