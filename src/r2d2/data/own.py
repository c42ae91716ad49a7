"""Read a user's own pictures and captions: a folder of images, and a CSV or JSONL file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from r2d2.data import held_out
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import REPEATED_TEXT, IdChanges, unique_ids
from r2d2.inputs.import_result import ImportResult
from r2d2.inputs.pictures import (
    MissingPicture,
    PictureFile,
    PictureIndex,
    add_missing,
    decode_picture,
    load_picture,
    picture_value,
)
from r2d2.inputs.rows import CSV, TSV, table_rows
from r2d2.inputs.splits import TRAIN, split_of_file, split_of_folders, split_of_value
from r2d2.inputs.texts import CAPTION, TextFault, are_usable, count_holes, read_texts
from r2d2.inputs.values import first_value, label_value, shown
from r2d2.table import Pair, Text, write_table

IMAGE_NAMES = (
    "image", "image_path", "path", "file", "filename", "file_name", "img", "图片", "图片名",
    "图片名称", "图片路径", "图像", "文件名",
)  # fmt: skip
CAPTION_NAMES = (
    "caption", "captions", "text", "texts", "title", "label_text", "描述", "图片描述", "标题",
    "文本", "文字", "说明",
)  # fmt: skip
SPLIT_NAMES = ("split", "set", "subset")
LABEL_NAMES = ("label", "match", "is_match")
USED = (*IMAGE_NAMES, *CAPTION_NAMES, *SPLIT_NAMES, *LABEL_NAMES)


log = logging.getLogger(__name__)


@dataclass
class CaptionRows:
    """The rows of one picture and split, which are kept or left out together."""

    # The file and line of each text with its label.
    where: dict[tuple[str, int | None], str] = field(default_factory=dict)
    rows: int = 0
    left_out: DroppedRows = field(default_factory=DroppedRows)  # texts that rows are kept without

    def add(
        self, texts: Sequence[Text], label: int | None, faults: Sequence[TextFault], where: str
    ) -> None:
        """Add a row that has a text."""
        self.rows += 1
        count_holes(faults, where, self.left_out)
        for text in texts:
            self._note((text.text, label), where)

    def update(self, other: CaptionRows) -> None:
        """Add all rows of another object."""
        self.rows += other.rows
        self.left_out.update(other.left_out)
        for text, where in other.where.items():
            self._note(text, where)

    def labelled(self) -> list[tuple[list[str], int | None]]:
        """Return all texts as one row; where any has a label, each text as a row of its own."""
        if all(label is None for _, label in self.where):
            return [([text for text, _ in self.where], None)]
        return [([text], label) for text, label in self.where]

    def _note(self, text: tuple[str, int | None], where: str) -> None:
        if text in self.where:
            self.left_out.add(REPEATED_TEXT, f"{where}: {shown(text[0])}")
        self.where.setdefault(text, where)


Captions = dict[tuple[PictureFile, str], CaptionRows]  # by picture and split; "": none is named


def import_folder(
    images: str | Path,
    captions: str | Path,
    out: str | Path,
    *,
    val_share: float = 0.1,
    test_share: float = 0.1,
    overwrite: bool = False,
) -> ImportResult:
    """Write a pairs table from a folder of images and a file of captions.

    The file is a CSV with a header, or JSONL. It has a column of image paths, which are relative to
    the folder or base names of files anywhere under it, and a column of captions, which in JSONL
    may be lists. It may have columns for the split and for the label (1 match, 0 not). Several rows
    of one image become one row, except that each labelled pair stays a row of its own.

    Where no split is named by a column, the file's name or a picture's folders, or where such names
    only say `train`, images are held out by a hash of their content. With three pictures or more,
    `val` and `test` get at least one each.

    Raises:
        R2D2Error: the folder, the file, or a column for images or captions is missing, or no row
            can be used.
    """
    result = ImportResult()
    pairs = read_folder(Path(images), [Path(captions)], result.dropped, val_share, test_share)
    unique = unique_ids(pairs, IdChanges(result.dropped, result.renamed))
    write_table(out, result.counted(unique), overwrite=overwrite)
    return result


def read_folder(
    folder: Path,
    files: Sequence[Path],
    dropped: DroppedRows,
    val_share: float = 0.1,
    test_share: float = 0.1,
) -> Iterator[Pair]:
    """Yield the rows of `import_folder`, and count in `dropped` what is left out.

    Several files are read as if they were one. Several rows may have the same id. The errors of
    `import_folder` are raised before the first row.
    """
    if not folder.is_dir():
        raise R2D2Error(f"there is no folder {folder}: give the folder of the images")
    pictures = PictureIndex([folder])
    by_column: Captions = {}  # rows whose split is named by a column
    by_name: Captions = {}  # other rows: their split is named by a file or folder, or not at all
    for file in files:
        _gather(file, pictures, by_column, by_name, dropped)
    grouped = with_splits(by_column, by_name, val_share + test_share > 0)
    shown_files = ", ".join(map(str, files))
    if not grouped and not dropped:
        raise R2D2Error(f"{shown_files} holds no row: write a picture and a caption a line")
    if not grouped:
        raise R2D2Error(
            f"no row of {shown_files} has both an image under {folder} and a caption "
            f"({dropped.reasons()})"
        )
    return captioned_pairs(grouped, dropped, val_share, test_share)


def read_captions(pictures: PictureIndex, file: Path, dropped: DroppedRows) -> Captions:
    """Read a file of captions by picture and split; raise R2D2Error where it cannot be read."""
    by_column: Captions = {}
    by_name: Captions = {}
    _gather(file, pictures, by_column, by_name, dropped)
    return with_splits(by_column, by_name, holds_out=False)


def with_splits(by_column: Captions, by_name: Captions, holds_out: bool = True) -> Captions:
    """Join the texts whose split is named by a column with the others.

    Where names only say `train` and `holds_out` is set, these names are ignored, so that pictures
    can be held out for val and test.
    """
    # In a part of a data set all names may say `train`; then there is nothing to evaluate on.
    splits = {split for _, split in (*by_column, *by_name)}
    only_train = holds_out and bool(by_name) and splits == {TRAIN}
    if only_train:
        log.info(
            "the names of files and folders say no split but train: a tenth each is held out for "
            "val and test; a column `split` is taken at its word"
        )
    grouped = by_column
    column_split = dict(iter(by_column))
    for (picture, named), captions in by_name.items():
        split = column_split.get(picture, "") if only_train or not named else named
        grouped.setdefault((picture, split), CaptionRows()).update(captions)
    return grouped


def captioned_pairs(
    grouped: Captions, dropped: DroppedRows, val_share: float = 0.1, test_share: float = 0.1
) -> Iterator[Pair]:
    """Yield the rows of pictures, with or without texts, in the order of their paths."""
    drawn = [picture.path for picture, split in grouped if not split]
    named = {split for _, split in grouped if split}
    held = held_out.moved(drawn, named, val_share, test_share)
    for (file, split), captions in sorted(grouped.items(), key=lambda item: _order(*item[0])):
        data = load_picture(file.path, file.name, dropped, captions.rows)
        if data is None:
            continue
        picture = decode_picture(data, str(file.path), dropped, captions.rows)
        if picture is None:
            continue
        dropped.update(captions.left_out)
        digest = hashlib.sha256(data).hexdigest()
        split = split or held.get(digest) or held_out.draw(digest, val_share, test_share)
        for texts, label in captions.labelled():
            yield Pair(
                file.name, data, tuple(Text(text, CAPTION) for text in texts),
                split, width=picture.width, height=picture.height, label=label,
            )  # fmt: skip


def _gather(
    file: Path, pictures: PictureIndex, by_column: Captions, by_name: Captions,
    dropped: DroppedRows,
) -> None:  # fmt: skip
    """Add the rows of a file of captions."""
    file_split = split_of_file(file.name)
    check = partial(_check, file)
    for where, row in table_rows(file, dropped, USED, CAPTION_NAMES, check):
        with dropped.counting(where):
            name = picture_value(first_value(row, IMAGE_NAMES))[1] or ""
            row_split = split_of_value(first_value(row, SPLIT_NAMES))
            label = label_value(first_value(row, LABEL_NAMES))
            texts, faults = read_texts(first_value(row, CAPTION_NAMES))
            picture = pictures.find(name, file)
            if isinstance(picture, MissingPicture):
                other = pictures.find(texts[0].text, file) if len(texts) == 1 else picture
                if isinstance(other, PictureFile):
                    dropped.add("image and caption are swapped", f"{where}: {shown(name)}")
                else:
                    add_missing(picture, name, where, dropped)
            elif are_usable(texts, faults, where, dropped):
                split = row_split or file_split or split_of_folders(picture.folder) or ""
                rows = by_column if row_split else by_name
                captions = rows.setdefault((picture, split), CaptionRows())
                captions.add(texts, label, faults, where)


def _order(picture: PictureFile, split: str) -> tuple[Path, str]:
    return picture.path, split


def _check(file: Path, columns: list[str]) -> None:
    """Raise R2D2Error where the column of images or that of captions is missing."""
    if not columns:
        return  # the file is empty, and the caller raises an error
    is_csv = file.suffix.lower().removeprefix(".") in (*CSV, *TSV)
    for kind, names in (("images", IMAGE_NAMES), ("captions", CAPTION_NAMES)):
        if not any(name in columns for name in names):
            has = ", ".join(columns)
            chinese = next(name for name in names if not name.isascii())
            name = f"in the first line {names[0]}" if is_csv else names[0]
            raise R2D2Error(
                f"{file} has no column of {kind} (it has {has[:200] or 'none'}): name it "
                f"{name}, or {', '.join(names[1:4])}, {chinese}"
            )
