"""Find the rows of a split that can be trained on, in one pass with some bytes of memory a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.errors import NEEDS_CAPTIONS, R2D2Error
from r2d2.pair import GROUP
from r2d2.table import PairsTable
from r2d2.tokenizer import text_key


@dataclass(frozen=True)
class UsableRows:
    """The n rows that can be trained on, and how many rows cannot, by reason."""

    rows: npt.NDArray[np.integer[Any]]  # (n,) row numbers in the table, ascending
    labels: npt.NDArray[np.int8] | None  # (n,) 1 match, 0 not; None where they are not trained on
    left_out: Counter[str] = field(default_factory=Counter)


def usable_rows(table: PairsTable, split: str | Sequence[str], labelled: bool) -> UsableRows:
    """Return the usable rows of one or several splits.

    A usable row has a text. With `labelled` it also has a label, otherwise its label is not 0.

    Raises:
        R2D2Error: there is no such split, or none of its rows can be used.
    """
    rows = table.rows(split)
    texts, labels = np.zeros(len(rows), dtype=bool), np.full(len(rows), -1, dtype=np.int8)
    for part, batch in _batches_of_rows(table, rows, "texts", "label"):
        texts[part] = _has_text(batch["texts"])
        if "label" in batch.schema.names:
            labels[part] = pc.fill_null(batch["label"], -1).to_numpy(zero_copy_only=False)
    left_out: Counter[str] = Counter()
    if not texts.all():
        left_out["no text"] = int((~texts).sum())
    fit = labels >= 0 if labelled else labels != 0
    if (texts & ~fit).any():
        left_out["no label" if labelled else "not a match"] = int((texts & ~fit).sum())
    good = texts & fit
    if not good.any():
        needed = "a text and a label" if labelled else "a text"
        raise R2D2Error(
            f"{table.path}: no row of split '{split}' has {needed} ({dict(left_out)} left out), so "
            f"there is nothing to train on: {NEEDS_CAPTIONS}"
        )
    small = np.uint32 if len(table) < 1 << 32 else np.uint64
    return UsableRows(rows[good].astype(small), labels[good] if labelled else None, left_out)


def count_with_second_text(table: PairsTable, rows: npt.NDArray[np.integer[Any]]) -> int:
    """Count those of the ascending `rows` (n,) that have two different texts.

    Raises:
        R2D2Error: there are none.
    """
    count = 0
    for _, batch in _batches_of_rows(table, rows, "texts"):
        is_several = pc.greater(pc.list_value_length(batch["texts"]), 1)
        for texts in batch["texts"].filter(pc.fill_null(is_several, False)).to_pylist():
            count += len({key for text in texts if (key := text_key(text["text"] or ""))}) > 1
    if not count:
        raise R2D2Error(
            f"{table.path}: no picture to train on has two different texts, and "
            "objectives.weight_second_text compares each picture with two: set "
            "objectives.weight_second_text=0, or give a table that has them"
        )
    return count


def row_groups(table: PairsTable, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Return the group of each of the ascending `rows` (n,); a row without one is its own group.

    Raises:
        R2D2Error: no row has a group.
    """
    numbers: dict[str, int] = {}
    has_groups = GROUP.name in table.columns
    groups = -1 - np.arange(len(rows), dtype=np.int64)
    for part, batch in _batches_of_rows(table, rows, GROUP.name) if has_groups else ():
        for number, group in enumerate(batch[GROUP.name].to_pylist(), part.start):
            if group is not None:
                groups[number] = numbers.setdefault(group, len(numbers))
    if not numbers:
        raise R2D2Error(
            f"{table.path}: its rows have no group_id, so no group of near misses can stand in one "
            "batch: set train.hard_batches_by=texts"
        )
    return groups


def _batches_of_rows(
    table: PairsTable, rows: npt.NDArray[np.integer[Any]], *columns: str
) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """Yield columns of the ascending `rows` (n,) in batches, each with its range of the n rows."""
    done = 0
    for start, batch in table.scan(columns):
        end = int(np.searchsorted(rows, start + len(batch)))
        yield slice(done, end), batch.take(pa.array(rows[done:end] - start))
        done = end


def _has_text(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Return (n,) which rows have a text that is not only white space."""
    words = pc.struct_field(texts.flatten(), "text")
    seen = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(words)), 0)
    full = pc.fill_null(seen, False).to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(texts), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    upto = np.concatenate([[0], np.cumsum(full)])
    has_text: npt.NDArray[np.bool_] = upto[ends] > upto[ends - lengths]
    return has_text
