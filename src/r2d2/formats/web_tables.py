"""Tables of the web's pictures with captions: Wukong, DanQing, TaiSu; Parquet, CSV, TSV or JSONL.

A row has its picture in itself (`image`), or names its file (`dir`, `path`) in a folder given, or
its address (`url`), which `r2d2 corpus fetch` has fetched before: its folder is then given, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.formats import fetched
from r2d2.formats.given import Given
from r2d2.formats.lines import csv_rows, json_lines
from r2d2.formats.parquet import IMAGES, image_bytes, open_rows
from r2d2.formats.record import CAPTION, make_pair
from r2d2.formats.tree import Tree
from r2d2.table import Pair, Text

EXPECTS = (
    "*.parquet, *.csv, *.tsv or *.jsonl: a column caption (or text, recaption), and url with the "
    "folder of `r2d2 corpus fetch`, dir with the folder of pictures, or image"
)
ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
CAPTIONS = ("recaption", "caption", "captions", "texts", "text", "alt_text", "txt", "title")
URLS = ("url", "image_url", "imageurl", "img_url")
FILES = ("dir", "path", "image_path", "file_name", "filename", "file")
IDS = ("image_id", "id", "key")


def read(given: Given) -> Iterator[Pair]:
    """A row a picture; rows of one address, or of one file of a picture, become one."""
    tree = Tree(given.paths)
    store = fetched.find_store(given.paths)
    files = [path for path in given.paths if path.is_file()] or [
        f
        for f in tree.others
        if f.suffix.lower() in ENDINGS and (store is None or f.parent != store)
    ]
    if not files:
        raise tree.nothing(EXPECTS)
    if store is not None:
        yield from fetched.join(_web_rows(files, tree, given), store, given)
        return
    for file in files:
        split = tree.split_of(file) or given.split
        named: dict[str, tuple[str, str, list[Text]]] = {}  # where, name, texts; by picture
        for where, fields in _rows(file, given):
            texts = _texts(file, fields, given, where)
            image, name = _picture(file, fields)
            if image is not None:
                pair = make_pair(
                    where, image, texts, split, given.dropped, image_id=_first(fields, IDS)
                )
                if pair is not None:
                    yield pair
            elif name:
                named.setdefault(tree.id_of(name) or name, (where, name, []))[2].extend(texts)
            else:
                given.dropped.add("no picture", where)
        for where, name, texts in named.values():
            picture = tree.read(name, where, given.dropped)
            if picture is None:
                continue
            pair = make_pair(where, picture[1], texts, split, given.dropped, image_id=picture[0])
            if pair is not None:
                yield pair


def _web_rows(files: list[Path], tree: Tree, given: Given) -> Iterator[fetched.Row]:
    for file in files:
        split = tree.split_of(file) or given.split
        for where, fields in _rows(file, given):
            url = _first(fields, URLS)
            if not isinstance(url, str) or not url.strip():
                given.dropped.add("no address", where)
                continue
            texts = tuple(_texts(file, fields, given, where))
            yield fetched.Row(url.strip(), texts, split, where=where)


def _rows(file: Path, given: Given) -> Iterator[tuple[str, dict[str, Any]]]:
    ending = file.suffix.lower()
    if ending == ".parquet":
        rows: Iterator[tuple[str, dict[str, Any]]] = open_rows(file)
    elif ending in (".csv", ".tsv"):
        rows = iter(csv_rows(file, given.dropped))
    else:
        rows = json_lines(file, given.dropped)
    for where, fields in rows:
        yield where, {str(name).strip().lower(): value for name, value in fields.items()}


def _picture(file: Path, fields: dict[str, Any]) -> tuple[bytes | None, str]:
    """The picture that a row holds, and the name of its file; None or nothing where there is none.

    R2D2Error where the file has no column of pictures, of either kind.
    """
    within = next((name for name in IMAGES if name in fields), None)
    name = _first(fields, FILES)
    if within is not None and (image := image_bytes(fields[within])) is not None:
        return image, ""
    if isinstance(name, str) and name.strip():
        return None, name.strip()
    if within is None and not any(column in fields for column in FILES):
        if any(column in fields for column in URLS):
            raise R2D2Error(
                f"{file} has addresses, not pictures: fetch them with `r2d2 corpus fetch {file} "
                "--out FOLDER`, and give FOLDER as another path"
            )
        raise R2D2Error(f"{file} has columns {', '.join(fields)}: looked for {EXPECTS}")
    return None, ""


def _texts(file: Path, fields: dict[str, Any], given: Given, where: str) -> list[Text]:
    if given.caption is not None:
        names: tuple[str, ...] = (given.caption.strip().lower(),)
    else:
        names = CAPTIONS
    column = next((name for name in names if name in fields), None)
    if column is None:
        raise R2D2Error(
            f"{file} has columns {', '.join(fields)}, none of them {' or '.join(names)}: name the "
            "one of captions with --caption-column"
        )
    value = fields[column]
    texts = value if isinstance(value, list) else [value]
    return [Text(text, CAPTION) for text in texts if isinstance(text, str)]


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)
