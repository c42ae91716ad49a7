"""WebDataset: tar files whose members of one key are a row - picture, .txt and .json."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from r2d2.formats.notes import NAME, TableNotes
from r2d2.formats.record import FIELDS, stored_pairs, to_fields
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import decode_text
from r2d2.inputs.folders import files_of, is_picture, readable
from r2d2.inputs.ids import path_id
from r2d2.inputs.json_text import NOT_OBJECT, decode_json
from r2d2.inputs.rows import TWO_FIELDS, repeated_name
from r2d2.inputs.samples import StoredSample
from r2d2.inputs.splits import split_of_path
from r2d2.inputs.tars import TAR_SUFFIXES, tar_samples
from r2d2.pair import Pair, shards

ENDINGS = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}  # others bear their format's name
NOTES = f"{NAME}.json"  # beside the tar files
BAD_JSON = "json unreadable"
ROWS = 10_000  # a tar file


def read(
    path: Path, split: str, dropped: DroppedRows, id_field: str = "image_id"
) -> Iterator[Pair]:
    """Yield the rows of a tar file, or of all in a folder in the order of their names.

    Without an id of its own a row has the path of its tar file and the key of its members.
    """
    for file in files_of(path, TAR_SUFFIXES):
        name = path_id(file, path if path.is_dir() else path.parent)
        file_split = split_of_path(file, path) or split
        for sample in tar_samples(file, dropped):
            where = f"{file}, {sample.name}"
            fields = fields_of(sample, file, where, dropped)
            if fields is None:
                continue
            fields["image_id"] = fields.get(id_field) or f"{name}/{sample.name}"
            yield from stored_pairs(where, sample.picture, fields, file_split, dropped)


def notes(path: Path) -> Iterator[tuple[str, str]]:
    """The file and the text of the notes beside exported tar files at a path."""
    for folder in dict.fromkeys(file.parent for file in files_of(path, TAR_SUFFIXES)):
        file = folder / NOTES
        if file.is_file():
            yield str(file), file.read_text(encoding="utf-8", errors="replace")


def fields_of(
    sample: StoredSample, home: Path, where: str, dropped: DroppedRows
) -> dict[str, Any] | None:
    """Return the content of the .json and .txt of a row; None where neither can be read.

    `home` is the folder or archive that the names of its files are relative to.
    """
    fields: dict[str, Any] = {}
    decoded = [
        decode_text(text, f"{home}/{readable(name)}", home)
        for name, text in zip(sample.files.texts, sample.texts, strict=True)
    ]
    if sample.json is not None:
        try:
            content = decode_json(sample.json, f"{home}/{readable(str(sample.files.json))}", home)
            if not isinstance(content, dict):
                raise ValueError(NOT_OBJECT)
        except ValueError as error:
            if all(text is None for text in decoded):
                dropped.add(BAD_JSON, f"{where}: {error}")
                return None
            dropped.add(f"{BAD_JSON}, its row is kept", f"{where}: {error}")
        else:
            repeated = repeated_name(content, FIELDS)
            if repeated is not None:
                dropped.add(TWO_FIELDS, f"{where}: {repeated}")
                return None
            fields = content
    texts = [text or raw for text, raw in zip(decoded, sample.texts, strict=True)]
    if texts:
        fields.setdefault("txt", texts if len(texts) > 1 else texts[0])
    return fields


def write(folder: Path, pairs: Iterable[Pair], notes: TableNotes) -> int:
    """Write tar files of ROWS rows into an existing folder, and the notes beside them."""
    count = 0
    (folder / NOTES).write_text(notes.to_json(), encoding="utf-8")
    for number, shard in enumerate(shards(pairs, ROWS)):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for pair in shard:
                stem = f"{count:09d}"
                _add(tar, f"{stem}.{ending(pair.image)}", pair.image)
                _add(tar, f"{stem}.txt", (pair.texts[0].text if pair.texts else "").encode())
                fields = json.dumps(to_fields(pair), ensure_ascii=False)
                _add(tar, f"{stem}.json", fields.encode())
                count += 1
    return count


def ending(image: bytes) -> str:
    """What a picture's file is called, by its content."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            name = opened.format or ""
            return ENDINGS.get(name) or (name.lower() if is_picture(f"a.{name}") else "jpg")
    except OSError:
        return "jpg"


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
