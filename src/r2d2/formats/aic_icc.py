"""AIC-ICC, the captions of AI Challenger: `caption_*_annotations_*.json`, one list in JSON."""

from __future__ import annotations

from collections.abc import Iterator

from r2d2.formats.import_context import ImportContext
from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.inputs.json_text import json_items
from r2d2.inputs.lines import MALFORMED
from r2d2.inputs.texts import read_texts
from r2d2.table import Pair

EXPECTS = "caption_*_annotations_*.json: image_id, caption (a list); and a folder of pictures"


def read(context: ImportContext) -> Iterator[Pair]:
    """Yield a row per picture with its captions; `validation` in a file's name is split `val`."""
    tree = SourceTree(context.paths)
    files = tree.find(("caption_*_annotations_*.json",), EXPECTS)
    tree.need_pictures(EXPECTS)
    for file in files:
        file_split = tree.split_of(file)
        for where, fields in json_items(file, context.dropped):
            name = fields.get("image_id") if isinstance(fields, dict) else None
            captions = fields.get("caption") if isinstance(fields, dict) else None
            captions = [captions] if isinstance(captions, str) else captions
            if not isinstance(name, str) or not isinstance(captions, list):
                context.dropped.add(MALFORMED, where)
                continue
            split = file_split or tree.split_of_picture(name, file) or context.split
            texts, faults = read_texts(captions, text_ids=name)
            row = SourceRow(where, texts, split, faults, image_id=name)
            yield from tree.pairs(row, name, file, context.dropped)
