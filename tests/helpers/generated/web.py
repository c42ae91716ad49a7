"""Formats whose rows name addresses: Zero-Corpus, and the web's tables with what was fetched."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from helpers.generated.case import Case, Row
from helpers.generated.entries import JSON_FAULTS
from helpers.generated.files import Raw, Record, write_csv, write_jsonl, write_parquet
from helpers.generated.listed import given_folder
from helpers.generated.photos import Photos, broken, picture
from helpers.generated.values import BAD_SPLITS, Values
from r2d2.corpus.fetching.outcome import Cause, Outcome
from r2d2.corpus.fetching.store import ShardWriter, url_id

URLS = tuple(f"https://e.org/{name}" for name in ("0.jpg", "1", "a b.png", "图.jpg?x=1", "4.webp"))
GONE, BROKEN, UNKNOWN = "https://e.org/gone", "https://e.org/broken.jpg", "https://e.org/never"
NO_ADDRESSES: tuple[Any, ...] = (None, "", "  ", float("nan"), "\ud800", "a\0b", "None")


@functools.cache
def store() -> Path:
    """What was fetched: one store for all inputs."""
    folder = Path(tempfile.mkdtemp(prefix="r2d2-store-"))
    writer = ShardWriter(folder, 3)
    for number, url in enumerate(sorted(URLS, key=url_id)):
        writer.add(Outcome(url, Cause.OK, image=picture(number), width=8, height=6))
    writer.add(Outcome(BROKEN, Cause.OK, image=broken()[1], width=8, height=6))
    writer.add(Outcome(GONE, Cause.GONE))
    writer.finish()
    return folder


def stored(url: str) -> bytes:
    return picture(sorted(URLS, key=url_id).index(url))


class Joined:
    """Rows of addresses, which become one row an address and split."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.groups: dict[tuple[str, str], list[tuple[list[str], int]]] = {}

    def add(self, url: str, split: str, texts: list[str], holes: int) -> None:
        if url not in URLS or not texts:
            self.case.dropped += 1
        else:
            self.groups.setdefault((url, split), []).append((texts, holes))

    def finish(self) -> None:
        for (url, split), rows in self.groups.items():
            said = [text for texts, _ in rows for text in texts]
            texts = tuple(dict.fromkeys(said))
            self.case.texts_dropped += len(said) - len(texts) + sum(holes for _, holes in rows)
            self.case.rows.append(Row(f"{url}:{split}", stored(url), texts, split))


def web_urls(kind: str, values: Values, folder: Path) -> Case:
    """Wukong, DanQing and TaiSu with a column of addresses."""
    rng = values.rng
    case = Case(kind, [folder, store()])
    joined = Joined(case)
    suffix = rng.choice((".csv", ".tsv", ".jsonl", ".parquet"))
    typed = suffix == ".jsonl"
    for stem, told in (("part_0", None), ("val_1", "val"))[: rng.randrange(1, 3)]:
        records: list[Record | Raw] = []
        for _ in range(rng.randrange(1, 8)):
            if typed and values.one_in(10):
                records.append(Raw(rng.choice(JSON_FAULTS)))
                case.dropped += 1
                continue
            record, texts, holes = _said(values, typed)
            url = rng.choice((*URLS, *URLS, GONE, BROKEN, UNKNOWN))
            record["url"] = url
            fine = True
            if values.one_in(8):
                record["url"] = rng.choice(NO_ADDRESSES) if typed else None
                fine = False
            split = told or case.split
            if values.one_in(3):
                record["split"], split = values.split()
            elif typed and values.one_in(8):
                record["split"] = rng.choice(BAD_SPLITS)
                fine = False
            records.append(record)
            if texts and values.one_in(6):
                records.append(record)
                joined.add(url if fine else "", split, texts, holes)
            joined.add(url if fine else "", split, texts, holes)
        file = folder / (stem + suffix)
        names = ("url", "split", "caption")
        if suffix == ".jsonl":
            write_jsonl(file, records, values)
        elif suffix == ".parquet":
            whole = [r for r in records if not isinstance(r, Raw)]
            write_parquet(file, {name: [r.get(name) for r in whole] for name in names})
        else:
            write_csv(file, names, records, values)
    joined.finish()
    return case


def _said(values: Values, typed: bool) -> tuple[Record, list[str], int]:
    if typed and values.one_in(4):
        written, texts, holes = values.captions()
        return {"caption": written}, texts, holes
    if values.one_in(6):
        bad = values.no_caption() if typed else None
        return {"caption": bad}, ["x"] if bad == ["x"] else [], 0
    said, text = values.caption(line=not typed)
    return {"caption": said}, [text], 0


def zero_corpus(values: Values, folder: Path) -> Case:
    """JSON lines of titles, contents and queries; pictures from a folder, or fetched."""
    rng = values.rng
    fetched = values.one_in(2)
    case = Case("zero-corpus", [store() if fetched else given_folder(values, folder)])
    photos = None if fetched else Photos(values, folder / "photos", folder, odd=False)
    home = folder / "lists" if fetched else folder
    file = home / rng.choice(("zero.jsonl", "val.jsonl", "zero.json"))
    told = "val" if file.stem == "val" else None
    if fetched:
        case.paths = [home, store()]
    joined = Joined(case)
    records: list[Record | Raw] = []
    for number in range(rng.randrange(1, 8)):
        if values.one_in(10):
            records.append(Raw(rng.choice(JSON_FAULTS[:6])))
            case.dropped += 1
            continue
        record, texts, holes, fine = _zero_texts(values)
        split = told
        if values.one_in(4):
            record["split"], split = values.split()
        elif values.one_in(12):
            record["split"] = rng.choice(BAD_SPLITS)
            fine = False
        records.append(record)
        if photos is None:
            url = rng.choice((*URLS, *URLS, GONE, BROKEN, UNKNOWN))
            record[rng.choice(("ImageUrl", "image_url"))] = url
            joined.add(url if fine else "", split or case.split, texts, holes)
            continue
        photo = rng.choice(photos.all)
        image_id = None
        record["ImageUrl"] = f"https://e.org/{number}/{quote(photo.base)}"
        if not photos.is_single(photo) or values.one_in(2):
            record["ImageKey"] = image_id = photo.rel
        if values.one_in(8):
            fine = False
            record.pop("ImageKey", None)
            record["ImageUrl"] = rng.choice(("https://e.org/no.jpg", None, "", float("nan")))
        if not (fine and photo.good and texts):
            case.dropped += 1
            continue
        case.texts_dropped += holes
        split = split or photo.split or case.split
        case.rows.append(
            Row(image_id or url_id(str(record["ImageUrl"])), photo.data, tuple(texts), split)
        )
    write_jsonl(file, records, values)
    joined.finish()
    return case


def _zero_texts(values: Values) -> tuple[Record, list[str], int, bool]:
    """Title, content and queries in that order."""
    record: Record = {}
    texts: list[str] = []
    holes = 0
    for name in ("Title", "Content"):
        if values.one_in(2):
            record[name], text = values.caption()
            texts.append(text)
        elif values.one_in(4):
            record[name] = values.rng.choice((5, "\ud800", {"a": 1}.get("b"), "None", True))
            holes += record[name] not in (None, "None")
    if values.one_in(2):
        record["ImageQuery"], more, bad = values.captions()
        texts += more
        holes += bad
    return record, texts, holes, True
