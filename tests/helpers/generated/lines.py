"""Caption files: a line a caption, beside a folder of pictures, perhaps with lists of splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from helpers.generated.case import Case, Row
from helpers.generated.files import write_lines
from helpers.generated.listed import given_folder
from helpers.generated.photos import Photo, Photos
from helpers.generated.values import Values


@dataclass(frozen=True)
class Names:
    """Files of a data set: names of caption files with their split, and of lists."""

    files: tuple[tuple[str, str | None], ...]
    lists: tuple[tuple[str, str], ...] = ()
    stem: bool = False


NAMES = {
    "flickr30k-cna": Names((("flickr30k_cna_train.txt", "train"), ("flickr30k_cna_val.txt", "val"),
                            ("flickr30k_cna_test.txt", "test"))),
    "flickr30k-cn": Names((("flickr30k_cn_train.txt", "train"), ("flickr30k_cn_val.txt", "val"))),
    "flickr8k-cn": Names((("flickr8kzhc.caption.txt", None),),
                         (("flickr8ktrain.txt", "train"), ("flickr8ktest.txt", "test")), True),
    "coco-cn": Names((("imageid.human-written-caption.txt", None),),
                     (("coco-cn_train.txt", "train"), ("coco-cn_val.txt", "val")), True),
    "lit-cn": Names((("image_caption_long_cn.txt", "test"),)),
    "dci-cn": Names((("image_caption_trans.txt", "test"),)),
    "docci-cn": Names((("image_caption_trans.txt", "test"),)),
}  # fmt: skip


def caption_files(kind: str, values: Values, folder: Path) -> Case:
    """One of NAMES."""
    rng = values.rng
    names = NAMES[kind]
    photos = Photos(values, folder / "photos", folder, odd=False)
    case = Case(kind, [given_folder(values, folder)])
    listed: dict[Photo, str] = {}
    if names.lists and values.one_in(2):
        for file, split in names.lists:
            some = [photo for photo in photos.all if photo not in listed and values.one_in(2)]
            listed |= dict.fromkeys(some, split)
            if some:
                write_lines(folder / file, [photo.rel for photo in some], values)
    chosen = rng.sample(names.files, rng.randrange(1, len(names.files) + 1))
    groups: dict[tuple[Photo, str], list[str]] = {}
    known: set[tuple[str, str, str]] = set()
    for file, of_file in chosen:
        lines = []
        for _ in range(rng.randrange(1, 8)):
            line, photo, key, text = _line(values, photos, folder, names.stem)
            if not lines and "\t" not in line:  # else it might be a file of names alone
                line, photo, key, text = "nope.jpg\t没有这张图", None, None, None
            lines.append(line)
            if photo is None or text is None:
                case.dropped += 1
                continue
            split = listed.get(photo) if listed else of_file or photo.split or case.split
            again = key is not None and (split, key, text) in known
            if split is None or not photo.good or again:
                case.dropped += 1
                continue
            if key is not None:
                known.add((split, key, text))
            groups.setdefault((photo, split), []).append(text)
            if key is not None and values.one_in(8):
                lines.append(line)
                case.dropped += 1
        write_lines(folder / file, lines, values)
    for (photo, split), texts in groups.items():
        case.rows.append(Row(photo.rel, photo.data, tuple(texts), split))
    return case


def _line(
    values: Values, photos: Photos, folder: Path, stem: bool
) -> tuple[str, Photo | None, str | None, str | None]:
    """The line, its picture, its text id and its caption; None where it has none."""
    rng = values.rng
    photo: Photo | None = rng.choice(photos.all)
    assert photo is not None
    name = photos.spelling(photo, folder, stem=stem and "." not in photo.base[:-5])
    if values.one_in(10):
        return rng.choice(("一句话没有名字", "photos")), None, None, None
    if values.one_in(8):
        name, photo = rng.choice((photos.no_spelling(folder), "nope.jpg")), None
        if not name.strip():
            name = "x.jpg"
    name = name.strip()
    written, text = values.caption(line=True)
    said: str | None = text
    if values.one_in(8):
        written, said = rng.choice(("", " ", "nan", "None", "null", "小\ufffd狗")), None
    key = f"{name}#{rng.choice(('', 'zhc#', 'zhb#'))}{rng.randrange(5)}"
    tagged = values.one_in(2)
    spaced = tagged and " " not in name and not values.one_in(3)
    line = f"{key if tagged else name}{' ' if spaced else chr(9)}{written}"
    return line, photo, key if tagged else None, said
