"""Formats with a layout of their own: classes, boxes, queries with pictures in files, emoji."""

from __future__ import annotations

import base64
import functools
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from helpers.generated.case import Case, Row, refused, sane
from helpers.generated.files import Raw, Record, encoded, write_jsonl
from helpers.generated.photos import KINDS, SUFFIXES, broken, colour, picture
from helpers.generated.values import Values
from r2d2.data.emoji import emoji_pairs
from r2d2.formats.import_context import ImportContext
from r2d2.formats.registry import read_rows

CLASSES = ("猫", "狗", "热气球", "红绿灯", "山水画")
SPLIT_FOLDERS = (("train", "train"), ("val", "val"), ("test", "test"), ("验证集", "val"),
                 ("Training", "train"))  # fmt: skip
LOST = "picture of a text not found"
HIDDEN = "hidden file passed over"


def class_folders(values: Values, folder: Path) -> Case:
    """A folder a class, perhaps under folders of splits."""
    rng = values.rng
    root = folder / "set"
    case = Case("class-folders", [root])
    names = rng.sample(CLASSES, rng.randrange(1, 4))
    numbered = values.one_in(2)
    folders = [f"{n:03d}" for n in range(len(names))] if numbered else names
    if numbered:
        root.mkdir(parents=True)
        text = "\n".join(names)  # too short to tell UTF-16 without its mark
        (root / "label_cn.txt").write_bytes(encoded(text, values, ("utf-8", "gbk", "utf-16")))
    tops: list[tuple[str, str | None]] = [("", None)]
    if values.one_in(2):
        tops = list({split: (top, split) for top, split in rng.sample(SPLIT_FOLDERS, 3)}.values())
    for top, split in tops:
        for name, inner in zip(names, folders, strict=True):
            for number in range(rng.randrange(1, 3)):
                kind = rng.choice(KINDS)
                home = f"{top}/{inner}" if top else inner
                home += rng.choice(("", "", "/a", "/b"))
                base = f"{number}{rng.choice(SUFFIXES[kind])}"
                data = picture(rng.randrange(200), kind)
                good = not values.one_in(8)
                data = data if good else rng.choice(broken())
                path = root / home / base
                if path.exists():
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                if good:
                    rel = f"{home}/{base}"
                    case.rows.append(Row(rel, data, (name,), split or case.split))
                else:
                    case.dropped += 1
                if values.one_in(8):
                    (path.parent / f"._{base}").write_bytes(b"\0\5\x16\7")
                    case.others[HIDDEN] += 1
    if values.one_in(6) and not any(split for _, split in tops):
        (root / "above.jpg").write_bytes(picture(1))
        case.dropped += 1
    return case


def boxes(values: Values, folder: Path) -> Case:
    """Boxes of pictures, as COCO has them; the crops are known by size and colour."""
    rng = values.rng
    case = Case("boxclass-cn", [folder])
    categories = [{"id": n, "name": name} for n, name in enumerate(CLASSES[:3], 1)]
    images: list[Any] = []
    annotations: list[Any] = []
    (folder / "photos").mkdir()
    for number in range(rng.randrange(1, 5)):
        good = not values.one_in(6)
        data = picture(number, "PNG") if good else rng.choice(broken())
        (folder / "photos" / f"{number}.png").write_bytes(data)
        listed = not values.one_in(8)
        there = not values.one_in(8)
        if listed:
            name = f"{number}.png" if there else "nope.png"
            images.append({"id": number, "file_name": name})
        boxes_of = 0
        for _ in range(rng.randrange(0, 4)):
            category = rng.choice(categories)
            box: Any = [rng.randrange(4), rng.randrange(3), rng.randrange(1, 9), 2.0]
            one: Record = {
                "id": len(annotations), "image_id": number, "category_id": category["id"],
                "bbox": box,
            }  # fmt: skip
            fine = True
            if values.one_in(6):
                fine = False
                one["bbox"] = rng.choice((None, [1, 2], [50, 50, 3, 3], [0, 0, 0, 1], ["a"] * 4,
                                          [0, 0, float("nan"), 1], [1, 1, -1, 2], 5,
                                          [float("inf"), 0, 1, 1], {}, [None] * 4))  # fmt: skip
            elif values.one_in(8):
                one["category_id"] = 99
                annotations.append(one)
                case.dropped += 1
                continue
            annotations.append(one)
            if not (fine and good and listed and there):
                case.dropped += 1
                continue
            left, top, width, height = int(box[0]), int(box[1]), int(box[2]), int(box[3])
            size = (min(8, left + width) - left, min(6, top + height) - top)
            boxes_of += 1
            key = f"{number}:{one['id']}"
            case.rows.append(Row(key, (size, colour(number)), (category["name"],), "test"))
    content = {"categories": categories, "images": images, "annotations": annotations}
    text = json.dumps(content, ensure_ascii=values.one_in(2))
    (folder / "valid_category_data_total_zh.json").write_text(text, encoding="utf-8")
    return case


