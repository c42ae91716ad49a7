"""Which part of a query a model can read; the rest is named in notes and not searched for."""

from __future__ import annotations

from dataclasses import dataclass

from r2d2.corpus.texts.spelling import clean
from r2d2.index.text.terms import has_meaning
from r2d2.notes import Note, unread_notes
from r2d2.readable import cut_notes, token_spans, unread_end
from r2d2.tokenizer import Tokenizer


@dataclass(frozen=True)
class QueryReading:
    """A query as a model reads it."""

    text: str  # spelt as the corpus is: simplified, letters and digits narrow, nothing unseen
    unknown: tuple[str, ...]  # runs of characters that the vocabulary lacks
    english: tuple[str, ...]  # English words, where the model knows none and spells this one out
    understood: bool  # whether anything is left besides those and punctuation
    complete: bool  # whether the model knows all of it, punctuation aside
    cut: tuple[Note, ...] = ()  # that it has no room for all of it

    def notes(self, original: str) -> list[Note]:
        """What the user is to know, who gave the text `given`."""
        notes = []
        if self.text != original.strip():
            notes.append(Note(f"searched as {self.text}", "searched_as", self.text))
        return [*notes, *unread_notes(self.unknown, self.english), *self.cut]


def spell(text: str) -> str:
    """A query in the spelling of the corpus, which models are trained on."""
    return clean([text])[0]


def read_query(text: str, tokenizer: Tokenizer) -> QueryReading:
    """Read a query as a model with this tokenizer does."""
    spelt = spell(text)
    tokens = token_spans(spelt, tokenizer)
    understood = any(
        has_meaning(spelt[position])
        for start, stop in tokens.known
        if not any(first <= start < last for first, last in tokens.english)
        for position in range(start, stop)
    )
    strange = any(
        has_meaning(spelt[position])
        for start, stop in tokens.unknown
        for position in range(start, stop)
    )
    return QueryReading(
        spelt,
        tokens.names(tokens.unknown),
        tokens.names(tokens.english),
        understood,
        understood and not strange and not tokens.english,
        tuple(cut_notes(unread_end(spelt, tokenizer), tokenizer)),
    )
