"""The texts of a table, one after the other, with the images that have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ROW_ADDRESS = "_rowaddr"  # as Lance calls it


def texts_of(dataset: Any) -> Iterator[tuple[int, str, str, int]]:
    """Row, text, image id and address of every text that is not empty, in the order of rows."""
    row = 0
    scanner = dataset.scanner(columns=["image_id", "texts"], with_row_address=True)
    for batch in scanner.to_batches():
        for one in batch.to_pylist():
            row += 1
            for text in one["texts"] or ():
                if text["text"] and text["text"].strip():
                    yield row, text["text"], one["image_id"], one[ROW_ADDRESS]