def query_set(kind: str, values: Values, folder: Path) -> Case:
    """MUGE and Chinese-CLIP: texts that name pictures by id, pictures in a TSV or in LMDB."""
    rng = values.rng
    case = Case(kind, [folder])
    muge = kind == "muge"
    fields = ("query_id", "query_text", "item_ids") if muge else ("text_id", "text", "image_ids")
    for split, told in rng.sample((("train", "train"), ("valid", "val"), ("test", "test")), 2):
        prefix = f"MR_{split}" if muge else split
        images = _images(values)
        records: list[Record | Raw] = []
        of_image: dict[str, list[str]] = {}
        said: set[tuple[str, str, str]] = set()
        pairs: list[tuple[str, str, str]] = []
        for number in range(rng.randrange(1, 7)):
            if values.one_in(10):
                records.append(Raw(rng.choice(("[1]", "{oops", '{"a": 1}', "null"))))
                case.dropped += 1
                continue
            written, text = values.caption()
            names = rng.sample(list(images), rng.randrange(0, min(3, len(images)) + 1))
            lost = [f"x{number}"] if values.one_in(6) else []
            key: Any = rng.choice((number, str(number), 0)) if values.one_in(3) else number
            listed: list[Any] = [int(n) if n.isdigit() and values.one_in(2) else n for n in names]
            if values.one_in(5):
                listed.insert(0, None)
            record = {fields[0]: key, fields[1]: written, fields[2]: [*listed, *lost]}
            if values.one_in(8):
                record[fields[1]] = values.no_caption()
                records.append(record)
                case.dropped += 1
                continue
            records.append(record)
            pairs += [(name, str(key), text) for name in (*names, *lost)]
            if not names and not lost:
                case.queries.append(text)
            for name in (*names, *lost):
                said.add((name, str(key), text))
                if name in lost or not images[name][1]:
                    case.others[LOST] += 1
                else:
                    of_image.setdefault(name, []).append(text)
        write_jsonl(folder / f"{prefix}_{'queries' if muge else 'texts'}.jsonl", records, values)
        if not muge and values.one_in(2):
            _lmdb(folder / "lmdb" / split, images, pairs)
        else:
            _tsv(folder / f"{prefix}_imgs.tsv", images, values)
        for name, (data, good) in images.items():
            texts = tuple(of_image.get(name, ()))
            if not good or (not texts and told == "train"):
                case.dropped += 1
            else:
                case.rows.append(Row(f"{told}:{name}", data, texts, told))
    return case


def _images(values: Values) -> dict[str, tuple[bytes, bool]]:
    """Pictures by id, and whether they can be read."""
    rng = values.rng
    found = {}
    for name in rng.sample(("0", "17", "1000001", "图1", "a.jpg"), rng.randrange(1, 5)):
        good = not values.one_in(6)
        found[name] = (picture(rng.randrange(200)) if good else rng.choice(broken()[1:]), good)
    return found


