"""What of a text a model cannot read: unknown characters, English spelt by letters, its end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from r2d2.notes import Note
from r2d2.tokenizer import PREFIX, Tokenizer

MIN_ENGLISH = 200  # words or pieces of three letters and more, in a vocabulary that knows English
SHOWN = 30  # characters of a text's end, in a sentence
_ENGLISH = re.compile("[a-z]{3,}")
_WORD = re.compile("[a-zA-Z]{2,}")

Spans = list[tuple[int, int]]  # start and end, in characters


@dataclass(frozen=True)
class TokenSpans:
    """Where the tokens of a text stand."""

    text: str
    known: Spans  # of tokens
    unknown: Spans  # runs of characters that the vocabulary lacks
    english: Spans  # English words, where the vocabulary has none and spells this one out

    def names(self, spans: Iterable[tuple[int, int]]) -> tuple[str, ...]:
        """What stands there, each once."""
        return tuple(dict.fromkeys(self.text[start:stop] for start, stop in spans))


def token_spans(text: str, tokenizer: Tokenizer) -> TokenSpans:
    """What a tokenizer knows of a text, whatever its length."""
    unknown: Spans = []
    known: Spans = []
    for start, stop, is_known in tokenizer.pieces(text):
        (known if is_known else unknown).append((start, stop))
    english = [] if _knows_english(tokenizer) else _spelt_out(text, known)
    return TokenSpans(text, known, _joined(unknown), english)


def unread_end(text: str, tokenizer: Tokenizer) -> str:
    """The end of a text that a model has no room for; empty where it reads all of it."""
    if not tokenizer.cut([text]):
        return ""
    return text[max(stop for _, stop in tokenizer.offsets(text)) :].strip()


def cut_notes(
    end: str, tokenizer: Tokenizer, name: str = "the text", about: str = ""
) -> list[Note]:
    """That a model does not read a text to its end; nothing where it does.

    Args:
        end: of the text, see `unread_end`.
        tokenizer: of the model.
        name: of the text, in the sentence.
        about: what is of interest in the end; empty: the end itself.
    """
    if not end:
        return []
    lost = about or end
    shown = lost if len(lost) <= SHOWN else lost[: SHOWN - 1] + "…"
    return [
        Note(
            f"{name} is longer than the {tokenizer.room} tokens that the model reads, and is cut "
            f"before: {shown}",
            "text_cut",
            lost,
        )
    ]


@lru_cache(maxsize=4)
def _knows_english(tokenizer: Tokenizer) -> bool:
    pieces = (token.removeprefix(PREFIX) for token in tokenizer.vocabulary())
    count = 0
    for piece in pieces:
        count += _ENGLISH.search(piece.lower()) is not None
        if count >= MIN_ENGLISH:
            return True
    return False


def _spelt_out(text: str, known: Spans) -> Spans:
    """English words of which each piece is one letter."""
    lengths = {start: stop - start for start, stop in known}
    return [
        word.span()
        for word in _WORD.finditer(text)
        if all(lengths.get(place) == 1 for place in range(*word.span()))
    ]


def _joined(spans: Spans) -> Spans:
    """Spans of which those that touch are one."""
    joined: Spans = []
    for start, stop in spans:
        if joined and joined[-1][1] >= start:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined
