"""What is kept of the labelled rows of a table until the baselines are measured at its end."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from r2d2.checks.base import TRAIN, Chunk, PictureSummary, file_hash, file_kind
from r2d2.pair import Pair, Text
from r2d2.tokenizer import key_hash, loose_text_key

MOST = 20_000  # labelled rows kept, those of the smallest hashes of their text (picture)
POSITIVE = 2**63 - 1  # a key is a hash without its sign

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A labelled row without its picture."""

    pair: Pair  # its picture is empty, it has one text
    row: int  # of the table
    rank: int  # among the labelled rows of its split
    picture: int  # key of the file
    words: int  # key of the text
    picture_again: bool  # a row of its split before it has the picture
    text_again: bool  # ... the text

    @property
    def text(self) -> Text:
        """Its text; an empty one where it has none."""
        return self.pair.texts[0] if self.pair.texts else Text("", "")


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """The picture of a labelled row."""

    split: str
    label: int
    picture: int
    seen: PictureSummary
    size: int  # bytes of the file
    kind: str  # of the file: jpeg, png, ...


T = TypeVar("T")


class KeyedSample(Generic[T]):
    """Rows of the smallest keys, in the order seen; all rows of a key, or none."""

    def __init__(self) -> None:
        self.limit = 2**63
        self.keys: list[int] = []
        self.rows: list[T] = []

    def add(self, key: int, row: T) -> None:
        """Keep a row, if its key is small enough."""
        if key >= self.limit:
            return
        self.keys.append(key)
        self.rows.append(row)
        while len(self.keys) > 2 * MOST:
            self.limit //= 2
            kept = [n for n, k in enumerate(self.keys) if k < self.limit]
            self.keys = [self.keys[n] for n in kept]
            self.rows = [self.rows[n] for n in kept]


class LabelledRows:
    """The sample of a table's labelled rows, and how often each text and picture stands where."""

    def __init__(self) -> None:
        self.rows: KeyedSample[LabelledRow] = KeyedSample()
        self.pictures: KeyedSample[LabelledPicture] = KeyedSample()
        self.labels: Counter[int] = Counter()
        self.totals: Counter[str] = Counter()  # labelled rows of each split
        self._times: Counter[tuple[str, int]] = Counter()
        # of all rows of `train`, those without a label included
        self._train_texts, self._train_pictures = array("q"), array("q")

    def see(self, chunk: Chunk) -> None:
        """Keep what is labelled, a row for each of its texts."""
        for row, pair, seen in zip(chunk.rows, chunk.pairs, chunk.glances, strict=True):
            # by the file: a set may give one picture another id in each row
            picture = file_hash(pair.image) & POSITIVE
            keys = [key_hash(loose_text_key(text.text)) & POSITIVE for text in pair.texts]
            if pair.split == TRAIN:
                self._train_pictures.append(picture)
                self._train_texts.extend(keys)
            if pair.label not in (0, 1):
                continue
            for place, words in enumerate(keys or [key_hash("") & POSITIVE]):
                one = LabelledRow(
                    replace(pair, image=b"", texts=pair.texts[place : place + 1]),
                    row, self.totals[pair.split], picture, words,
                    self._times[pair.split, ~picture] > 0, self._times[pair.split, words] > 0,
                )  # fmt: skip
                self._times[pair.split, words] += 1
                self.rows.add(words, one)
            self._times[pair.split, ~picture] += 1
            self.totals[pair.split] += 1
            self.labels[pair.label] += 1
            if isinstance(seen, PictureSummary):
                self.pictures.add(
                    picture,
                    LabelledPicture(
                        pair.split, pair.label, picture, seen, len(pair.image),
                        file_kind(pair.image),
                    ),
                )  # fmt: skip

    def text_times(self, one: LabelledRow) -> int:
        """Labelled rows of its split with its text."""
        return self._times[one.pair.split, one.words]

    def picture_times(self, one: LabelledRow) -> int:
        """Labelled rows of its split with its picture."""
        return self._times[one.pair.split, ~one.picture]

    def texts_in_train(self, keys: Ints) -> Ints:
        """(n,) how often each text stands in `train`, in rows without a label too."""
        return _times_in(self._train_texts, keys)

    def pictures_in_train(self, keys: Ints) -> Ints:
        """(n,) how often each picture stands in `train`, in rows without a label too."""
        return _times_in(self._train_pictures, keys)


def _times_in(there: array[int], keys: Ints) -> Ints:
    ordered = np.sort(np.array(there, dtype=np.int64))
    low, high = (np.searchsorted(ordered, keys, side) for side in ("left", "right"))
    return np.asarray(high - low, dtype=np.int64)
