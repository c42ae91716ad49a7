"""Pictures and captions of one's own: a folder of images and a CSV or JSONL file of captions."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r2d2.data.images import BadImage, decode_image
from r2d2.errors import R2D2Error
from r2d2.table import Pair, Text, write_table
from r2d2.tokenizer import text_key

log = logging.getLogger(__name__)

IMAGE_NAMES = ("image", "image_path", "path", "file", "filename", "file_name", "img", "图片")
CAPTION_NAMES = ("caption", "captions", "text", "texts", "title", "label_text", "描述", "标题")
SPLIT_NAMES = ("split", "set", "subset")
LABEL_NAMES = ("label", "match", "is_match")
CAPTION, TRAIN = "caption", "train"
EXAMPLES = 5  # of what was skipped, in the log


@dataclass
class Imported:
    """What became of the rows of a file."""

    rows: int = 0
    texts: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)  # by reason
    examples: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, reason: str, what: str) -> None:
        """Count a row that is left out."""
        self.skipped[reason] += 1
        some = self.examples.setdefault(reason, [])
        if len(some) < EXAMPLES:
            some.append(what)


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
    each stays by itself. Without a split column, images are held out by a hash of their content.

    Raises:
        R2D2Error: no such folder or file, no column for images or captions, or nothing usable.
    """
    found = Imported()
    pairs = read_folder(Path(images), Path(captions), found, val_share, test_share)
    write_table(out, pairs, overwrite=overwrite)
    for reason, count in found.skipped.items():
        log.warning("%d rows left out, %s: %s", count, reason, "; ".join(found.examples[reason]))
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
        path = names.find(str(row["image"] or "").strip())
        if path is None:
            found.skip("image not found", f"{where}: {row['image']}")
            continue
        given = row["caption"]
        texts = [str(t).strip() for t in (given if isinstance(given, list) else [given or ""])]
        texts = [text for text in texts if text_key(text)]
        if not texts:
            found.skip("no caption", where)
            continue
        label = str(row.get("label") if row.get("label") is not None else "").strip()
        if label not in ("", "0", "1"):
            found.skip("label is not 0 or 1", f"{where}: {label}")
            continue
        split = str(row.get("split") or "").strip()
        grouped.setdefault((path, split), []).extend(
            (text, int(label) if label else None) for text in texts
        )
    if not grouped:
        reasons = "; ".join(
            f"{k}: {v}, such as {found.examples[k][0]}" for k, v in found.skipped.items()
        )
        raise R2D2Error(
            f"no row of {file} has both an image under {folder} and a caption ({reasons})"
        )

    def pairs() -> Iterator[Pair]:
        for (path, split), texts in sorted(grouped.items()):
            data = path.read_bytes()
            try:
                picture = decode_image(data, name=str(path))
            except BadImage as error:
                found.skip(f"image {error.kind}", str(path))
                continue
            digest = hashlib.sha256(data).hexdigest()
            split = split or _draw(digest, val_share, test_share)
            rows = (
                [([text], label) for text, label in texts]
                if any(label is not None for _, label in texts)
                else [(list(dict.fromkeys(text for text, _ in texts)), None)]
            )
            for some, label in rows:
                found.rows += 1
                found.texts += len(some)
                found.splits[split] += 1
                yield Pair(
                    str(path.relative_to(folder)), data, tuple(Text(t, CAPTION) for t in some),
                    split, width=picture.width, height=picture.height, label=label,
                )  # fmt: skip

    return pairs()


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
        if direct.is_file() and direct.resolve().is_relative_to(self.folder.resolve()):
            return direct
        if self._by_name is None:
            self._by_name = {}
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    self._by_name[path.name] = None if path.name in self._by_name else path
        return self._by_name.get(Path(name).name)


def _draw(digest: str, val_share: float, test_share: float) -> str:
    """Split of an image by its content: copies of a picture never stand in two splits."""
    place = int(digest[:13], 16) / 16**13
    if place < val_share:
        return "val"
    return "test" if place < val_share + test_share else TRAIN


def _rows(file: Path, found: Imported) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows by number with their image, caption, split and label, whatever the columns' names."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise R2D2Error(f"{file} is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except OSError as error:
        raise R2D2Error(f"cannot read {file}: {error.strerror}; check the path") from error
    if file.suffix.lower() in (".jsonl", ".json", ".ndjson"):
        for number, row in _objects(text):
            if isinstance(row, dict):
                yield number, _named(row, file)
            else:
                found.skip("not a JSON object", f"{file}, row {number}")
        return
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    for number, row in enumerate(
        csv.DictReader(text.splitlines(True), delimiter=delimiter), start=2
    ):
        yield number, _named({k: v for k, v in row.items() if k is not None}, file)


def _objects(text: str) -> Iterator[tuple[int, Any]]:
    """What is on each line, or in one list over the whole file; None for what is no JSON."""
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), start=1)
            return
        except ValueError:
            pass  # lines may be lists, too
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, None


def _named(row: Mapping[str, Any], file: Path) -> dict[str, Any]:
    lowered = {str(key).strip().lower(): value for key, value in row.items()}

    def pick(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in lowered), None)

    image, caption = pick(IMAGE_NAMES), pick(CAPTION_NAMES)
    for what, name, names in (("images", image, IMAGE_NAMES), ("captions", caption, CAPTION_NAMES)):
        if name is None:
            raise R2D2Error(
                f"{file} has no column of {what} (it has {', '.join(lowered)}): "
                f"name it {names[0]}, or {', '.join(names[1:4])}"
            )
    assert image is not None
    assert caption is not None
    split, label = pick(SPLIT_NAMES), pick(LABEL_NAMES)
    return {
        "image": lowered[image],
        "caption": lowered[caption],
        "split": lowered[split] if split else None,
        "label": lowered[label] if label else None,
    }
