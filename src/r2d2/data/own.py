"""Pictures and captions of one's own: a folder of images and a CSV or JSONL file of captions."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from r2d2.data import held_out
from r2d2.data.csv_records import NOT_CLOSED, csv_records
from r2d2.data.encodings import LOST, open_text
from r2d2.data.images import BadImage, decode_image, image_bytes
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import REPEATED_TEXT, IdChanges, path_id, unique_ids
from r2d2.table import Pair, Text, write_table
from r2d2.tokenizer import text_key

IMAGE_NAMES = ("image", "image_path", "path", "file", "filename", "file_name", "img", "图片")
CAPTION_NAMES = ("caption", "captions", "text", "texts", "title", "label_text", "描述", "标题")
SPLIT_NAMES = ("split", "set", "subset")
LABEL_NAMES = ("label", "match", "is_match")
CAPTION = "caption"
LABELS = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1}  # a column with gaps is one of floats
HALF = "half of a surrogate pair in a text"
BROKEN = "characters that cannot be read"
SHOWN = 80  # characters of what a row gave


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
    grouped: dict[tuple[Path, str], list[tuple[str, int | None]]] = {}
    for number, row in _rows(file, found):
        where = f"{file}, row {number}"
        name, split, given = _cell(row["image"]), _cell(row["split"]), row["caption"]
        label = "" if row["label"] is None else str(row["label"]).strip()
        split = held_out.SPLIT_NAMES.get(split.lower(), split)
        texts = [_cell(one) for one in (given if isinstance(given, list) else [given])]
        if not encodes(name, split, *texts):
            found.dropped.add(HALF, where)
            continue
        if any(LOST in text for text in (name, split, *texts)):
            found.dropped.add(BROKEN, where)
            continue
        path = names.find(name)
        if path is None:
            swapped = len(texts) == 1 and names.find(texts[0]) is not None
            reason = "image and caption are swapped" if swapped else "image not found"
            shown = name if len(name) <= SHOWN else name[:SHOWN] + "…"
            found.dropped.add(reason, f"{where}: {shown or 'no name'}")
            continue
        texts = [text for text in texts if text_key(text)]
        if not texts:
            found.dropped.add("no caption", where)
            continue
        if label not in LABELS:
            found.dropped.add("label is not 0 or 1", f"{where}: {label[:SHOWN]}")
            continue
        grouped.setdefault((path, split), []).extend((text, LABELS[label]) for text in texts)
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
                else [(different([text for text, _ in texts], path), None)]
            )
            for some, label in rows:
                yield Pair(
                    path_id(path, folder), data, tuple(Text(t, CAPTION) for t in some),
                    split, width=picture.width, height=picture.height, label=label,
                )  # fmt: skip

    def different(texts: list[str], path: Path) -> list[str]:
        kept = dict.fromkeys(texts)
        for text in (Counter(texts) - Counter(kept.keys())).elements():
            found.dropped.add(REPEATED_TEXT, f"{path}: {text}")
        return list(kept)

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


def _cell(value: Any) -> str:
    """What a cell says; nothing where it is neither a text nor a number."""
    told = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value).strip() if told and value == value else ""  # a number may be NaN


def encodes(*texts: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and UTF-8 cannot hold."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _rows(file: Path, found: Imported) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by number with their image, caption, split and label, whatever the columns' names."""
    try:
        with file.open("rb") as stream:
            text = open_text(stream, file).read()  # its line breaks are all \n by now
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error
    if file.suffix.lower() in (".jsonl", ".json", ".ndjson"):
        rows = list(_objects(text))
        if any(isinstance(row, dict) for _, row in rows):
            columns = {key: None for _, row in rows if isinstance(row, dict) for key in row}
            _check(columns, file)
        for number, row in rows:
            if isinstance(row, dict):
                yield number, _named(row)
            else:
                found.dropped.add("not a JSON object", f"{file}, row {number}")
        return
    # not splitlines(), which also ends a line at U+2028, U+0085 and the like
    records = csv_records(io.StringIO(text), "\t" if file.suffix.lower() == ".tsv" else None)
    number, header = next(records, (1, []))
    if header is None:
        raise R2D2Error(f"{file}, row {number}: a quote of the header is not closed: close it")
    _check(dict.fromkeys(header), file)
    for number, fields in records:
        if fields is None:
            found.dropped.add(NOT_CLOSED, f"{file}, row {number}")
        else:
            yield number, _named(dict(zip_longest(header, fields[: len(header)])))


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    """What is on each line, or in one list over the whole file; None for what is no JSON."""
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), start=1)
            return
        except (ValueError, RecursionError):
            pass  # lines may be lists, too
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


ROLES = {"image": IMAGE_NAMES, "caption": CAPTION_NAMES, "split": SPLIT_NAMES, "label": LABEL_NAMES}


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row by role; None for what it lacks."""
    lowered = {str(key).strip().lower(): value for key, value in row.items()}
    return {
        role: next((lowered[name] for name in names if name in lowered), None)
        for role, names in ROLES.items()
    }


def _check(columns: Mapping[str, None], file: Path) -> None:
    """Raise where there is no column of images or none of captions."""
    lowered = [str(name).strip().lower() for name in columns]
    if not lowered:
        return  # nothing is there, which the caller tells
    for what, names in (("images", IMAGE_NAMES), ("captions", CAPTION_NAMES)):
        if not any(name in lowered for name in names):
            has = ", ".join(lowered)
            raise R2D2Error(
                f"{file} has no column of {what} (it has {has[:200] or 'none'}): "
                f"name it {names[0]}, or {', '.join(names[1:4])}"
            )
