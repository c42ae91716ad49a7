"""Which part of a query a model can read; notes name the rest, which is not searched for."""

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

    text: str  # in the spelling of the corpus: simplified, half-width, no invisible characters
    unknown: tuple[str, ...]  # runs of characters that the vocabulary lacks
    english: tuple[str, ...]  # English words that the model can only spell letter by letter
    understood: bool  # whether anything is left besides these and punctuation
    complete: bool  # whether the model knows all of the query, punctuation aside
    cut: tuple[Note, ...] = ()  # say that the query is longer than the model reads

    def notes(self, original: str) -> list[Note]:
        """Notes for the user who wrote the query `original`."""
        notes = []
        if self.text != original.strip():
            notes.append(Note(f"searched as {self.text}", "searched_as", self.text))
        return [*notes, *unread_notes(self.unknown, self.english), *self.cut]


def spell(text: str) -> str:
    """A query in the spelling of the corpus, which the models are trained on."""
    return clean([text])[0]


def read_query(text: str, tokenizer: Tokenizer) -> QueryReading:
    """Read a query as a model with a tokenizer does."""
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
