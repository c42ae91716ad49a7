"""WebDataset: tar files whose members of one key are a row - picture, .txt and .json."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.formats.notes import NAME, TableNotes
from r2d2.formats.record import FIELDS, is_exported, restored_pair, to_fields, to_pair
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import decode_text
from r2d2.inputs.folders import files_under, is_picture, readable
from r2d2.inputs.ids import path_id
from r2d2.inputs.json_text import NOT_OBJECT, decode_json
from r2d2.inputs.rows import TWO_FIELDS, repeated_name
from r2d2.inputs.samples import StoredSample
from r2d2.inputs.splits import split_of_path
from r2d2.inputs.tars import TAR_SUFFIXES, tar_samples
from r2d2.table import Pair

ENDINGS = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}  # others bear their format's name
NOTES = f"{NAME}.json"  # beside the tar files
BAD_JSON = "json unreadable"
ROWS = 10_000  # a tar file


def read(
    place: Path, split: str, dropped: DroppedRows, id_field: str = "image_id"
) -> Iterator[Pair]:
    """Rows of a tar file, or of all in a folder, in order of their names.

    Without an id of its own a row has the path of its tar file and the key of its members.
    """
    for file in _files(place):
        name = path_id(file, place if place.is_dir() else place.parent)
        of_file = split_of_path(file, place) or split
        for sample in tar_samples(file, dropped):
            where = f"{file}, {sample.name}"
            fields = fields_of(sample, file, where, dropped)
            if fields is None:
                continue
            fields["image_id"] = fields.get(id_field) or f"{name}/{sample.name}"
            read_pair = restored_pair if is_exported(fields) else to_pair
            pair = read_pair(where, sample.picture, fields, of_file, dropped)
            if pair is not None:
                yield pair


def notes(place: Path) -> Iterator[tuple[str, str]]:
    """What the exported tar files that `read` reads say of their table, and where it stands."""
    for folder in dict.fromkeys(file.parent for file in _files(place)):
        file = folder / NOTES
        if file.is_file():
            yield str(file), file.read_text(encoding="utf-8", errors="replace")


def fields_of(
    sample: StoredSample, home: Path, where: str, dropped: DroppedRows
) -> dict[str, Any] | None:
    """What the .json and the .txt of a row tell; None where neither can be read.

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


def write(place: Path, pairs: Iterable[Pair], notes: TableNotes) -> int:
    """Tar files of ROWS rows in a folder that is there, and the notes beside them."""
    count = 0
    tar: tarfile.TarFile | None = None
    (place / NOTES).write_text(notes.to_json(), encoding="utf-8")
    try:
        for pair in pairs:
            if count % ROWS == 0:
                if tar is not None:
                    tar.close()
                file = place / f"{count // ROWS:05d}.tar"
                tar = tarfile.open(file, "w")  # noqa: SIM115  # closed when it is full
            assert tar is not None
            stem = f"{count:09d}"
            _add(tar, f"{stem}.{ending(pair.image)}", pair.image)
            _add(tar, f"{stem}.txt", (pair.texts[0].text if pair.texts else "").encode())
            fields = json.dumps(to_fields(pair), ensure_ascii=False)
            _add(tar, f"{stem}.json", fields.encode())
            count += 1
    finally:
        if tar is not None:
            tar.close()
    return count


def ending(image: bytes) -> str:
    """What a picture's file is called, by its content."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            name = opened.format or ""
            return ENDINGS.get(name) or (name.lower() if is_picture(f"a.{name}") else "jpg")
    except OSError:
        return "jpg"


def _files(place: Path) -> list[Path]:
    """The tar files at a path; R2D2Error where there are none."""
    files = files_under(place, TAR_SUFFIXES)
    if not files:
        raise R2D2Error(f"{place} holds no .tar file: give one, or a folder of them")
    return files


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
