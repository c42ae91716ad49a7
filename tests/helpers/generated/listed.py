"""Formats whose rows name files of pictures: one's own, Zero's sets, AIC-ICC, the web's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.generated.case import Case, Row
from helpers.generated.entries import (
    Columns,
    Entry,
    Shape,
    again,
    entries,
    write_entries,
)
from helpers.generated.files import Raw, write_json_list
from helpers.generated.photos import Photo, Photos
from helpers.generated.values import Values
from r2d2.data.own import read_folder
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import IdChanges, unique_ids
from r2d2.pair import Pair

Place = tuple[Path, tuple[Path, ...], Path]  # folder given, paths given, home of the lists


def place(values: Values, folder: Path) -> tuple[Path, Path, Path]:
    """The folder that is given, the one of pictures, and the one that the lists stand in."""
    if values.one_in(2):
        return folder / "photos", folder / "photos", folder / "lists"
    return folder, folder / "photos", folder


def given_folder(values: Values, root: Path) -> Path:
    """The folder by another way: with `..`, or through a link."""
    if values.one_in(4):
        return root / ".." / root.name
    if values.one_in(4):
        link = root.parent / "by_link"
        link.symlink_to(root, target_is_directory=True)
        return link
    return root


def own(values: Values, folder: Path) -> Case:
    """`data import own`: a file of captions beside a folder."""
    case, root, file = _own(values, folder)
    case.paths = [root, file]
    return case


def finetune(values: Values, folder: Path) -> Case:
    """The folder and `--captions` of `finetune`."""
    case, root, file = _own(values, folder)

    def read(dropped: DroppedRows) -> list[Pair]:
        return list(unique_ids(read_folder(root, [file], dropped), IdChanges(dropped)))

    case.read = read
    return case


def _own(values: Values, folder: Path) -> tuple[Case, Path, Path]:
    rng = values.rng
    root, inner, home = place(values, folder)
    photos = Photos(values, inner, root)
    suffix = rng.choice((".csv", ".tsv", ".jsonl", ".ndjson", ".json"))
    stem, of_file = rng.choice((("captions", None), ("dev", "val"), ("my_train_set", "train")))
    typed = suffix not in (".csv", ".tsv")
    columns = Columns(
        rng.choice(("image", "Image", "file_name", "图片")), "caption",
        rng.choice((None, "split", "Subset")), rng.choice((None, None, "label")),
    )  # fmt: skip
    shape = Shape(typed=typed, lists=typed)
    found = entries(values, photos, columns, home, shape, rng.randrange(1, 9))
    if suffix == ".json":
        found = [entry for entry in found if not isinstance(entry.record, Raw)]
    good = [entry for entry in found if entry.photo]
    if good and values.one_in(3):
        found.append(again(rng.choice(good), photos, columns, home))
    names = [columns.image, columns.split, columns.label, "note", "caption"]
    write_entries(home / (stem + suffix), found, [name for name in names if name], values)
    case = Case("own", [])
    _group(case, found, of_file)
    return case, given_folder(values, root), home / (stem + suffix)


def _group(case: Case, found: Sequence[Entry], of_file: str | None) -> None:
    """Rows of a picture by split: that of its column wins, and goes for its rows without one."""
    groups: dict[tuple[Photo, str | None], list[Entry]] = {}
    kept = [(entry, entry.photo) for entry in found if entry.photo]
    named = [of_file or photo.split for entry, photo in kept if not entry.split]
    # where names say train and nothing else, there would be nothing to measure on
    is_part = bool(named) and {*named, *(entry.split for entry, _ in kept if entry.split)} == {
        "train"
    }
    # of a picture in several splits, the one that came last
    told = dict.fromkeys((photo, entry.split) for entry, photo in kept if entry.split)
    by_column = dict(iter(told))
    case.dropped += len(found) - len(kept)
    for entry, photo in sorted(kept, key=lambda row: not row[0].split):
        if not photo.good:
            case.dropped += 1
            continue
        split = entry.split or of_file or photo.split
        if not entry.split and (is_part or split is None):
            split = by_column.get(photo)
        groups.setdefault((photo, split), []).append(entry)
    for (photo, split), some in groups.items():
        said = [(text, entry.label) for entry in some for text in entry.texts]
        texts = list(dict.fromkeys(said))
        case.texts_dropped += sum(entry.holes for entry in some) + len(said) - len(texts)
        if any(label is not None for _, label in texts):
            case.rows += [Row(photo.rel, photo.data, (t,), split, label) for t, label in texts]
        else:
            case.rows.append(Row(photo.rel, photo.data, tuple(t for t, _ in texts), split))


def zero_set(kind: str, values: Values, folder: Path) -> Case:
    """ICR, IQR, ICM, IQM: JSON lines in files of splits, pictures beside."""
    length = "long" if kind.startswith("ic") else "short"
    task = "itr" if kind.endswith("r") else "itm"
    root, inner = folder, folder / "photos"
    photos = Photos(values, inner, root)
    photos.spread()  # else the base name of a path may count
    case = Case(kind, [given_folder(values, root)])
    columns = Columns("image_path", "text", "split", "label" if task == "itm" else None)
    shape = Shape(must_label=True)
    for split in values.rng.sample(("train", "val", "test"), values.rng.randrange(1, 3)):
        file = root / split / f"{length}_{task}_{split}.json"
        count = values.rng.randrange(1, 7)
        found = entries(values, photos, columns, file.parent, shape, count)
        write_entries(file.with_suffix(".jsonl"), found, (), values).rename(file)
        if task == "itr":
            _by_picture(case, found, split)
            continue
        for entry in found:
            if entry.photo is None or not entry.photo.good:
                case.dropped += 1
            else:
                case.rows.append(_row(entry, entry.photo, entry.split or split, entry.texts))
    return case


def _by_picture(case: Case, found: Sequence[Entry], of_file: str | None) -> None:
    """A row a picture and split, its texts in order."""
    groups: dict[tuple[Photo, str], list[Entry]] = {}
    for entry in found:
        if entry.photo is None or not entry.photo.good:
            case.dropped += 1
            continue
        split = entry.split or of_file or entry.photo.split or case.split
        groups.setdefault((entry.photo, split), []).append(entry)
    for (photo, split), some in groups.items():
        case.texts_dropped += sum(entry.holes for entry in some)
        texts = tuple(text for entry in some for text in entry.texts)
        case.rows.append(_row(some[0], photo, split, texts))


def _row(entry: Entry, photo: Photo, split: str | None, texts: tuple[str, ...]) -> Row:
    return Row(photo.rel, photo.data, texts, split, entry.label)


def aic_icc(values: Values, folder: Path) -> Case:
    """One list in JSON, whose items have lists of captions."""
    rng = values.rng
    photos = Photos(values, folder / "photos", folder)
    name, of_file = rng.choice((("train", "train"), ("validation", "val"), ("x", None)))
    file = folder / f"caption_{name}_annotations_20170902.json"
    case = Case("aic-icc", [given_folder(values, folder)])
    columns = Columns("image_id", "caption")
    shape = Shape(lists=True, stem=True, named_numbers=False)
    found = entries(values, photos, columns, folder, shape, rng.randrange(1, 7))
    items = []
    for entry in found:
        record, photo = entry.record, entry.photo
        if isinstance(record, Raw):
            record = rng.choice(('["x"]', '"x"', "5", "null", '{"image_id": 5}', "{}"))
            items.append(Raw(record))
            case.dropped += 1
            continue
        items.append(record)
        if not isinstance(record["caption"], list | str):
            photo = None
        if photo is None or not photo.good:
            case.dropped += 1
            continue
        case.texts_dropped += entry.holes
        split = of_file or photo.split or case.split
        case.rows.append(Row(record["image_id"].strip(), photo.data, entry.texts, split))
    write_json_list(file, items, values)
    return case


def web_files(kind: str, values: Values, folder: Path) -> Case:
    """Wukong, DanQing and TaiSu with a column of files."""
    rng = values.rng
    photos = Photos(values, folder / "photos", folder)
    suffix = rng.choice((".csv", ".tsv", ".jsonl", ".ndjson"))
    typed = suffix in (".jsonl", ".ndjson")
    case = Case(kind, [given_folder(values, folder)])
    columns = Columns(
        rng.choice(("dir", "path", "file_name", "Image_Path")), "caption",
        rng.choice((None, "split")),
    )  # fmt: skip
    for stem, of_file in rng.sample((("part_0", None), ("test_1", "test")), rng.randrange(1, 3)):
        shape = Shape(typed=typed, lists=typed, stem=True)
        found = entries(values, photos, columns, folder, shape, rng.randrange(1, 7))
        names = [columns.image, "note", *([columns.split] if columns.split else []), "caption"]
        write_entries(folder / (stem + suffix), found, names, values)
        _by_picture(case, found, of_file)
    return case
