"""Zero-Corpus: JSON lines of an image's address, its title, content and queries.

Names of fields as zero.so.com has them (`ImageUrl`, `Title`, `Content`, `ImageQuery`, `ImageKey`),
in other spellings too. `Url` is the page's address wherever there is an `ImageUrl`. Pictures come
from a folder, by `ImageKey` or the last part of the address, or from what `r2d2 corpus fetch` left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from r2d2.corpus.fetching.store import url_id
from r2d2.formats import fetched
from r2d2.formats.import_context import ImportContext
from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.inputs.json_text import json_lines
from r2d2.inputs.rows import TWO_FIELDS, fold
from r2d2.inputs.splits import split_of_value
from r2d2.inputs.texts import TextFault, are_usable, read_texts
from r2d2.inputs.values import first_value, is_missing, name_value
from r2d2.table import Pair, Text

EXPECTS = (
    "*.json or *.jsonl: ImageUrl, Title, Content, ImageQuery; and a folder of pictures, or that "
    "of `r2d2 corpus fetch`"
)
PATTERNS = ("*.jsonl", "*.json", "*.ndjson", "*.txt")
URLS = ("imageurl", "imgurl", "url")  # without _ and in lower case
KEYS = ("imagekey", "imageid", "key")
SOURCES = {
    "title": ("title",),
    "content": ("content", "surrounding", "surroundingtext"),
    "query": ("imagequery", "imagequeries", "query", "queries"),
}


def read(context: ImportContext) -> Iterator[Pair]:
    """A row an image, with up to one title and content and all its queries."""
    tree = SourceTree(context.paths)
    store = fetched.find_store(context.paths)
    files = tree.find(PATTERNS, EXPECTS)
    tree.count_unread(PATTERNS, files, context.dropped)
    rows = _rows(files, tree, context)
    if store is not None:
        fetched_rows = (replace(row, split=row.split or context.split) for _, row in rows)
        yield from fetched.join(fetched_rows, store, context)
        return
    tree.need_pictures(EXPECTS)
    for file, row in rows:
        base = unquote(urlsplit(row.url).path.rpartition("/")[2])
        key = row.image_id or ""
        name = key if key and tree.id_of(key, file) else base or key
        split = row.split or tree.split_of_picture(name, file) or context.split
        row = replace(row, split=split, image_id=key or url_id(row.url))
        yield from tree.pairs(row, name, file, context.dropped)


def _rows(
    files: list[Path], tree: SourceTree, context: ImportContext
) -> Iterator[tuple[Path, SourceRow]]:
    """The file of each row, and the row; without a split where neither tells one."""
    for file in files:
        file_split = tree.split_of(file) or ""
        for where, record in json_lines(file, context.dropped):
            fields = {fold(name).replace("_", ""): v for name, v in record.items()}
            if len(fields) < len(record) or record.repeated:
                context.dropped.add(TWO_FIELDS, where)
                continue
            with context.dropped.counting(where):
                split = split_of_value(fields.get("split")) or file_split
                with context.dropped.counting(where, prefix=f"{fetched.NO_ADDRESS}: "):
                    url, key = (name_value(first_value(fields, names)) for names in (URLS, KEYS))
                    texts, faults = _texts(fields)
                    if not url and not key:
                        context.dropped.add(fetched.NO_ADDRESS, where)
                    elif are_usable(texts, faults, where, context.dropped):
                        yield file, SourceRow(where, texts, split, faults, key, url or "")


def _texts(fields: Mapping[str, Any]) -> tuple[list[Text], list[TextFault]]:
    """The good texts of a row, and a reason for each of the others."""
    texts: list[Text] = []
    faults: list[TextFault] = []
    for source, names in SOURCES.items():
        value = first_value(fields, names)
        if not is_missing(value):
            good, bad = read_texts(value, source)
            texts += good
            faults += bad
    return texts, faults
