"""Small pictures and files, in the layouts that the data sets are published in."""

import io
import json

import numpy as np
from PIL import Image

from r2d2.formats.registry import TableImportOptions, import_table
from r2d2.table import PairsTable

BOM = "\ufeff"


def picture(seed=0, kind="JPEG", size=(30, 20)):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


def pictures(folder, *names):
    """A picture of each name, in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(picture(seed))
    return folder


def lines(file, *some, end="\n", bom=False):
    """A text file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = (BOM if bom else "") + "".join(line + end for line in some)
    file.write_bytes(text.encode())
    return file


def jsonl(file, *records, **how):
    """A file of JSON lines; what is a string stands as it is."""
    some = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    return lines(file, *some, **how)


def imported(kind, out, *paths, overwrite=False, update=False, **options):
    """What became of an import, and its rows in order; `options` are `TableImportOptions`."""
    found = import_table(
        paths, kind, out, TableImportOptions(**options), overwrite=overwrite, update=update
    )
    table = PairsTable.open(out)
    rows = table.take(table.rows())
    assert len(rows) == found.rows
    assert sum(len(row.texts) for row in rows) == found.texts
    return found, rows, table


def said(rows):
    """Image id, split and texts of each row."""
    return [(row.image_id, row.split, [text.text for text in row.texts]) for row in rows]
