"""Pictures and captions of one's own: a folder, and a CSV or JSONL file; see `r2d2.data.own`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2d2.data.own import Imported, read_folder
from r2d2.errors import R2D2Error
from r2d2.formats.given import Given
from r2d2.formats.tree import SHOWN, Tree
from r2d2.table import Pair

EXPECTS = "a folder of pictures, and *.csv, *.tsv or *.jsonl: image, caption, perhaps split, label"
PATTERNS = ("*.csv", "*.tsv", "*.jsonl", "*.ndjson")


def read(given: Given) -> Iterator[Pair]:
    """A row a picture; without a column of splits, a tenth each is held out for val and test."""
    tree = Tree(given.paths)
    files = _files(tree)
    folders = [path for path in given.paths if path.is_dir()]
    if len(folders) != 1:
        raise R2D2Error(
            f"{len(folders)} folders of pictures: give one, and the file of captions where it "
            "does not stand in it"
        )
    tree.need_pictures(EXPECTS)
    imported = Imported(dropped=given.dropped, renamed=given.renamed)
    yield from read_folder(folders[0], files, imported)


def _files(tree: Tree) -> list[Path]:
    """The files of captions: those that were given, or those of the folder that belong together.

    These have one name, each in another folder, or each tells another split.
    """
    files = tree.find(PATTERNS, EXPECTS)
    splits = {tree.split_of(file) for file in files}
    together = None not in splits and len(splits) == len(files)
    if together or len({file.name for file in files}) == 1 or set(files) <= set(tree.paths):
        return files
    shown = ", ".join(str(file) for file in files[:SHOWN]) + (", ..." if files[SHOWN:] else "")
    raise R2D2Error(
        f"{len(files)} files of captions ({shown}): name those that are to be read, after the "
        "folder of pictures"
    )
