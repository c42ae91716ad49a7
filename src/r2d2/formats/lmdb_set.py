"""Chinese-CLIP's LMDB: `{split}/imgs`, id to base64, and `{split}/pairs`, number to a pickle.

A pair is pickled as (image id, text id, text); see `plain_pickle` for how it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.formats.plain_pickle import PickleRefusedError, load_plain
from r2d2.formats.tree import SourceTree
from r2d2.formats.tsv_images import BAD_BASE64
from r2d2.images.base64_images import from_base64
from r2d2.inputs.dropped_rows import DroppedRows

IMAGES, PAIRS, DATA = "imgs", "pairs", "data.mdb"
REFUSED = "pair refused"


@dataclass(frozen=True)
class LmdbSplit:
    """The two databases of a split."""

    images: Path
    pairs: Path


def find(tree: SourceTree) -> dict[str, LmdbSplit]:
    """The stores there are, by the name of their split's folder."""
    folders = [file.parent for file in tree.others if file.name == DATA]
    splits: dict[str, LmdbSplit] = {}
    for folder in folders:
        if folder.name == IMAGES and (folder.with_name(PAIRS) / DATA).is_file():
            store = LmdbSplit(folder, folder.with_name(PAIRS))
            first = splits.setdefault(folder.parent.name, store)
            if first != store:
                raise R2D2Error(
                    f"{first.images} and {folder} are of one split: import one of them alone"
                )
    return splits


def images(store: LmdbSplit, dropped: DroppedRows) -> Iterator[tuple[str, str, bytes]]:
    """Yield the place, the id and the file of each picture; one is in memory at a time."""
    for where, key, value in _entries(store.images):
        if key == b"num_images":
            continue
        image = from_base64(value)
        if image is None:
            dropped.add(BAD_BASE64, where)
            continue
        yield where, key.decode("utf-8", "replace"), image


def pairs(store: LmdbSplit, dropped: DroppedRows) -> Iterator[tuple[str, str, str, str]]:
    """Yield the place, the image id, the text id and the text of each pair."""
    for where, key, value in _entries(store.pairs):
        if key == b"num_samples":
            continue
        try:
            entry = load_plain(value)
        except PickleRefusedError as error:
            dropped.add(REFUSED, f"{where} ({error})")
            continue
        if not isinstance(entry, tuple) or len(entry) != 3 or not isinstance(entry[2], str):
            dropped.add(REFUSED, f"{where} (no image id, text id and text)")
            continue
        yield where, str(entry[0]), str(entry[1]), entry[2]


def _entries(folder: Path) -> Iterator[tuple[str, bytes, bytes]]:
    with _open(folder) as environment, environment.begin() as transaction:
        for number, (key, value) in enumerate(transaction.cursor()):
            yield f"{folder}, entry {number}", key, value


@contextmanager
def _open(folder: Path) -> Iterator[Any]:
    lmdb = require("lmdb", "lmdb", "reading LMDB")
    try:
        environment = lmdb.open(
            str(folder), readonly=True, create=False, lock=False, readahead=False, meminit=False
        )
    except lmdb.Error as error:
        raise R2D2Error(f"{folder} is no readable LMDB ({error}): fetch it again") from error
    try:
        yield environment
    except lmdb.Error as error:
        raise R2D2Error(f"{folder} is a damaged LMDB ({error}): fetch it again") from error
    finally:
        environment.close()
