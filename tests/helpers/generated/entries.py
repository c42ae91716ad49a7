"""Generated rows that name a picture and say something of it, and where each of them must go."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.generated.files import (
    Raw,
    Record,
    write_csv,
    write_json_list,
    write_jsonl,
)
from helpers.generated.photos import Photo, Photos
from helpers.generated.values import BAD_LABELS, BAD_SPLITS, Values

JSON_FAULTS = ("[1]", '"x"', "{broken", "null", "{'a': 1}", "5", '{"a": 1}}', "\u4f60\u597d")
NAMES_AGAIN = Raw("names")


@dataclass(frozen=True)
class Entry:
    """A row as it is written, and what it means."""

    record: Record | Raw
    photo: Photo | None = None  # None: the row is to be left out
    texts: tuple[str, ...] = ()
    holes: int = 0
    split: str | None = None  # as the row tells
    label: int | None = None


@dataclass(frozen=True)
class Columns:
    """The names that a format has for what a row says."""

    image: str
    caption: str
    split: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Shape:
    """What a format's rows may be."""

    typed: bool = True  # JSON, not CSV
    lists: bool = False  # of captions
    line: bool = False  # captions without line breaks
    stem: bool = False  # names without their suffix
    must_label: bool = False
    named_numbers: bool = True  # a number may stand where a name does, and names no picture


def entries(
    values: Values, photos: Photos, columns: Columns, near: Path, shape: Shape, count: int
) -> list[Entry]:
    """Rows, good and bad ones mixed; some stand twice."""
    clean = values.one_in(3)  # everything is as it should be
    made = []
    for _ in range(count):
        if not clean and values.one_in(10):
            made.append(_unreadable(values, columns, shape))
            continue
        made.append(_entry(values, photos, columns, near, shape, clean))
    return made


def _entry(
    values: Values, photos: Photos, columns: Columns, near: Path, shape: Shape, clean: bool
) -> Entry:
    rng = values.rng
    photo = rng.choice(photos.good() or photos.all) if clean else rng.choice(photos.all)
    record: Record = {columns.image: photos.spelling(photo, near, stem=shape.stem)}
    entry = Entry(record, photo)
    good = True
    if not clean and values.one_in(6):
        good = False
        bad = [photos.no_spelling(near)]
        if shape.typed:
            bad += [None, float("nan"), *([7] if shape.named_numbers else [])]
        record[columns.image] = rng.choice(bad)
    if shape.lists and values.one_in(3):
        written, texts, holes = values.captions()
        record[columns.caption] = written
        entry = replace(entry, texts=tuple(texts), holes=holes)
        good = good and bool(texts)
    elif not clean and values.one_in(6):
        record[columns.caption] = values.no_caption() if shape.typed else None
        nested = record[columns.caption] == ["x"] and shape.lists
        entry = replace(entry, texts=("x",)) if nested else entry
        good = good and nested
    else:
        record[columns.caption], text = values.caption(line=shape.line)
        entry = replace(entry, texts=(text if shape.typed else _csv_breaks(text),))
    if columns.split and values.one_in(2):
        record[columns.split], split = values.split()
        entry = replace(entry, split=split)
        if shape.typed and not clean and values.one_in(8):
            record[columns.split] = rng.choice(BAD_SPLITS)
            good = False
    elif columns.split and shape.typed:
        record[columns.split] = rng.choice((None, "", float("nan")))
    if columns.label and (shape.must_label or values.one_in(2)):
        record[columns.label], label = values.label()
        entry = replace(entry, label=label)
        if not clean and values.one_in(8):
            record[columns.label] = rng.choice(BAD_LABELS)
            good = False
    elif columns.label and shape.must_label:
        good = False
    return entry if good else replace(entry, photo=None)


def again(entry: Entry, photos: Photos, columns: Columns, near: Path) -> Entry:
    """The same row once more, its picture in another spelling."""
    assert entry.photo is not None
    assert not isinstance(entry.record, Raw)
    record = entry.record | {columns.image: photos.spelling(entry.photo, near)}
    return replace(entry, record=record)


def _unreadable(values: Values, columns: Columns, shape: Shape) -> Entry:
    """A row that is none."""
    rng = values.rng
    if not shape.typed:
        # a quote that is closed nowhere may take the next lines along; it is tested elsewhere
        return Entry(Raw(rng.choice(("a.jpg", "{}{}{}{}x{}{}{}y"))))
    twice = f'{{"{columns.image}": "a", "{columns.caption}": "b", "{columns.caption}": "c"}}'
    return Entry(Raw(rng.choice((*JSON_FAULTS, twice))))


def write_entries(file: Path, found: Sequence[Entry], names: Sequence[str], values: Values) -> Path:
    """As the suffix of the file says."""
    records = [entry.record for entry in found]
    if file.suffix in (".csv", ".tsv"):
        return write_csv(file, names, records, values)
    if file.suffix == ".json":
        whole = [r for r in records if not isinstance(r, Raw)]
        return write_json_list(file, whole, values)
    return write_jsonl(file, records, values)


def _csv_breaks(text: str) -> str:
    """Line breaks within a field of CSV are those of the file: LF."""
    return text.replace("\r\n", "\n")


def key(photo: Photo) -> str:
    return unicodedata.normalize("NFC", photo.rel)