def _tsv(file: Path, images: dict[str, tuple[bytes, bool]], values: Values) -> None:
    lines = []
    for name, (data, _) in images.items():
        packed = values.rng.choice((base64.b64encode, base64.urlsafe_b64encode))(data).decode()
        packed = packed.rstrip("=") if values.one_in(3) else packed
        lines.append(f"{name}\t{packed}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lmdb(
    home: Path, images: dict[str, tuple[bytes, bool]], pairs: list[tuple[str, str, str]]
) -> None:
    for name in ("imgs", "pairs"):
        (home / name).mkdir(parents=True)
    with lmdb.open(str(home / "imgs"), map_size=1 << 20) as env, env.begin(write=True) as txn:
        for key, (data, _) in images.items():
            txn.put(key.encode(), base64.b64encode(data))
        txn.put(b"num_images", str(len(images)).encode())
    with lmdb.open(str(home / "pairs"), map_size=1 << 20) as env, env.begin(write=True) as txn:
        for number, pair in enumerate(pairs):
            txn.put(str(number).encode(), pickle.dumps(pair))
        txn.put(b"num_samples", str(len(pairs)).encode())


KEYWORDS = tuple(f"新词{n}" for n in range(9))  # that no emoji of the corpus has


@functools.cache
def emoji() -> dict[str, tuple[bytes, str, tuple[str, ...]]]:
    """Picture, split and names of the emoji that a generated file annotates, by character."""
    wanted = {"1f600": "😀", "1f436": "🐶", "1f34e": "🍎", "1f697": "🚗"}
    return {
        wanted[pair.image_id]: (pair.image, pair.split, tuple(text.text for text in pair.texts))
        for pair in emoji_pairs()
        if pair.image_id in wanted
    }


@dataclass
class Annotations:
    """A file of CLDR: what it adds to the embedded corpus."""

    path: Path
    added: dict[str, list[str]] = field(default_factory=dict)  # by character
    dropped: int = 0

    def check(self) -> int:
        """Read it, and compare the rows of the emoji that it annotates."""
        context = ImportContext((self.path,))
        rows = list(read_rows("cldr-annotations", context))
        sane(rows)
        by_image = {row.image: row for row in rows}
        assert len(by_image) == len(rows) > 3000
        for character, (image, split, names) in emoji().items():
            row = by_image[image]
            added = [text.text for text in row.texts[len(names) :]]
            assert (row.split, added) == (split, self.added.get(character, [])), character
        assert context.dropped.total == self.dropped, context.dropped.lines()
        return len(self.added)

    def survive(self) -> None:
        """Read it after it was damaged."""
        context = ImportContext((self.path,))
        sane(refused(lambda: list(read_rows("cldr-annotations", context)), may=True) or ())


def annotations(values: Values, folder: Path) -> Annotations:
    """Spoken names and keywords of some emoji."""
    rng = values.rng
    found = Annotations(folder / "zh" / "annotations.json")
    content: dict[str, Any] = {}
    for character in rng.sample(list(emoji()), rng.randrange(1, 5)):
        if values.one_in(5):
            content[character] = rng.choice((5, None, "x", [], {"default": []}, {"tts": [None]}))
            found.dropped += 1
            continue
        words = rng.sample(KEYWORDS, rng.randrange(1, 4))
        holes = [rng.choice((None, 5, "", "nan"))] if values.one_in(4) else []
        content[character] = {"default": [*holes, *words]}
        found.dropped += len(holes)
        found.added[character] = list(words)
        if values.one_in(2):
            content[character]["tts"] = [f"念作{character}"]
            found.added[character].insert(0, f"念作{character}")
    text = json.dumps({"annotations": {"annotations": content}}, ensure_ascii=values.one_in(2))
    found.path.parent.mkdir(parents=True)
    found.path.write_bytes(encoded(text, values, ("utf-8", "utf-8-sig", "gb18030", "utf-16")))
    return found
