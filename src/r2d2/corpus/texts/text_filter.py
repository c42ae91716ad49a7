"""Which texts are kept: cleaned, made simplified, and judged by named rules, a batch at a time.

A batch is one string of lines wherever a library takes one: converting, searching and counting then
cost what they cost in C. Rules come in the order of their price, and the first that fails names the
drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.config import RankConfig, TextFilterConfig
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.keep import PruneWork, keep_texts
from r2d2.corpus.rows import PAIRS, QUERY, part_file, read_pairs
from r2d2.corpus.stages import StageContext
from r2d2.corpus.texts.classifier import Judge, ask, load_judge
from r2d2.corpus.texts.contacts import has_contact
from r2d2.corpus.texts.folding import close_up, fold
from r2d2.corpus.texts.measures import (
    DIGIT,
    FOLDED,
    LETTER,
    NAME,
    NUMERAL,
    PRICE,
    Bools,
    TextBatch,
)
from r2d2.corpus.texts.mojibake import is_mojibake
from r2d2.corpus.texts.prices import offers
from r2d2.corpus.texts.spelling import clean
from r2d2.corpus.texts.word_rules import load_rjieba, make_word_rules
from r2d2.corpus.texts.words import ADVERTISING, WordMatch
from r2d2.tokenizer import Tokenizer

BATCH = 20_000  # texts judged at once


class TextFilter:
    """One configuration, made ready."""

    def __init__(
        self, config: TextFilterConfig, classifier: Judge | None = None, home: str = "."
    ) -> None:
        """`classifier` takes the place of the one that `config` names, in the folder `home`."""
        self.config = config
        self.classifier = classifier or (
            load_judge(config.classifier, home) if config.classifier is not None else None
        )
        self.words = make_word_rules(config)
        self.known: npt.NDArray[np.uint32] | None = None
        if config.vocab is not None:
            vocab = Tokenizer.from_vocab(config.vocab)
            single = [t for t in vocab.vocabulary() if len(t) == 1]
            self.known = np.array(sorted(map(ord, single)), dtype=np.uint32)
        words = config.noun or config.min_words is not None or config.max_words is not None
        self._rjieba: Any = load_rjieba() if words and config.enabled else None
        self.clean([""])  # what it needs may be missing

    def clean(self, texts: Sequence[str]) -> list[str]:
        """Texts (n,) without what cannot be seen, narrow, simplified; each on one line."""
        return clean(texts, self.config.simplified)

    def judge(self, texts: Sequence[str]) -> list[str | None]:
        """The rule that drops each cleaned text (n,); None: it is kept."""
        if not texts:
            return []
        config, lines = self.config, TextBatch(texts)
        rules: list[str | None] = [None] * len(texts)

        def drop(name: str, bad: Bools) -> None:
            for row in np.flatnonzero(bad).tolist():
                rules[row] = rules[row] or name

        length = lines.lengths
        drop("empty", length == 0)
        if not config.enabled:
            return rules
        self._look_for_mojibake(lines, rules)
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
        self._look_for_contacts(lines, rules)
        self._look_for_prices(lines, rules)
        self._look_for_words(lines, rules)
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
            cleaned_batch = self.clean(texts[start : start + BATCH])
            cleaned += cleaned_batch
            rules += self.judge(cleaned_batch)
        return cleaned, rules

    def _unknown(self, lines: TextBatch) -> npt.NDArray[np.float64]:
        """The share of characters that the vocabulary lacks, in lower case as BERT reads them."""
        assert self.known is not None
        lower = TextBatch([text.lower() for text in lines.texts])
        real = (lower.codes != 32) & (lower.codes != 10)
        strange = real & ~np.isin(lower.codes, self.known)
        return lower.sums(strange) / np.maximum(lower.sums(real), 1)

    def _look_for_contacts(self, lines: TextBatch, rules: list[str | None]) -> None:
        """Contacts, in texts that have letters, digits or a character of a service's name."""
        if not self.config.contacts:
            return
        signs = lines.bits & (DIGIT | LETTER | FOLDED | NAME) != 0
        signs |= lines.sums(lines.character_bits & NUMERAL != 0) >= 5
        plain = lines.bits & (DIGIT | LETTER | FOLDED) == 0
        for row in np.flatnonzero(signs).tolist():
            text = lines.texts[row]
            if rules[row] is None and has_contact(text if plain[row] else fold(text)):
                rules[row] = "contacts"

    def _look_for_prices(self, lines: TextBatch, rules: list[str | None]) -> None:
        """Prices and discounts, in texts that have a number and a word for one."""
        if not self.config.advertising:
            return
        signs = lines.bits & (DIGIT | NUMERAL | FOLDED) != 0
        signs &= lines.bits & (PRICE | FOLDED) != 0
        apart = lines.taken_apart
        for row in np.flatnonzero(signs).tolist():
            if rules[row] is None:
                folded = fold(lines.texts[row])
                spans = offers(folded)
                if not spans and apart[row]:
                    folded = close_up(folded)
                    spans = offers(folded)
                if spans and not self.words.is_design(folded, spans):
                    rules[row] = ADVERTISING

    def _look_for_mojibake(self, lines: TextBatch, rules: list[str | None]) -> None:
        if not self.config.mojibake:
            return
        for row in np.flatnonzero(lines.suspicious).tolist():
            if rules[row] is None and is_mojibake(lines.texts[row]):
                rules[row] = "mojibake"

    def _look_for_words(self, lines: TextBatch, rules: list[str | None]) -> None:
        """Listed words; also those that are spelt otherwise or taken apart."""
        lowered = [text.lower() for text in lines.texts]
        starts = np.cumsum([0, *(len(text) + 1 for text in lowered)])
        matches = self.words.find("\n".join(lowered))
        rows_of_matches = np.searchsorted(starts, [m.start for m in matches], side="right") - 1
        matches_of_text: dict[int, list[WordMatch]] = {}
        for match, row in zip(matches, rows_of_matches.tolist(), strict=True):
            if rules[row] is None:
                first = int(starts[row])
                moved = WordMatch(match.list, match.start - first, match.stop - first)
                matches_of_text.setdefault(row, []).append(moved)
        for row, matches_here in matches_of_text.items():
            rules[row] = self.words.judge(lowered[row], matches_here)
        hidden = lines.taken_apart | (lines.bits & FOLDED != 0)
        for row in np.flatnonzero(hidden).tolist():
            if rules[row] is None:
                rules[row] = self.words.find_hidden(lowered[row])

    def _cut_words(self, texts: Sequence[str], rules: list[str | None]) -> None:
        """Length in words, and nouns, of what is left."""
        config = self.config
        least, most = config.min_words, config.max_words
        if self._rjieba is None:
            return
        for row, text in enumerate(texts):
            if rules[row] is not None:
                continue
            tags = [(w, t) for w, t in self._rjieba.tag(text) if t[:1] not in ("x", "w")]
            if least is not None and len(tags) < least:
                rules[row] = "too few words"
            elif most is not None and len(tags) > most:
                rules[row] = "too many words"
            elif config.noun and not any(tag[:1] == "n" for _, tag in tags):
                rules[row] = "no noun"

    def _ask(self, texts: Sequence[str], rules: list[str | None]) -> None:
        if self.classifier is None:
            return
        remaining = [row for row, rule in enumerate(rules) if rule is None]
        name = self.config.classifier or str(getattr(self.classifier, "__name__", "of your own"))
        candidates = [texts[row] for row in remaining]
        answers = ask(self.classifier, f"text.classifier {name}", candidates) if remaining else []
        for row, rule in zip(remaining, answers, strict=True):
            rules[row] = rule


