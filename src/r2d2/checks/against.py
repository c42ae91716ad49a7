"""Another table as hashes, so that a set can be held against it without both in memory."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np

from r2d2.checks.base import DuplicateFinder, TableHashes, file_hash
from r2d2.data.images import BadImage, decode_image
from r2d2.progress import Update
from r2d2.table import PairsTable
from r2d2.tokenizer import key_hash, loose_text_key

CHUNK = 256  # rows with their pictures in memory


def know(path: str | Path, near: DuplicateFinder | None, update: Update) -> TableHashes:
    """Read a table once: some forty bytes a row stay in memory.

    Args:
        path: a pairs table.
        near: how near-duplicates are found; None: pictures are not decoded.
        update: progress.

    Raises:
        R2D2Error: there is no table.
    """
    table = PairsTable.open(path)
    rows = table.rows()
    ids, files, prints, texts = array("q"), array("Q"), array("Q"), array("q")
    for start in range(0, len(rows), CHUNK):
        update(f"reading {path}", start, len(rows))
        some = rows[start : start + CHUNK]
        for pair in table.take(some, ("image_id", "image", "texts")):
            ids.append(key_hash(pair.image_id))
            texts.extend(key_hash(key) for text in pair.texts if (key := loose_text_key(text.text)))
            if not pair.image:
                continue
            files.append(file_hash(pair.image))
            if near is not None:
                try:
                    prints.append(near.hash(decode_image(pair.image, name=pair.image_id)))
                except BadImage:
                    continue
    update(f"reading {path}", len(rows), len(rows))
    return TableHashes(
        str(path),
        len(rows),
        np.unique(np.array(ids, dtype=np.int64)),
        np.unique(np.array(files, dtype=np.uint64)),
        np.unique(np.array(prints, dtype=np.uint64)),
        np.unique(np.array(texts, dtype=np.int64)),
    )
