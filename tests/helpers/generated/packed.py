"""Formats that hold their pictures: tar files, Parquet, what img2dataset leaves."""

from __future__ import annotations

import io
import math
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from helpers.generated.case import Case, Row
from helpers.generated.files import json_line, write_parquet
from helpers.generated.photos import KINDS, SUFFIXES, broken, picture
from helpers.generated.values import BAD_LABELS, BAD_SPLITS, NO_TEXTS, Values

HIDDEN = "hidden file passed over"
KEPT = "json unreadable, its row is kept"
NAMES = (("00000", None), ("train-00000-of-00001", "train"), ("validation", "val"),
         ("data_test_0", "test"), ("latest", None))  # fmt: skip
STEMS = ("0", "1", "小狗", "a b", "e\u0301", "v1.0.3", "000000003", "IMG (2)")
NUMBERS = {"clicks": (5, "5", 5.0, None, math.nan, 0), "ctr": (0.5, "0.5", None, 0, 1)}
BAD_NUMBERS = {"clicks": ("abc", -1, 1e30, math.inf, True, [1], 0.5), "ctr": ("high", -1, math.inf)}
Files = list[tuple[str, bytes]]


@dataclass
class Sample:
    """Files of a sample, and its row; None where it is left out."""

    stem: str
    files: Files
    row: Row | None
    holes: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class Told:
    """What fields tell: texts (None: they name none), and whether the row can be kept."""

    fields: dict[str, Any]
    texts: list[str] | None = None
    holes: int = 0
    fine: bool = True
    image_id: str | None = None
    split: str | None = None
    label: int | None = None


def webdataset(values: Values, folder: Path) -> Case:
    """Tar files, packed or not, their members in any order."""
    case = Case("webdataset", [folder])
    _tars(values, folder, case, "image_id")
    return case


def img2dataset(values: Values, folder: Path) -> Case:
    """Its output folder: tar files, files, or Parquet."""
    case = Case("img2dataset", [folder / "out"])
    way = values.rng.randrange(3)
    if way == 0:
        _tars(values, folder / "out", case, "key")
    elif way == 1:
        _folders(values, folder / "out", case)
    else:
        _parquet(values, folder / "out", case, "key")
    return case


def parquet(values: Values, folder: Path) -> Case:
    """Parquet files of pictures and texts, in the columns and types that people have."""
    case = Case("parquet", [folder])
    _parquet(values, folder, case, "image_id")
    return case


