"""What a model can read of a query, so that what it cannot is named and nothing is made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from r2d2.corpus.texts.spelling import clean
from r2d2.search.query import Note
from r2d2.search.terms import has_meaning
from r2d2.tokenizer import PREFIX, Tokenizer

MIN_ENGLISH = 200  # words or pieces of three letters and more, in a vocabulary that knows English
_ENGLISH = re.compile("[a-z]{3,}")
_WORD = re.compile("[a-zA-Z]{2,}")


@dataclass(frozen=True)
class Reading:
    """A query as a model reads it."""

    text: str  # spelt as the corpus is: simplified, letters and digits narrow, nothing unseen
    unknown: tuple[str, ...]  # runs of characters that the vocabulary lacks
    english: tuple[str, ...]  # English words, where the model knows none and spells this one out
    understood: bool  # whether anything is left besides those and punctuation
    complete: bool  # whether the model knows all of it, punctuation aside

    def notes(self, given: str) -> list[Note]:
        """What the user is to know, who gave the text `given`."""
        notes = []
        if self.text != given.strip():
            notes.append(Note(f"searched as {self.text}", "searched_as", self.text))
        if self.unknown:
            names = " ".join(self.unknown)
            notes.append(Note(f"the model does not know {names}", "unknown_characters", names))
        if self.english:
            names = " ".join(self.english)
            notes.append(Note(f"the model knows no English: {names}", "no_english", names))
        return notes


def spell(text: str) -> str:
    """A query in the spelling of the corpus, which models are trained on."""
    return clean([text])[0]


def read_query(text: str, tokenizer: Tokenizer) -> Reading:
    """Read a query as a model with this tokenizer does."""
    spelt = spell(text)
    pieces = tokenizer.pieces(spelt)
    unknown: list[tuple[int, int]] = []
    known: list[tuple[int, int]] = []
    for start, stop, is_known in pieces:
        (known if is_known else unknown).append((start, stop))
    foreign = [] if _knows_english(tokenizer) else _spelt_out(spelt, known)
    understood = any(
        has_meaning(spelt[place])
        for start, stop in known
        if not any(first <= start < last for first, last in foreign)
        for place in range(start, stop)
    )
    strange = any(
        has_meaning(spelt[place]) for start, stop in unknown for place in range(start, stop)
    )
    return Reading(
        spelt,
        _distinct(spelt, _joined(unknown)),
        _distinct(spelt, foreign),
        understood,
        understood and not strange and not foreign,
    )


@lru_cache(maxsize=4)
def _knows_english(tokenizer: Tokenizer) -> bool:
    pieces = (token.removeprefix(PREFIX) for token in tokenizer.vocabulary())
    count = 0
    for piece in pieces:
        count += _ENGLISH.search(piece.lower()) is not None
        if count >= MIN_ENGLISH:
            return True
    return False


def _spelt_out(text: str, known: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """English words of which each piece is one letter."""
    lengths = {start: stop - start for start, stop in known}
    return [
        word.span()
        for word in _WORD.finditer(text)
        if all(lengths.get(place) == 1 for place in range(*word.span()))
    ]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of which those that touch are one."""
    joined: list[tuple[int, int]] = []
    for start, stop in spans:
        if joined and joined[-1][1] >= start:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined


def _distinct(text: str, spans: list[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text[start:stop] for start, stop in spans))
