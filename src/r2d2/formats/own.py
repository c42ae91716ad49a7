"""Pictures and captions of one's own: a folder, and a CSV or JSONL file; see `r2d2.data.own`.

Without such a file the pictures are a table too, with the texts in `.txt` and `.json` beside them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from r2d2.data.own import (
    CaptionRows,
    Captions,
    captioned_pairs,
    read_folder,
    with_splits,
)
from r2d2.errors import R2D2Error
from r2d2.formats.import_context import ImportContext
from r2d2.formats.picture_captions import captions_beside
from r2d2.formats.tree import SHOWN, SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.picture_listing import list_pictures
from r2d2.inputs.pictures import PictureFile
from r2d2.inputs.splits import split_of_folders
from r2d2.table import Pair

EXPECTS = (
    "a folder of pictures; *.csv, *.tsv or *.jsonl of captions, if any: image, caption, perhaps "
    "split, label"
)
PATTERNS = ("*.csv", "*.tsv", "*.jsonl", "*.ndjson")


def read(context: ImportContext) -> Iterator[Pair]:
    """Yield a row per picture; without named splits, a tenth each goes to val and test."""
    tree = SourceTree(context.paths)
    files = _files(tree)
    if files:
        tree.count_unread(PATTERNS, files, context.dropped)
    folders = [path for path in context.paths if path.is_dir()]
    if len(folders) != 1:
        raise R2D2Error(
            f"{len(folders)} folders of pictures: give one, and the file of captions where it "
            "does not stand in it"
        )
    tree.need_pictures(EXPECTS)
    if files:
        yield from read_folder(folders[0], files, context.dropped)
    else:
        yield from captioned_pairs(_beside(folders[0], context.dropped), context.dropped)


def _files(tree: SourceTree) -> list[Path]:
    """The files of captions: those that were given, or those of the folder that belong together.

    These have one name, each in another folder, or each tells another split. There may be none.
    """
    suffixes = tuple(pattern[1:] for pattern in PATTERNS)
    if not any(file in tree.paths or file.name.lower().endswith(suffixes) for file in tree.others):
        return []
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


def _beside(folder: Path, dropped: DroppedRows) -> Captions:
    """The pictures of a folder, with the texts that stand beside them, if any."""
    listing = list_pictures(folder, follow_links=True)
    dropped.update(listing.dropped)
    source = captions_beside(listing, dropped)
    by_field: Captions = {}  # of pictures whose split a field of the .json tells
    by_name: Captions = {}
    for listed in listing.pictures:
        captions = source.read(listed)
        home = posixpath.dirname(listed.image_id)
        picture = PictureFile(listing.root / listed.path, listed.image_id, home, listing.root)
        texts: dict[tuple[str, int | None], str] = {
            (text.text, None): listed.image_id for text in captions.texts
        }
        split = captions.split or split_of_folders(home) or ""
        (by_field if captions.split else by_name)[picture, split] = CaptionRows(texts, rows=1)
    return with_splits(by_field, by_name)
