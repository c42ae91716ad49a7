"""Hash another table, so that a table can be compared with it without both in memory."""

from __future__ import annotations

from array import array
from contextlib import suppress
from pathlib import Path

import numpy as np

from r2d2.checks.base import DuplicateFinder, TableHashes, file_hash
from r2d2.images.decode import BadImage, decode_image
from r2d2.progress import Update
from r2d2.table import PairsTable
from r2d2.tokenizer import key_hash, loose_text_key


def table_hashes(path: str | Path, near: DuplicateFinder | None, update: Update) -> TableHashes:
    """Read a table once and return its hashes; they take about forty bytes a row in memory.

    Args:
        path: a pairs table.
        near: finds near-duplicates; None: pictures are not decoded.
        update: is told the progress.

    Raises:
        R2D2Error: there is no table.
    """
    table = PairsTable.open(path)
    rows = table.rows()
    ids, files, prints, texts = array("q"), array("Q"), array("Q"), array("q")
    columns = ("image_id", "image", "texts")
    for pair in table.stream(rows, columns, stage=f"reading {path}", update=update):
        ids.append(key_hash(pair.image_id))
        texts.extend(key_hash(key) for text in pair.texts if (key := loose_text_key(text.text)))
        if not pair.image:
            continue
        files.append(file_hash(pair.image))
        if near is not None:
            with suppress(BadImage):
                prints.append(near.hash(decode_image(pair.image, name=pair.image_id)))
    return TableHashes(
        str(path),
        len(rows),
        np.unique(np.array(ids, dtype=np.int64)),
        np.unique(np.array(files, dtype=np.uint64)),
        np.unique(np.array(prints, dtype=np.uint64)),
        np.unique(np.array(texts, dtype=np.int64)),
    )
