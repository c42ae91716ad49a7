"""Pictures and captions of one's own: a folder of images and a CSV or JSONL file of captions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from r2d2.data import held_out
from r2d2.data.images import BadImage, decode_image, image_bytes
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import REPEATED_TEXT, IdChanges, path_id, unique_ids
from r2d2.inputs.rows import table_rows
from r2d2.inputs.texts import CAPTION, read_texts, usable_texts
from r2d2.inputs.values import BadValueError, is_missing, label_value, name_value, shown
from r2d2.table import Pair, Text, write_table

IMAGE_NAMES = ("image", "image_path", "path", "file", "filename", "file_name", "img", "图片")
CAPTION_NAMES = ("caption", "captions", "text", "texts", "title", "label_text", "描述", "标题")
SPLIT_NAMES = ("split", "set", "subset")
LABEL_NAMES = ("label", "match", "is_match")
USED = (*IMAGE_NAMES, *CAPTION_NAMES, *SPLIT_NAMES, *LABEL_NAMES)


@dataclass
class Imported:
    """What became of the rows of a file."""

    rows: int = 0
    texts: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    dropped: DroppedRows = field(default_factory=DroppedRows)
    renamed: DroppedRows = field(default_factory=DroppedRows)  # rows kept by another id


def import_folder(
    images: str | Path,
    captions: str | Path,
    out: str | Path,
    *,
    val_share: float = 0.1,
    test_share: float = 0.1,
    overwrite: bool = False,
) -> Imported:
    """Write a pairs table of a folder of images and a file of captions.

    The file is a CSV with a header, or JSONL: a column of image paths (relative to the folder, or
    base names anywhere under it), one of captions (a text, or in JSONL a list of them), optionally
    a split and a label (1 match, 0 not). Several rows of one image become one; of labelled pairs
    each stays by itself. Without a split column, images are held out by a hash of their content;
    of three pictures or more, at least one each for `val` and `test`.

    Raises:
        R2D2Error: no such folder or file, no column for images or captions, or nothing usable.
    """
    found = Imported()
    pairs = read_folder(Path(images), Path(captions), found, val_share, test_share)
    write_table(out, pairs, overwrite=overwrite)
    return found


def read_folder(
    folder: Path, file: Path, found: Imported, val_share: float = 0.1, test_share: float = 0.1
) -> Iterator[Pair]:
    """The rows of `import_folder`, what became of them in `found`. Raises as it does, at once."""
    if not folder.is_dir():
        raise R2D2Error(f"there is no folder {folder}: give the folder of the images")
    names = _Names(folder)
    grouped: dict[tuple[Path, str], dict[tuple[str, int | None], None]] = {}
    check = partial(_check, file)
    for where, row in table_rows(file, found.dropped, USED, CAPTION_NAMES, check):
        try:
            name = name_value(_first(row, IMAGE_NAMES)) or ""
            split = name_value(_first(row, SPLIT_NAMES)) or ""
            label = label_value(_first(row, LABEL_NAMES))
        except BadValueError as error:
            found.dropped.add(str(error), f"{where}: {error.shown}")
            continue
        split = held_out.SPLIT_NAMES.get(split.lower(), split)
        texts, faults = read_texts(_first(row, CAPTION_NAMES))
        path = names.find(name)
        if path is None:
            swapped = len(texts) == 1 and names.find(texts[0].text) is not None
            reason = "image and caption are swapped" if swapped else "image not found"
            found.dropped.add(reason, f"{where}: {shown(name) or 'no name'}")
            continue
        usable = usable_texts(texts, faults, where, found.dropped)
        captions = grouped.setdefault((path, split), {}) if usable else {}
        for text in usable or ():
            if (text.text, label) in captions:
                found.dropped.add(REPEATED_TEXT, f"{where}: {shown(text.text)}")
            captions[text.text, label] = None
    if not grouped and not found.dropped:
        raise R2D2Error(f"{file} holds no row: write a picture and a caption a line")
    if not grouped:
        raise R2D2Error(
            f"no row of {file} has both an image under {folder} and a caption "
            f"({found.dropped.reasons()})"
        )

    def pairs() -> Iterator[Pair]:
        drawn = [path for path, split in grouped if not split]
        named = {split for _, split in grouped if split}
        held = held_out.moved(drawn, named, val_share, test_share)
        for (path, split), texts in sorted(grouped.items()):
            try:
                data = image_bytes(path)
                picture = decode_image(data, name=str(path))
            except BadImage as error:
                found.dropped.add(f"image {error.kind}", str(path))
                continue
            except OSError as error:
                found.dropped.add("image cannot be read", f"{path}: {error.strerror}")
                continue
            digest = hashlib.sha256(data).hexdigest()
            split = split or held.get(digest) or held_out.draw(digest, val_share, test_share)
            rows = (
                [([text], label) for text, label in texts]
                if any(label is not None for _, label in texts)
                else [([text for text, _ in texts], None)]
            )
            for some, label in rows:
                yield Pair(
                    path_id(path, folder), data, tuple(Text(t, CAPTION) for t in some),
                    split, width=picture.width, height=picture.height, label=label,
                )  # fmt: skip

    def counted() -> Iterator[Pair]:
        for pair in unique_ids(pairs(), IdChanges(found.dropped, found.renamed)):
            found.rows += 1
            found.texts += len(pair.texts)
            found.splits[pair.split] += 1
            yield pair

    return counted()


class _Names:
    """Files under a folder, by relative path or by base name where that is unique."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_name: dict[str, Path | None] | None = None

    def find(self, name: str) -> Path | None:
        """The file that a row means; None where there is none, or several."""
        if not name:
            return None
        direct = self.folder / name
        try:
            if direct.is_file() and direct.resolve().is_relative_to(self.folder.resolve()):
                return direct
        except (OSError, ValueError):  # no name of a file: too long, or with a zero byte
            return None
        if self._by_name is None:
            self._by_name = {}
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    self._by_name[path.name] = None if path.name in self._by_name else path
        return self._by_name.get(Path(name).name)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of the columns that has a value."""
    return next((v for name in names if not is_missing(v := row.get(name))), None)


def _check(file: Path, columns: list[str]) -> None:
    """Raise where there is no column of images or none of captions."""
    if not columns:
        return  # nothing is there, which the caller tells
    for what, names in (("images", IMAGE_NAMES), ("captions", CAPTION_NAMES)):
        if not any(name in columns for name in names):
            has = ", ".join(columns)
            raise R2D2Error(
                f"{file} has no column of {what} (it has {has[:200] or 'none'}): "
                f"name it {names[0]}, or {', '.join(names[1:4])}"
            )
