"""The texts of a pairs table, and those of the images that meet a condition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.index.gallery.protocol import Rows
from r2d2.index.layout import ROW_ADDRESS, TEXT_KEY
from r2d2.tokenizer import key_hash, text_key

BATCH_ROWS = 8192  # images whose texts are read at a time
KEPT = 16  # conditions whose rows are kept, as one bit for each text, for the next page


def texts_of(dataset: Any) -> Iterator[tuple[int, str, str, int]]:
    """Row, text, image id and address of every text that is not empty, in the order of the rows."""
    row = 0
    scanner = dataset.scanner(columns=["image_id", "texts"], with_row_address=True)
    for batch in scanner.to_batches():
        for record in batch.to_pylist():
            row += 1
            for text in record["texts"] or ():
                if text["text"] and text["text"].strip():
                    yield row, text["text"], record["image_id"], record[ROW_ADDRESS]


class TextsOfImages:
    """The rows of a table of distinct texts whose images meet a condition.

    A text of several images is chosen where any of them meets the condition. The texts of the
    images are compared, not their addresses, which change when a table is compacted.
    """

    def __init__(self, images: Any, texts: Any) -> None:
        """Take two Lance datasets: the pairs table `images`, and its table of `texts`."""
        self._images = images
        self._texts = texts
        self._kept: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()

    @cached_property
    def _keys(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The keys of all texts, ascending, and their rows, each (texts,); 16 bytes a text."""
        keys = self._texts.scanner(columns=[TEXT_KEY]).to_table()[TEXT_KEY].to_numpy()
        rows = np.argsort(keys, kind="stable")
        return keys[rows], rows

    def __call__(self, where: str) -> Rows:
        """The rows, ascending; ValueError or OSError of Lance where the condition is not valid."""
        if where not in self._kept:
            self._kept[where] = np.packbits(self._chosen(where))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(where)
        bits = np.unpackbits(self._kept[where], count=len(self._keys[0]))
        return np.flatnonzero(bits).astype(np.int64)

    def _chosen(self, where: str) -> npt.NDArray[np.bool_]:
        """Whether each text is chosen, (texts,)."""
        all_keys, rows = self._keys
        chosen = np.zeros(len(all_keys), bool)
        scanner = self._images.scanner(columns=["texts"], filter=where, batch_size=BATCH_ROWS)
        for batch in scanner.to_batches():
            keys = _keys(batch["texts"])
            if len(all_keys):
                positions = np.minimum(np.searchsorted(all_keys, keys), len(all_keys) - 1)
                chosen[rows[positions[all_keys[positions] == keys]]] = True
        return chosen


def _keys(texts: pa.ListArray) -> npt.NDArray[np.int64]:
    """The keys of all texts of images."""
    words = pc.struct_field(texts.flatten(), "text").to_pylist()
    return np.array([key_hash(text_key(word)) for word in words if word], np.int64)
