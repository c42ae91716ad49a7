"""Lists of words, and where they stand in many texts at once (Aho-Corasick)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.inputs.encoding import read_lines
from r2d2.settings import data_files

BUILT_IN = "corpus/texts/words"
ADVERTISING = "advertising"
# Lists beside whose words those of other built-in lists do no harm: {context: lists}.
CONTEXTS = {
    "reports": ("drugs", "fraud", "gambling", "pornography", "violence"),
    "topics": ("drugs", "fraud", "gambling", "violence"),
    "designs": (ADVERTISING,),
}


@dataclass(frozen=True)
class WordMatch:
    """A listed word in a text."""

    list: str  # its list's name
    start: int  # of text[start:stop]
    stop: int


def built_in() -> list[str]:
    """Names of the lists that come along; see `CONTEXTS` for those that are no list to drop by."""
    return sorted(data_files(BUILT_IN, ".txt"))


def read_words(name: str) -> tuple[str, list[str]]:
    """A list by its name, or a file of one word a line, `#` for comments; gives its short name.

    Raises:
        R2D2Error: there is no such list or file, or it is in no known encoding.
    """
    files = data_files(BUILT_IN, ".txt")
    if name in files:
        lines, short = files[name].read_text(encoding="utf-8").splitlines(), name
    else:
        path = Path(name)
        try:
            lines, short = read_lines(path), path.stem
        except OSError as error:
            raise R2D2Error(
                f"cannot read the words in {name} ({error.strerror}): give a file, or one of "
                f"{', '.join(files)}"
            ) from error
    words = (line.split("#")[0].strip().lower() for line in lines)
    return short, sorted({word for word in words if word})


class WordMatcher:
    """Many words to look for, each of a list; and words within which they do no harm."""

    def __init__(self, lists: Mapping[str, Sequence[str]], allowed: Sequence[str] = ()) -> None:
        self._names = [name for name, words in lists.items() for _ in words]
        words = [word for of_list in lists.values() for word in of_list]
        self._words = _automaton(words) if words else None
        self._allowed = _automaton(list(allowed)) if allowed else None

    def find(self, joined: str) -> list[WordMatch]:
        """All that stand in a text and not within an allowed word."""
        if self._words is None:
            return []
        matches = self._words.find_matches_as_indexes(joined, overlapping=True)
        if self._allowed is not None and matches:
            spans = self._allowed.find_matches_as_indexes(joined, overlapping=True)
            matches = _outside(matches, spans)
        return [WordMatch(self._names[which], start, stop) for which, start, stop in matches]


def _outside(
    matches: list[tuple[int, int, int]], spans: list[tuple[int, int, int]]
) -> list[tuple[int, int, int]]:
    """Matches that no span holds."""
    if not spans:
        return matches
    starts = np.array([start for _, start, _ in spans])
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    # the furthest end among all spans that start so early
    ends: npt.NDArray[np.int64] = np.maximum.accumulate(np.array([e for _, _, e in spans])[order])
    before = np.searchsorted(starts, [start for _, start, _ in matches], side="right") - 1
    return [
        match
        for match, place in zip(matches, before.tolist(), strict=True)
        if place < 0 or ends[place] < match[2]
    ]


def _automaton(words: Sequence[str]) -> Any:
    ahocorasick_rs = require("corpus", "ahocorasick_rs", "finding listed words")
    return ahocorasick_rs.AhoCorasick(list(words), store_patterns=False)
