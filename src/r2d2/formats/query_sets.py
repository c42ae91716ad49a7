"""MUGE, and Chinese-CLIP's layout: texts in JSON lines that name their pictures, pictures beside.

| | MUGE | Chinese-CLIP |
|---|---|---|
| texts | `MR_{split}_queries.jsonl` | `{split}_texts.jsonl` |
| | `query_id`, `query_text`, `item_ids` | `text_id`, `text`, `image_ids` |
| pictures | `MR_{split}_imgs.tsv` | `{split}_imgs.tsv`, or LMDB `lmdb/{split}/imgs` |

A text may belong to several pictures, a picture to several texts or to none: then it is a row
without texts, something to be found. A text without pictures is a query without an answer.
A text id may stand twice with different texts: the files of Chinese-CLIP's own conversion script
have such. Each text is kept, the later one under an id of its own.
Texts are held in memory, pictures are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.formats import lmdb_set
from r2d2.formats.import_context import ImportContext
from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.formats.tsv_images import tsv_images
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import REPEATED_TEXT, TextIds
from r2d2.inputs.json_text import json_lines
from r2d2.inputs.lines import MALFORMED
from r2d2.inputs.rows import refuse_repeated
from r2d2.inputs.splits import split_of_file
from r2d2.inputs.texts import NO_TEXT
from r2d2.inputs.values import name_value, text_value
from r2d2.table import Pair, Text
from r2d2.table_queries import TableQuery

MUGE = "MR_{split}_imgs.tsv and MR_{split}_queries.jsonl"
CHINESE_CLIP = "{split}_imgs.tsv and {split}_texts.jsonl, or LMDB: {split}/imgs and {split}/pairs"
NAMES = (("query_id", "query_text", "item_ids"), ("text_id", "text", "image_ids"))
TEXTS = ("*_queries.jsonl", "*_texts.jsonl")
LOST = "picture of a text not found"


@dataclass
class SplitTexts:
    """The texts of a split, by picture; and those without."""

    split: str
    source: str
    ids: TextIds
    by_image: dict[str, dict[Text, None]] = field(default_factory=dict)
    alone: dict[TableQuery, None] = field(default_factory=dict)

    def add(self, text_id: str, text: str, images: list[str]) -> bool:
        """Note a text; False where it is known already, of the same pictures or of more."""
        text = text.strip()
        text_id = self.ids.unique(self.split, text_id, text)
        if not images:
            query = TableQuery(text_id, text, self.split)
            is_new = query not in self.alone
            self.alone[query] = None
            return is_new
        row_text = Text(text, self.source, text_id=text_id)
        is_new = any(row_text not in self.by_image.get(image, ()) for image in images)
        for image in images:
            self.by_image.setdefault(image, {})[row_text] = None
        return is_new


def read(source: str, expects: str, context: ImportContext) -> Iterator[Pair]:
    """Yield a row per picture, one split after another.

    Args:
        source: of the texts.
        expects: the files, in a line, for an error.
        context: of the import.
    """
    tree = SourceTree(context.paths)
    stores = lmdb_set.find(tree)
    images = _by_split([file for file in tree.others if file.name.endswith("_imgs.tsv")])
    if not stores and not images:
        raise tree.nothing(expects)
    text_files = _by_split([f for f in tree.others if any(f.match(p) for p in TEXTS)])
    for name in images:
        if name not in text_files:
            raise tree.nothing(f"{name}_queries.jsonl or {name}_texts.jsonl, beside its pictures")
    ids = TextIds(context.renamed)
    for name, file in images.items():
        texts = SplitTexts(tree.split_of(file) or context.split, source, ids)
        _read_texts(text_files[name], texts, context.dropped)
        yield from _rows(tsv_images(file, context.dropped), texts, context)
    for name, store in stores.items():
        if name in images:
            continue  # the same pictures
        texts = SplitTexts(split_of_file(name) or context.split, source, ids)
        if name in text_files:  # pairs lack the texts that have no picture
            _read_texts(text_files[name], texts, context.dropped)
        else:
            for where, image, key, text in lmdb_set.pairs(store, context.dropped):
                if not texts.add(key, text, [image]):
                    context.dropped.add(REPEATED_TEXT, where)
        yield from _rows(lmdb_set.images(store, context.dropped), texts, context)


def _by_split(files: list[Path]) -> dict[str, Path]:
    """The files by the name of their split; R2D2Error where two have the same."""
    files_of: dict[str, Path] = {}
    for file in files:
        first = files_of.setdefault(split_name(file), file)
        if first != file:
            raise R2D2Error(f"{first} and {file} have one name: import one of their folders alone")
    return files_of


def split_name(file: Path) -> str:
    """`MR_valid` of MR_valid_imgs.tsv."""
    return file.name.rpartition("_")[0]


def _rows(
    images: Iterator[tuple[str, str, bytes]], texts: SplitTexts, context: ImportContext
) -> Iterator[Pair]:
    split = texts.split
    kept_ids: set[str] = set()
    for where, image_id, image in images:
        row = SourceRow(
            where, texts.by_image.get(image_id, ()), split, image_id=image_id,
            may_lack_texts=split != "train",
        )  # fmt: skip
        for pair in row.pairs(image, context.dropped):
            kept_ids.add(image_id)
            yield pair
    for image_id, image_texts in texts.by_image.items():
        for text in () if image_id in kept_ids else image_texts:
            context.dropped.add(LOST, f"{split}, text {text.text_id}: {image_id}")
    context.queries.extend(texts.alone)


def _read_texts(file: Path, texts: SplitTexts, dropped: DroppedRows) -> None:
    for where, fields in json_lines(file, dropped):
        names = next((names for names in NAMES if names[0] in fields and names[1] in fields), None)
        if names is None:
            dropped.add(MALFORMED, where)
            continue
        with dropped.counting(where):
            refuse_repeated(fields, names)
            key, text = name_value(fields.get(names[0])), text_value(fields.get(names[1]))
            images = _ids(fields.get(names[2]))
            if key is None:
                dropped.add("no text id", where)
            elif text is None:
                dropped.add(NO_TEXT, where)
            elif not texts.add(key, text, images):
                dropped.add(REPEATED_TEXT, where)


def _ids(value: Any) -> list[str]:
    """The pictures that a text names; holes in the list are passed over."""
    items = value if isinstance(value, list) else [value]
    return [name for item in items if (name := name_value(item)) is not None]
