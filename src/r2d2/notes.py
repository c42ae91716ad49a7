"""Notes beside an answer: what the model did not read of a text, and what the answer lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A note for the user."""

    note: str  # in a sentence
    code: str  # for programs
    about: str | None = None  # the part of the text that it is about


def unread_notes(unknown: Iterable[str], english: Iterable[str]) -> list[Note]:
    """What a model cannot read of a text.

    Args:
        unknown: runs of characters that it does not know.
        english: words of a language that it does not know.
    """
    notes = []
    if names := " ".join(unknown):
        notes.append(Note(f"the model does not know {names}", "unknown_characters", names))
    if names := " ".join(english):
        notes.append(Note(f"the model knows no English: {names}", "no_english", names))
    return notes