@dataclass(frozen=True)
class TextWork:
    """The texts of a part: queries by one configuration, all others by another."""

    query: TextFilterConfig
    text: TextFilterConfig
    key: str = ""  # changes with what stands in the files that the settings name
    home: str = "."  # folder in which a classifier's module may lie

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        part = int(job["part"])
        rows = read_pairs(part_file(Path(job["pairs"]), PAIRS, part))
        is_query = pc.equal(rows["source"], QUERY).to_numpy(zero_copy_only=False)
        texts = np.array(rows["text"].to_pylist(), dtype=object)
        rules = np.full(len(rows), None, dtype=object)
        for config, chosen in ((self.query, is_query), (self.text, ~is_query)):
            places = np.flatnonzero(chosen)
            if len(places):
                judge = ready(config, self.key, self.home)
                texts[places], rules[places] = judge(texts[places].tolist())
        index = rows.schema.get_field_index("text")
        rows = rows.set_column(index, rows.schema.field(index), pa.array(texts, pa.string()))
        return keep_texts(job, rows, rules.tolist(), "text filter")


# of this process: making one ready takes a second
_FILTERS: dict[tuple[TextFilterConfig, str], TextFilter] = {}


def ready(config: TextFilterConfig, key: str, home: str) -> TextFilter:
    """The filter of some settings, and of what stood in the files they name (`key`)."""
    if (config, key) not in _FILTERS:
        _FILTERS[config, key] = TextFilter(config, home=home)
    return _FILTERS[config, key]


StageSettings = tuple[TextFilterConfig, TextFilterConfig, RankConfig]  # of queries, of all others


def filter_texts(settings: StageSettings, context: StageContext) -> list[StageCount]:
    """The stage: texts that the rules keep, and images that still have one."""
    query, text, ranking = settings
    work = TextWork(query, text, context.key, context.home)
    texts = context.each_part(work, "filtering texts")
    prune = PruneWork(ranking.copies)
    return [texts, context.each_part(prune, "leaving out images", pairs=context.out)]


def open_text_filters(settings: StageSettings, context: StageContext) -> None:
    """R2D2Error where a list, a vocabulary or a package is missing."""
    query, text, _ = settings
    for config in (query, text):
        ready(config, context.key, context.home)
