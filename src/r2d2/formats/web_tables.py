"""Read tables of captioned pictures of the web (Wukong, DanQing, TaiSu) in several formats.

A row has its picture in itself (`image`), or names its file (`dir`, `path`) in a folder given, or
its address (`url`), which `r2d2 corpus fetch` has fetched before: its folder is then given, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.formats import fetched
from r2d2.formats.fetched import address_of
from r2d2.formats.grouped import PictureRows, grouped_pairs
from r2d2.formats.import_context import ImportContext
from r2d2.formats.parquet import IMAGES
from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.pictures import picture_value
from r2d2.inputs.rows import Row, fold, table_rows
from r2d2.inputs.splits import split_of_value
from r2d2.inputs.texts import TextFault, are_usable, read_texts
from r2d2.inputs.values import first_value, is_missing, name_value
from r2d2.table import Pair, Text

EXPECTS = (
    "*.parquet, *.csv, *.tsv or *.jsonl: a column caption (or text, recaption), and url with the "
    "folder of `r2d2 corpus fetch`, dir with the folder of pictures, or image"
)
ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
# DanQing's two texts of a picture, and what they are called in a table: both are kept.
PAIRED = {"alt_text": "title", "recaption": "recaption"}
CAPTIONS = ("recaption", "caption", "captions", "texts", "text", "alt_text", "txt", "title")
URLS = ("url", "image_url", "imageurl", "img_url")
FILES = ("dir", "path", "image_path", "file_name", "filename", "file")
SPLIT = "split"
IDS = ("image_id", "id", "key")


def read(context: ImportContext) -> Iterator[Pair]:
    """Yield a row per picture; rows with the same address or the same file are joined."""
    tree = SourceTree(context.paths)
    store = fetched.find_store(context.paths)
    files = [path for path in context.paths if path.is_file()] or [
        file for file in tree.others if file.suffix.lower() in ENDINGS and file.parent != store
    ]
    if not files:
        raise tree.nothing(EXPECTS)
    for file in files:  # the columns of all, before the work on the first
        trial = replace(context, dropped=DroppedRows())
        next(_rows(file, trial, fetched_before=store is not None), None)
    if store is not None:
        yield from fetched.join(_web_rows(files, tree, context), store, context)
        return
    tree.pictures.check_ids()
    for file in files:
        file_split = tree.split_of(file)
        groups: dict[tuple[str, str], PictureRows] = {}  # by split and picture
        for where, fields in _rows(file, context, fetched_before=False):
            with context.dropped.counting(where):
                texts, faults = _texts(fields, context)
                image, path = picture_value(first_value(fields, IMAGES))
                name = name_value(first_value(fields, FILES)) or path
                split = split_of_value(fields.get(SPLIT)) or file_split
                if image is not None:
                    image_id = first_value(fields, IDS)
                    row = SourceRow(where, texts, split or context.split, faults, image_id)
                    yield from row.pairs(image, context.dropped)
                elif name is None:
                    context.dropped.add("no picture", where)
                elif are_usable(texts, faults, where, context.dropped):
                    split = split or tree.split_of_picture(name, file) or context.split
                    key = (split, tree.id_of(name, file) or name)
                    rows = groups.setdefault(key, PictureRows(where, name, file, split))
                    rows.add(texts, faults, where)
        yield from grouped_pairs(groups.values(), tree, context.dropped)


def _web_rows(files: list[Path], tree: SourceTree, context: ImportContext) -> Iterator[SourceRow]:
    for file in files:
        file_split = tree.split_of(file) or context.split
        for where, fields in _rows(file, context, fetched_before=True):
            with context.dropped.counting(where):
                split = split_of_value(fields.get(SPLIT)) or file_split
                url = address_of(first_value(fields, URLS), where, context.dropped)
                texts, faults = _texts(fields, context)
                if url is not None and are_usable(texts, faults, where, context.dropped):
                    yield SourceRow(where, texts, split, faults, url=url)


def _rows(file: Path, context: ImportContext, fetched_before: bool) -> Iterator[Row]:
    captions = _caption_names(context)
    used = (*IMAGES, *captions, *URLS, *FILES, *IDS, SPLIT)

    def check(names: list[str]) -> None:
        if not any(name in names for name in captions):
            raise R2D2Error(
                f"{file} has columns {', '.join(names)}, none of them {' or '.join(captions)}: "
                "name the one of captions with --caption-column"
            )
        if fetched_before or any(name in names for name in (*IMAGES, *FILES)):
            return
        if any(name in names for name in URLS):
            raise R2D2Error(
                f"{file} has addresses, not pictures: fetch them with `r2d2 corpus fetch {file} "
                "--out FOLDER`, and give FOLDER as another path"
            )
        raise R2D2Error(f"{file} has columns {', '.join(names)}: looked for {EXPECTS}")

    return table_rows(file, context.dropped, used, captions, check)


def _caption_names(context: ImportContext) -> tuple[str, ...]:
    return CAPTIONS if context.caption is None else (fold(context.caption),)


def _texts(fields: dict[str, Any], context: ImportContext) -> tuple[list[Text], list[TextFault]]:
    """The texts of a row: of PAIRED where it has one, or else of its first column of captions."""
    if context.caption is not None or all(is_missing(fields.get(name)) for name in PAIRED):
        return read_texts(first_value(fields, _caption_names(context)))
    texts: list[Text] = []
    faults: list[TextFault] = []
    for name, source in PAIRED.items():
        if not is_missing(fields.get(name)):
            good, bad = read_texts(fields[name], source)
            texts += [text for text in good if text.text not in {known.text for known in texts}]
            faults += bad
    return texts, faults