def _tars(values: Values, folder: Path, case: Case, id_field: str) -> None:
    rng = values.rng
    for name, split in rng.sample(NAMES, rng.randrange(1, 3)):
        samples = _samples(values, id_field, rng.choice(("", "", "0/", "图/", "./")))
        members = [file for sample in samples for file in sample.files]
        if values.one_in(3):
            rng.shuffle(members)
        mode, suffix = rng.choice((("w", ".tar"), ("w", ".tar"), ("w:gz", ".tar.gz")))
        folder.mkdir(parents=True, exist_ok=True)
        kind = rng.choice((tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
        write_tar(folder / (name + suffix), members, mode, kind)
        for sample in samples:
            _note(case, sample, split, f"{name}{suffix}/{sample.stem}")


def write_tar(path: Path, members: Files, mode: str = "w", kind: int = tarfile.PAX_FORMAT) -> None:
    """A tar file of these members."""
    with tarfile.open(path, mode, format=kind) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _folders(values: Values, out: Path, case: Case) -> None:
    home, split = values.rng.choice((("00000", None), ("val", "val"), ("训练集", "train")))
    for sample in _samples(values, "key", ""):
        for name, data in sample.files:
            path = out / home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        _note(case, sample, split, f"{home}/{sample.stem}")
    (out / "00000_stats.json").write_text('{"count": 3}')
    if not any(_is_picture(path.name) for path in (out / home).iterdir()):
        case.refused = True


def _note(case: Case, sample: Sample, split: str | None, place: str) -> None:
    case.others.update(sample.notes)
    row = sample.row
    if row is None:
        case.dropped += 1
        return
    case.texts_dropped += sample.holes
    name, split = row.image_id or place, row.split or split or case.split
    case.rows.append(Row(name, row.image, row.texts, split, row.label))


def _samples(values: Values, id_field: str, inner: str) -> list[Sample]:
    rng = values.rng
    samples = [
        _sample(values, inner + stem, id_field) for stem in rng.sample(STEMS, rng.randrange(1, 6))
    ]
    if values.one_in(3):  # names with dots: each picture has a text of its own name
        for number in range(rng.randrange(1, 4)):
            written, text = values.caption()
            data = picture(rng.randrange(200), "PNG")
            files = [(f"{inner}cat.{number}.png", data), (f"{inner}cat.{number}.txt",
                     written.encode())]  # fmt: skip
            samples.append(Sample(f"{inner}cat.{number}", files, Row(None, data, (text,), None)))
    return samples


def _sample(values: Values, stem: str, id_field: str) -> Sample:
    rng = values.rng
    files: Files = []
    notes: list[str] = []
    kind = rng.choice(KINDS)
    image = None if values.one_in(12) else picture(rng.randrange(200), kind)
    good = image is not None
    if image is not None:
        if values.one_in(8):
            image, good = rng.choice(broken()), False
        name = stem + rng.choice(SUFFIXES[kind])
        files.append((name, image))
        if values.one_in(8):
            folder, slash, base = name.rpartition("/")
            files.append((f"{folder}{slash}._{base}", b"\0\5\x16\7"))
            notes.append(HIDDEN)
    told = Told({})
    beside: list[str] | None = None
    if values.one_in(2):
        plain = values.one_in(2)
        written, text = values.caption(plain=plain)
        beside = [text]
        if values.one_in(8):
            written, beside = rng.choice((("", []), (" \n", []), ("nan", []), ("小\0狗", [])))
        files.append((stem + ".txt", _coded(written, values, plain and bool(beside))))
    spoiled = False
    if values.one_in(2) or not files:
        told = _told(values, id_field)
        spoiled = values.one_in(8) and beside != []
        line = rng.choice(("{oops", "[1]", '{"a": ')) if spoiled else json_line(told.fields, rng)
        plain = not spoiled and len(line) > 30
        files.append((stem + ".json", _coded(line, values, plain and line.isascii())))
        if spoiled:
            told = Told({}, fine=beside is not None)
            if beside is not None and image is not None:
                notes.append(KEPT)
    texts = beside if told.texts is None else told.texts
    row = None
    if image is not None and good and told.fine and texts:
        row = Row(told.image_id, image, tuple(texts), told.split, told.label)
    return Sample(stem.removeprefix("./"), files, row, told.holes, tuple(notes))


def _told(values: Values, id_field: str) -> Told:
    """What a record says beside a picture."""
    rng = values.rng
    told = Told({})
    fields = told.fields
    if not values.one_in(5):
        name = rng.choice(("caption", "text", "captions", "texts"))
        if values.one_in(3):
            fields[name], told.texts, told.holes = values.captions()
            told.fine = bool(told.texts)
        elif values.one_in(6):
            fields[name] = rng.choice([*NO_TEXTS, None, "", "nan", math.nan])
            if fields[name] == ["x"]:
                told.texts = ["x"]
            elif any(fields[name] is value for value in NO_TEXTS):
                told.texts, told.fine = [], False
        else:
            fields[name], text = values.caption()
            told.texts = [text]
    if values.one_in(4):
        fields[id_field] = rng.choice(("x1", "x2", "图1", 5))
        told.image_id = str(fields[id_field])
    if values.one_in(3):
        fields["split"], told.split = values.split()
    elif values.one_in(10):
        fields["split"] = rng.choice(BAD_SPLITS)
        told.fine = False
    for name in NUMBERS:
        if values.one_in(3):
            fields[name] = rng.choice(NUMBERS[name])
        elif values.one_in(10):
            fields[name] = rng.choice(BAD_NUMBERS[name])
            told.fine = False
    if values.one_in(6):
        fields["label"], told.label = values.label()
    elif values.one_in(10):
        fields["label"] = rng.choice(BAD_LABELS)
        told.fine = False
    return told


def _coded(text: str, values: Values, free: bool) -> bytes:
    codes = ("utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16") if free else ("utf-8", "utf-8-sig")
    try:
        return text.encode(values.rng.choice(codes))
    except UnicodeEncodeError:
        return text.encode("utf-8")


def _is_picture(name: str) -> bool:
    return not name.endswith((".json", ".txt"))


def _parquet(values: Values, folder: Path, case: Case, id_field: str) -> None:
    rng = values.rng
    for stem, of_file in rng.sample(NAMES, rng.randrange(1, 3)):
        count = rng.randrange(1, 7)
        images: list[bytes | None] = []
        for _ in range(count):
            data = picture(rng.randrange(200)) if not values.one_in(8) else rng.choice(broken())
            images.append(None if values.one_in(16) else data)
        column, said, holes = _caption_column(values, count)
        splits = [values.split() if values.one_in(2) else (None, None) for _ in range(count)]
        clicks = [rng.choice((5.0, None, math.nan, math.inf, -1.0, 2.5, 0.0)) if values.one_in(4)
                  else 1.0 for _ in range(count)]  # fmt: skip
        table: dict[str, Any] = {
            rng.choice(("image", "jpg", "Image")): _image_column(values, images),
            rng.choice(("caption", "Text", "texts")): column,
        }
        has_splits, has_clicks, has_status = (values.one_in(2) for _ in range(3))
        if has_splits:
            table["split"] = [written for written, _ in splits]
        if has_clicks:
            table["clicks"] = clicks
        status = ["success"] * count
        if has_status and id_field == "key":
            status = [
                rng.choice(("success", "success", "failed_to_download")) for _ in range(count)
            ]
            table["status"] = status
        write_parquet(folder / f"{stem}.parquet", table)
        for n, image in enumerate(images):
            number = clicks[n]
            odd = has_clicks and number in (math.inf, -1.0, 2.5)
            if image is None or image in broken() or odd or not said[n] or status[n] != "success":
                case.dropped += 1
                continue
            case.texts_dropped += holes[n]
            split = (splits[n][1] if has_splits else None) or of_file or case.split
            case.rows.append(Row(None, image, tuple(said[n]), split))


def _image_column(values: Values, images: list[bytes | None]) -> pa.Array:
    way = values.rng.randrange(3)
    if way == 0:
        return pa.array(images, pa.binary())
    if way == 1:
        return pa.array(images, pa.large_binary())
    return pa.array([None if data is None else {"bytes": data, "path": "x.jpg"} for data in images])


def _caption_column(values: Values, count: int) -> tuple[pa.Array, list[list[str]], list[int]]:
    """The column, and for each row its good texts and how many others it has."""
    rng = values.rng
    way = rng.randrange(4)
    written: list[Any] = []
    good: list[list[str]] = []
    holes: list[int] = []
    for _ in range(count):
        row = []
        for _ in range(rng.randrange(1, 4) if way < 2 else 1):
            plain = way == 3
            if values.one_in(5):
                row.append((rng.choice((None, "", "nan", "None")), None))
            else:
                row.append(values.caption(plain=plain))
        texts = [text for _, text in row if text is not None]
        said = [one for one, _ in row]
        good.append(texts)
        holes.append(len(row) - len(texts))
        if way == 0:
            written.append(said)
        elif way == 1:
            written.append([{"text": one, "source": rng.choice((None, "title"))} for one in said])
        elif way == 2:
            written.append(said[0])
        else:
            written.append(None if said[0] is None else said[0].encode("gbk"))
    kinds = (pa.list_(pa.string()),
             pa.list_(pa.struct([("text", pa.string()), ("source", pa.string())])),
             rng.choice((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))),
             pa.binary())  # fmt: skip
    return pa.array(written, kinds[way]), good, holes
