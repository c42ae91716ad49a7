"""Keep a sample of the labelled rows of a table until the baselines are measured at its end."""

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

# About how many labelled rows are kept at least, if there are as many: those whose text (picture)
# has the smallest hashes.
MOST = 20_000
POSITIVE = 2**63 - 1  # a mask that removes the sign of a hash

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A labelled row without its picture."""

    pair: Pair  # with an empty picture and one text
    row: int  # the row number in the table
    rank: int  # its number among the labelled rows of its split
    picture: int  # the key of the file
    words: int  # the key of the text
    picture_again: bool  # whether an earlier row of its split has the same picture
    text_again: bool  # whether an earlier row of its split has the same text

    @property
    def text(self) -> Text:
        """The text of the row; an empty text where it has none."""
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
    """The rows with the smallest keys, in their order; of each key it keeps all rows or none."""

    def __init__(self) -> None:
        self.limit = 2**63
        self.keys: list[int] = []
        self.rows: list[T] = []

    def add(self, key: int, row: T) -> None:
        """Keep a row if its key is small enough."""
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
    """A sample of a table's labelled rows, and how often a text or picture occurs in a split."""

    def __init__(self) -> None:
        self.rows: KeyedSample[LabelledRow] = KeyedSample()
        self.pictures: KeyedSample[LabelledPicture] = KeyedSample()
        self.labels: Counter[int] = Counter()
        self.totals: Counter[str] = Counter()  # labelled rows of each split
        self._times: Counter[tuple[str, int]] = Counter()
        # Keys of all rows of `train`, also of those without a label.
        self._train_texts, self._train_pictures = array("q"), array("q")

    def see(self, chunk: Chunk) -> None:
        """Keep the labelled rows of a chunk, as one row for each of their texts."""
        for row, pair, seen in zip(chunk.rows, chunk.pairs, chunk.pictures, strict=True):
            # The key is that of the file, because a set may give a picture another id in each row.
            picture = file_hash(pair.image) & POSITIVE
            keys = [key_hash(loose_text_key(text.text)) & POSITIVE for text in pair.texts]
            if pair.split == TRAIN:
                self._train_pictures.append(picture)
                self._train_texts.extend(keys)
            if pair.label not in (0, 1):
                continue
            for number, words in enumerate(keys or [key_hash("") & POSITIVE]):
                labelled_row = LabelledRow(
                    replace(pair, image=b"", texts=pair.texts[number : number + 1]),
                    row, self.totals[pair.split], picture, words,
                    self._times[pair.split, ~picture] > 0, self._times[pair.split, words] > 0,
                )  # fmt: skip
                self._times[pair.split, words] += 1
                self.rows.add(words, labelled_row)
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

    def text_times(self, row: LabelledRow) -> int:
        """Return how many labelled rows of its split have the text of a row."""
        return self._times[row.pair.split, row.words]

    def picture_times(self, row: LabelledRow) -> int:
        """Return how many labelled rows of its split have the picture of a row."""
        return self._times[row.pair.split, ~row.picture]

    def texts_in_train(self, keys: Ints) -> Ints:
        """Return (n,) how often each text occurs in `train`, also in rows without a label."""
        return _times_in(self._train_texts, keys)

    def pictures_in_train(self, keys: Ints) -> Ints:
        """Return (n,) how often each picture occurs in `train`, also in rows without a label."""
        return _times_in(self._train_pictures, keys)


def _times_in(train_keys: array[int], keys: Ints) -> Ints:
    ordered = np.sort(np.array(train_keys, dtype=np.int64))
    low, high = (np.searchsorted(ordered, keys, side) for side in ("left", "right"))
    return np.asarray(high - low, dtype=np.int64)
