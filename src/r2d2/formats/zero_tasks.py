"""Zero's downstream sets: ICR and IQR for retrieval, ICM and IQM for matching.

`{split}/{long|short}_itr_{split}.json` and `..._itm_...`: one JSON a line, `text` and `image_path`,
of which the base name counts where the pictures stand in one folder, and `label` for matching.
Long ones are captions (ICR, ICM), short ones queries (IQR, IQM). Layout: zero.so.com, and the
readers of the official code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2d2.formats.grouped import PictureRows, grouped_pairs
from r2d2.formats.import_context import ImportContext
from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.json_text import json_lines
from r2d2.inputs.rows import refuse_repeated
from r2d2.inputs.splits import split_of_value
from r2d2.inputs.texts import CAPTION, NO_TEXT
from r2d2.inputs.values import BAD_LABEL, label_value, name_value, text_value
from r2d2.table import Pair, Text

QUERY = "query"
IMAGES = "IQR_IQM_ICR_ICM_images"
FIELDS = ("image_path", "text", "label", "split")


def expects(length: str, task: str) -> str:
    """The files, in a line."""
    return f"{{split}}/{length}_{task}_{{split}}.json, and the pictures of {IMAGES}"


def read(length: str, task: str, context: ImportContext) -> Iterator[Pair]:
    """A row a picture of a set for retrieval, a row a pair of one for matching.

    Args:
        length: `long` or `short`.
        task: `itr`, retrieval, or `itm`, matching.
        context: of the import.
    """
    tree = SourceTree(context.paths)
    expected = expects(length, task)
    files = tree.find((f"{length}_{task}_*.json*",), expected)
    tree.need_pictures(expected)
    tree.pictures.check_ids()
    source = CAPTION if length == "long" else QUERY
    for file in files:
        file_split = tree.split_of(file)
        known = _paths(file)
        groups: dict[tuple[str, str], PictureRows] = {}  # by split and picture
        for number, (where, fields) in enumerate(json_lines(file, context.dropped)):
            with context.dropped.counting(where):
                refuse_repeated(fields, FIELDS)
                path, text = name_value(fields.get("image_path")), text_value(fields.get("text"))
                label = label_value(fields.get("label")) if task == "itm" else None
                split = split_of_value(fields.get("split")) or file_split
                if path is None or text is None:
                    context.dropped.add("no image_path" if path is None else NO_TEXT, where)
                    continue
                path = _published(path, tree, file, known)
                split = split or tree.split_of_picture(path, file) or context.split
                texts = [Text(text, source, text_id=f"{split}-{number}")]
                if task == "itr":
                    key = (split, tree.id_of(path, file) or path)
                    groups.setdefault(key, PictureRows(where, path, file, split)).add(texts)
                elif label is None:
                    context.dropped.add(BAD_LABEL, where)
                else:
                    row = SourceRow(where, texts, split, others={"label": label})
                    yield from tree.pairs(row, path, file, context.dropped)
        yield from grouped_pairs(groups.values(), tree, context.dropped)


def _paths(file: Path) -> dict[str, str]:
    """The one path with a folder that a base name stands for; an empty one where there are more."""
    known: dict[str, str] = {}
    for _, fields in json_lines(file, DroppedRows()):
        path = fields.get("image_path")
        if isinstance(path, str):
            path = path.strip().replace("\\", "/")
            folder, _, base = path.rpartition("/")
            if folder and known.setdefault(base, path) != path:
                known[base] = ""
    return known


def _published(path: str, tree: SourceTree, file: Path, known: dict[str, str]) -> str:
    """The path, or its base name where that is as good, as in the sets as they are published.

    Their paths are those of another machine, their pictures stand in one folder.
    """
    if tree.id_of(path, file) is not None or not tree.pictures.is_flat:
        return path
    base = path.strip().replace("\\", "/").rpartition("/")[2]
    return base if known.get(base) != "" else path
