"""Zero-Corpus: JSON lines of an image's address, its title, content and queries.

Names of fields as zero.so.com has them (`ImageUrl`, `Title`, `Content`, `ImageQuery`, `ImageKey`),
in other spellings too. `Url` is the page's address wherever there is an `ImageUrl`. Pictures come
from a folder, by `ImageKey` or the last part of the address, or from what `r2d2 corpus fetch` left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from r2d2.corpus.fetch_store import url_id
from r2d2.formats import fetched
from r2d2.formats.given import Given
from r2d2.formats.lines import json_lines
from r2d2.formats.record import make_pair
from r2d2.formats.tree import Tree
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


def read(given: Given) -> Iterator[Pair]:
    """A row an image, with up to one title and content and all its queries."""
    tree = Tree(given.paths)
    store = fetched.find_store(given.paths)
    files = tree.find(PATTERNS, EXPECTS)
    rows = _rows(files, tree, given)
    if store is not None:
        yield from fetched.join(rows, store, given)
        return
    tree.need_pictures(EXPECTS)
    for row in rows:
        base = urlsplit(row.url).path.rpartition("/")[2]
        key = row.image_id or ""
        name = key if key and tree.id_of(key) else base or key
        picture = tree.read(name, row.where, given.dropped)
        if picture is None:
            continue
        pair = make_pair(
            row.where, picture[1], row.texts, row.split, given.dropped,
            image_id=row.image_id or url_id(row.url), url=row.url or None,
        )  # fmt: skip
        if pair is not None:
            yield pair


def _rows(files: list[Path], tree: Tree, given: Given) -> Iterator[fetched.Row]:
    for file in files:
        split = tree.split_of(file) or given.split
        for where, record in json_lines(file, given.dropped):
            fields = {str(name).replace("_", "").lower(): v for name, v in record.items()}
            url, key = _first(fields, URLS), _first(fields, KEYS)
            if not url and not key:
                given.dropped.add("no address", where)
                continue
            yield fetched.Row(url, tuple(_texts(fields)), split, key or None, where)


def _texts(fields: Mapping[str, Any]) -> Iterator[Text]:
    for source, names in SOURCES.items():
        value = next((fields[name] for name in names if fields.get(name)), None)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield Text(text, source)


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = next((fields[name] for name in names if fields.get(name)), "")
    return str(found).strip() if isinstance(found, (str, int)) else ""
