"""Classification: a folder a class, and a file of the classes' Chinese names.

As Chinese-CLIP publishes ELEVATER's sets: `{split}/{class}/*.jpg` and `label_cn.txt`, whose line n
(from 0) names the class whose folder is the nth, or bears the number n. Also understood: lines of
`folder<tab>name`, a JSON object of them, and folders that bear Chinese names themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.formats.classes import class_names, class_text
from r2d2.formats.given import Given
from r2d2.formats.record import make_pair
from r2d2.formats.tree import ENDINGS, Tree, split_in
from r2d2.inputs.encoding import read_text, split_lines
from r2d2.inputs.ids import path_id
from r2d2.inputs.json_text import read_json
from r2d2.table import Pair

EXPECTS = "{split}/{class}/*.jpg or {class}/*.jpg, and label_cn.txt or classes.txt or classes.json"
NAMES = ("label_cn.txt", "labels_cn.txt", "classes_cn.txt", "classes.txt", "classes.json")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


def read(given: Given) -> Iterator[Pair]:
    """A row a picture; the classes' names are in the table's metadata."""
    folders = _folders([path for path in given.paths if path.is_dir()])
    if not folders:
        raise Tree(given.paths).nothing(EXPECTS)
    order = sorted({folder.name for _, _, folder in folders})
    names = _names(given, order)
    given.metadata.update(class_names(list(names.values())))
    missing = [name for name in order if name not in names]
    if missing:
        raise R2D2Error(
            f"folder {missing[0]} has no name among {len(names)} classes: mend the file of names"
        )
    for root, split, folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() not in ENDINGS or not file.is_file():
                continue
            pair = make_pair(
                str(file), file.read_bytes(), [class_text(names[folder.name], folder.name)],
                split or given.split, given.dropped,
                image_id=path_id(file, root),
            )  # fmt: skip
            if pair is not None:
                yield pair


def _folders(roots: list[Path]) -> list[tuple[Path, str | None, Path]]:
    """Folder given, split and folder of each class, where there are pictures."""
    found: list[tuple[Path, str | None, Path]] = []
    for root in roots:
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            split = split_in(folder.name) if folder.name.isascii() else None
            inner = sorted(path for path in folder.iterdir() if path.is_dir()) if split else []
            found += [(root, split, path) for path in inner] or [(root, None, folder)]
    return [one for one in found if _has_picture(one[2])]


def _has_picture(folder: Path) -> bool:
    return any(path.suffix.lower() in ENDINGS for path in folder.rglob("*"))


def _names(given: Given, order: list[str]) -> dict[str, str]:
    """Name by folder, in the classes' order."""
    file = _file(given.paths)
    if file is None:
        if all(_CHINESE.search(name) for name in order):
            return {name: name for name in order}
        raise R2D2Error(
            f"{given.paths[0]}: no file of the classes' names: looked for {', '.join(NAMES)}; "
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
