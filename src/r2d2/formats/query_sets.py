"""MUGE, and Chinese-CLIP's layout: texts in JSON lines that name their pictures, pictures beside.

| | MUGE | Chinese-CLIP |
|---|---|---|
| texts | `MR_{split}_queries.jsonl` | `{split}_texts.jsonl` |
| | `query_id`, `query_text`, `item_ids` | `text_id`, `text`, `image_ids` |
| pictures | `MR_{split}_imgs.tsv` | `{split}_imgs.tsv`, or LMDB `lmdb/{split}/imgs` |

A text may belong to several pictures, a picture to several texts or to none: then it is a row
without texts, something to be found. A text without pictures is a query without an answer.
Texts are held in memory, pictures are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from r2d2.formats import lmdb_set
from r2d2.formats.given import Given
from r2d2.formats.lines import MALFORMED, json_lines
from r2d2.formats.queries import Query
from r2d2.formats.record import make_pair
from r2d2.formats.tree import Tree, split_in
from r2d2.formats.tsv_images import TWICE, tsv_images
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.table import Pair, Text

MUGE = "MR_{split}_imgs.tsv and MR_{split}_queries.jsonl"
CHINESE_CLIP = "{split}_imgs.tsv and {split}_texts.jsonl, or LMDB: {split}/imgs and {split}/pairs"
NAMES = (("query_id", "query_text", "item_ids"), ("text_id", "text", "image_ids"))
TEXTS = ("*_queries.jsonl", "*_texts.jsonl")
LOST = "picture of a text not found"


@dataclass
class Texts:
    """The texts of a split, by picture; and those without."""

    of_image: dict[str, list[Text]] = field(default_factory=dict)
    alone: list[Query] = field(default_factory=list)
    known: set[str] = field(default_factory=set)  # ids

    def add(self, text: Text, images: list[str], split: str) -> None:
        """One more."""
        for image in dict.fromkeys(images):
            self.of_image.setdefault(image, []).append(text)
        if not images:
            self.alone.append(Query(str(text.text_id), text.text.strip(), split))


def reader(source: str, expects: str) -> Callable[[Given], Iterator[Pair]]:
    """How one is read: the source of its texts, and the files in a line."""
    return partial(_read, source, expects)


def _read(source: str, expects: str, given: Given) -> Iterator[Pair]:
    tree = Tree(given.paths)
    stores = lmdb_set.find(tree)
    images = {split_name(file): file for file in tree.others if file.name.endswith("_imgs.tsv")}
    if not stores and not images:
        raise tree.nothing(expects)
    texts = {split_name(f): f for f in tree.others if any(f.match(p) for p in TEXTS)}
    for name in images:
        if name not in texts:
            raise tree.nothing(f"{name}_queries.jsonl or {name}_texts.jsonl, beside its pictures")
    for name, file in images.items():
        split = tree.split_of(file) or given.split
        said = _texts(texts[name], source, split, given.dropped)
        yield from _rows(tsv_images(file, given.dropped), said, split, given)
    for name, store in stores.items():
        if name in images:
            continue  # the same pictures
        split = split_in(name) or given.split
        said = Texts()
        if name in texts:  # pairs lack the texts that have no picture
            said = _texts(texts[name], source, split, given.dropped)
        else:
            for where, image, key, text in lmdb_set.pairs(store, given.dropped):
                if f"{key}\t{image}" in said.known:
                    given.dropped.add(TWICE, where)
                    continue
                said.known.add(f"{key}\t{image}")
                said.add(Text(text, source, text_id=key), [image], split)
        yield from _rows(lmdb_set.images(store, given.dropped), said, split, given)


def split_name(file: Path) -> str:
    """`MR_valid` of MR_valid_imgs.tsv."""
    return file.name.rpartition("_")[0]


def _rows(
    images: Iterator[tuple[str, str, bytes]], said: Texts, split: str, given: Given
) -> Iterator[Pair]:
    for where, image_id, image in images:
        texts = said.of_image.pop(image_id, [])
        pair = make_pair(
            where, image, texts, split, given.dropped, image_id=image_id,
            may_lack_texts=split != "train",
        )  # fmt: skip
        if pair is not None:
            yield pair
    for image_id, lost in said.of_image.items():
        for text in lost:
            given.dropped.add(LOST, f"{split}, text {text.text_id}: {image_id}")
    given.queries.extend(said.alone)


def _texts(file: Path, source: str, split: str, dropped: DroppedRows) -> Texts:
    found = Texts()
    for where, fields in json_lines(file, dropped):
        names = next((names for names in NAMES if names[0] in fields and names[1] in fields), None)
        if names is None:
            dropped.add(MALFORMED, where)
            continue
        key, text, images = (fields.get(name) for name in names)
        if not _is_id(key) or not isinstance(text, str) or not isinstance(images or [], list):
            dropped.add(MALFORMED, where)
            continue
        if str(key) in found.known:
            dropped.add(TWICE, where)
            continue
        found.known.add(str(key))
        if not text.strip():
            dropped.add("empty text", where)
            continue
        ids = [str(image) for image in images or [] if _is_id(image)]
        found.add(Text(text, source, text_id=str(key)), ids, split)
    return found


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
