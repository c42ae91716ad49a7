"""Classification: a folder a class, and a file of the classes' Chinese names.

As Chinese-CLIP publishes ELEVATER's sets: `{split}/{class}/*.jpg` and `label_cn.txt`, whose line n
(from 0) names the class whose folder is the nth, or bears the number n. Also understood: lines of
`folder<tab>name`, a JSON object of them, and folders that bear Chinese names themselves.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.formats.classes import class_names, class_text
from r2d2.formats.import_context import ImportContext
from r2d2.formats.record import SourceRow
from r2d2.formats.tree import SourceTree
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import read_text, split_lines
from r2d2.inputs.folders import NO_SUFFIX, count_hidden, is_hidden, is_picture, readable, walk
from r2d2.inputs.ids import path_id, same_id
from r2d2.inputs.json_text import read_json
from r2d2.inputs.pictures import load_picture
from r2d2.inputs.splits import split_of_folder
from r2d2.table import Pair

EXPECTS = "{split}/{class}/*.jpg or {class}/*.jpg, and label_cn.txt or classes.txt or classes.json"
NAMES = ("label_cn.txt", "labels_cn.txt", "classes_cn.txt", "classes.txt", "classes.json")
NO_CLASS = "picture in no folder of a class"
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True)
class ClassFolder:
    """The pictures of a class under a folder given."""

    name: str
    root: Path
    split: str | None
    pictures: tuple[str, ...]  # paths from the root, in order


def read(context: ImportContext) -> Iterator[Pair]:
    """Yield a row per picture; the names of the classes are in the table's metadata."""
    folders = [
        folder
        for root in context.paths
        if root.is_dir()
        for folder in class_folders(root, context.dropped)
    ]
    if not folders:
        raise SourceTree(context.paths).nothing(EXPECTS)
    _check_ids(folders)
    order = sorted({folder.name for folder in folders})
    names = _names(context, order)
    context.metadata.update(class_names(list(names.values())))
    missing = [name for name in order if name not in names]
    if missing:
        raise R2D2Error(
            f"folder {missing[0]} has no name among {len(names)} classes: mend the file of names"
        )
    for folder in folders:
        for name in folder.pictures:
            file = folder.root / name
            image = load_picture(file, folder.name, context.dropped)
            if image is None:
                continue
            row = SourceRow(
                str(file), [class_text(names[folder.name], folder.name)],
                folder.split or context.split, image_id=readable(path_id(file, folder.root)),
            )  # fmt: skip
            yield from row.pairs(image, context.dropped)


def class_folders(root: Path, dropped: DroppedRows) -> list[ClassFolder]:
    """The classes under a folder, in order; pictures in no class, hidden ones, and other files
    are counted.

    Folders of splits stand above those of classes. A folder such as `train` is that of a split
    where all beside it are, or at least one more, and where its pictures stand in folders.
    """
    paths: list[str] = []
    for folder in walk([root]):
        for name in folder.names:
            path = posixpath.normpath(f"{folder.relative}/{name}")
            if folder.hidden or is_hidden(name):
                if is_picture(name):
                    count_hidden(dropped, path, readable(str(root / path)))
            elif is_picture(name):
                paths.append(path)
            elif folder.relative != ".":  # beside the classes stand lists of their names and such
                dropped.add(NO_SUFFIX, readable(str(root / path)))
    above = 0  # folders between the root and those of splits or classes
    while (tops := _tops(paths, above)) and len(tops) == 1 and _are_splits(_tops(paths, above + 1)):
        above += 1
    splits = {top for top, deep in tops.items() if deep and split_of_folder(top)}
    if splits != set(tops) and len(splits) < 2:
        splits = set()
    classes: dict[tuple[str | None, str], list[str]] = {}
    for path in sorted(paths):
        parts = path.split("/")[above:]
        split = split_of_folder(parts[0]) if parts[0] in splits else None
        inner = parts[1:] if split else parts
        if len(inner) < 2:
            dropped.add(NO_CLASS, readable(str(root / path)))
            continue
        classes.setdefault((split, inner[0]), []).append(path)
    whole = split_of_folder(root.name)
    return [
        ClassFolder(readable(name), root, split or whole, tuple(names))
        for (split, name), names in classes.items()
    ]


def _check_ids(folders: list[ClassFolder]) -> None:
    """R2D2Error where pictures of two folders given would get one id."""
    if len({folder.root for folder in folders}) < 2:
        return
    roots: dict[str, Path] = {}
    for folder in folders:
        for name in folder.pictures:
            if roots.setdefault(name, folder.root) != folder.root:
                raise same_id(roots[name] / name, folder.root / name)


def _tops(paths: list[str], above: int) -> dict[str, bool]:
    """Folders of a level, and whether there are folders with pictures in them."""
    tops: dict[str, bool] = {}
    for path in paths:
        parts = path.split("/")[above:]
        if len(parts) > 1:
            tops[parts[0]] = tops.get(parts[0], False) or len(parts) > 2
    return tops


def _are_splits(tops: dict[str, bool]) -> bool:
    return bool(tops) and all(deep and split_of_folder(top) for top, deep in tops.items())


def _names(context: ImportContext, order: list[str]) -> dict[str, str]:
    """Return the name of each folder's class, in the order of the classes."""
    file = _file(context.paths)
    if file is None:
        if all(_CHINESE.search(name) for name in order):
            return {name: name for name in order}
        raise R2D2Error(
            f"{context.paths[0]}: no file of the classes' names: looked for {', '.join(NAMES)}; "
            "give it as another path"
        )
    if file.suffix.lower() == ".json":
        content = read_json(file, "mend it")
        if isinstance(content, dict) and all(isinstance(v, str) for v in content.values()):
            return {key: value.strip() for key, value in content.items()}
        raise R2D2Error(f"{file} is no JSON object of folder and name: mend it")
    lines = [line.strip() for line in split_lines(read_text(file)) if line.strip()]
    if all("\t" in line for line in lines):
        pairs = (line.split("\t", 1) for line in lines)
        return {folder.strip(): name.strip() for folder, name in pairs}
    if all(name.isdigit() and int(name) < len(lines) for name in order):
        width = len(order[0])
        return {str(number).zfill(width): name for number, name in enumerate(lines)}
    if len(lines) != len(order):
        raise R2D2Error(f"{file} names {len(lines)} classes, but there are {len(order)} folders")
    return dict(zip(order, lines, strict=True))


def _file(paths: tuple[Path, ...]) -> Path | None:
    for path in paths:
        if path.is_file():
            return path
    candidates = (root / name for root in paths for name in NAMES)
    return next((file for file in candidates if file.is_file()), None)
