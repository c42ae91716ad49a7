"""Check for ids that several pictures or texts share, and for pairs that have two labels."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r2d2.checks.base import (
    EXAMPLES,
    CheckOptions,
    Chunk,
    Finding,
    FindingCounter,
    Severity,
    equal_rows,
    file_hash,
    rows_by_key,
)
from r2d2.tokenizer import key_hash, loose_text_key, text_key

MANY = 0.1  # the share of labelled pairs with two labels above which figures mean nothing

Hashes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeyedValues:
    """Items (n,) that have a key and a value each, by hashes."""

    keys: Hashes
    values: Hashes
    rows: Hashes  # the row of the table that an item is in


class IdCheck:
    """Checks that an image id names one picture, a text id one text, and a pair has one label."""

    def __init__(self, options: CheckOptions) -> None:
        self.bare = FindingCounter()
        self.rows = array("q")
        self.images, self.files = array("q"), array("Q")  # hashes of each row's id and file
        self.labelled = array("b")
        self.text_rows, self.text_ids, self.texts = array("q"), array("q"), array("q")
        self.pair_rows, self.pairs, self.labels = array("q"), array("q"), array("q")

    def see(self, chunk: Chunk) -> None:
        """See `Check`."""
        for row, pair in zip(chunk.rows, chunk.pairs, strict=True):
            if not pair.image_id:
                self.bare.add(f"row {row}")
            self.rows.append(row)
            self.images.append(key_hash(pair.image_id))
            self.files.append(file_hash(pair.image))
            self.labelled.append(pair.label is not None)
            for text in pair.texts:
                if text.text_id is not None:
                    self.text_rows.append(row)
                    self.text_ids.append(key_hash(f"{pair.split}\0{text.text_id}"))
                    self.texts.append(key_hash(text_key(text.text)))
                if pair.label in (0, 1):
                    self.pair_rows.append(row)
                    both = f"{pair.image_id}\0{loose_text_key(text.text)}"
                    self.pairs.append(key_hash(both))
                    self.labels.append(pair.label)

    def findings(self) -> list[Finding]:
        """See `Check`."""
        rows, images = _array(self.rows), _array(self.images)
        files = np.array(self.files, dtype=np.uint64).view(np.int64)
        findings = self.bare.finding(
            "rows without an image_id", "stop", len(rows), "rows",
            "evaluation takes them all for one picture: give each picture an id of its own",
        )  # fmt: skip
        findings += _several(
            KeyedValues(images, files, rows), "image ids that stand for different pictures", "stop",
            "rows", "evaluation takes them for one picture, so that chance alone finds it: give "
            "each picture an id of its own",
        )  # fmt: skip
        free = ~np.array(self.labelled, dtype=np.bool_)
        findings += self._repeated(images[free], rows[free], images, files)
        findings += _several(
            KeyedValues(_array(self.text_ids), _array(self.texts), _array(self.text_rows)),
            "text ids that stand for different texts of a split", "warn", "texts",
            "a file of results by text_id cannot tell them apart: give each text an id of its own",
        )  # fmt: skip
        findings += _several(
            KeyedValues(_array(self.pairs), _array(self.labels), _array(self.pair_rows)),
            "pairs of picture and text that are labelled both 1 and 0", "warn", "labelled pairs",
            "no model can get both right: ask people again, or leave them out", MANY,
        )  # fmt: skip
        return findings

    def _repeated(self, ids: Hashes, rows: Hashes, images: Hashes, files: Hashes) -> list[Finding]:
        """Find rows without a label that repeat an image_id whose picture is the same in all."""
        different = set(_of_several(images, files).tolist())
        repeats = FindingCounter()
        for members, key in rows_by_key(ids, rows):
            if key not in different:
                for _ in members[1:]:
                    repeats.add(equal_rows(members))
        return repeats.finding(
            "rows that repeat an image_id", "warn", len(images), "rows",
            "they are rows of one picture: put its texts into one row",
        )  # fmt: skip


def _several(
    items: KeyedValues, name: str, severity: Severity, unit: str, remedy: str,
    many: float | None = None,
) -> list[Finding]:  # fmt: skip
    """Find keys that have several values; the finding counts the items that have such a key.

    The severity is "stop" where their share is above `many`.
    """
    keys, rows = items.keys, items.rows
    bad = np.isin(keys, _of_several(keys, items.values))
    count = int(bad.sum())
    if not count:
        return []
    if many is not None and count > many * len(keys):
        severity = "stop"
    examples = [equal_rows(members) for members, _ in rows_by_key(keys[bad], rows[bad])[:EXAMPLES]]
    return [Finding(name, severity, count, len(keys), unit, tuple(examples), remedy)]


def _of_several(keys: Hashes, values: Hashes) -> Hashes:
    """Return the keys that have more than one value."""
    both = np.unique(np.stack([keys, values], axis=1), axis=0)[:, 0] if len(keys) else keys
    distinct, times = np.unique(both, return_counts=True)
    return np.asarray(distinct[times > 1], dtype=np.int64)


def _array(values: array[int]) -> Hashes:
    return np.array(values, dtype=np.int64)
