"""A folder of drawn pictures, and what its table says."""

import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from torch.nn.modules.module import register_module_forward_pre_hook

from helpers.pictures import picture, png
from r2d2.index.layout import VECTOR, open_lance
from r2d2.model.vit import ViT
from r2d2.photo_folder.open import open_folder
from r2d2.photo_folder.settings import FolderOptions


def draw(folder, names, first=0):
    """A picture of its own for each name."""
    for number, name in enumerate(names, first):
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(picture(number)))
    return Path(folder)


def start(folder, model, **options):
    """Bring it up to date; gives what was opened, and the lines that were told."""
    lines = []
    opened = open_folder(folder, FolderOptions(model=str(model), **options), lines.append)
    return opened, lines


def counts(opened):
    """New, changed, moved, deleted, unchanged."""
    changes = opened.changes
    return changes.new, changes.changed, changes.moved, changes.deleted, changes.unchanged


def rows(opened, *columns):
    """The table's rows by image id, without what was read of no column."""
    dataset = open_lance(opened.uri)
    found = dataset.to_table(columns=["image_id", *columns]).to_pylist()
    ids = [row["image_id"] for row in found]
    assert len(ids) == len(set(ids)), "an id stands twice"
    return {row.pop("image_id"): row for row in found}


def vectors(opened):
    return {name: tuple(row[VECTOR] or ()) for name, row in rows(opened, VECTOR).items()}


def touch(file, seconds=1_000_000_000):
    """Another time of the last change."""
    os.utime(file, (seconds, seconds))


def spoil(folder):
    """Other content for each file, of the same size and time: whoever reads one sees a change."""
    for file in folder.rglob("*"):
        about = file.stat()
        if file.is_file() and about.st_size:
            file.write_bytes(bytes(about.st_size))
            os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


@contextmanager
def embedded_pictures():
    """Counts, under "pictures", what goes through the image tower of any model meanwhile."""
    count = Counter()

    def hook(module, arguments):
        if isinstance(module, ViT):
            count["pictures"] += len(arguments[0])

    handle = register_module_forward_pre_hook(hook)
    try:
        yield count
    finally:
        handle.remove()
