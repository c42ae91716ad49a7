"""Pictures and captions of one's own: a folder, and a CSV or JSONL file; see `r2d2.data.own`."""

from __future__ import annotations

from collections.abc import Iterator

from r2d2.data.own import Imported, read_folder
from r2d2.errors import R2D2Error
from r2d2.formats.given import Given
from r2d2.formats.tree import Tree
from r2d2.table import Pair

EXPECTS = "a folder of pictures, and *.csv, *.tsv or *.jsonl: image, caption, perhaps split, label"
PATTERNS = ("*.csv", "*.tsv", "*.jsonl", "*.ndjson")


def read(given: Given) -> Iterator[Pair]:
    """A row a picture; without a column of splits, a tenth each is held out for val and test."""
    tree = Tree(given.paths)
    files = tree.find(PATTERNS, EXPECTS)
    folders = [path for path in given.paths if path.is_dir()]
    if len(files) != 1 or len(folders) != 1:
        raise R2D2Error(
            f"{len(folders)} folders and {len(files)} files of captions: give one of each"
        )
    tree.need_pictures(EXPECTS)
    yield from read_folder(
        folders[0], files[0], Imported(dropped=given.dropped, renamed=given.renamed)
    )
