"""What is to be translated: sentences of pictures, with a machine's translation beside them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from r2d2.downstream.sheets import is_text, read_sheet, read_text
from r2d2.errors import R2D2Error
from r2d2.formats.caption_files import split_line

IMAGE = ("image_id", "image", "filename", "file_name", "path")
MACHINE = ("machine", "translation", "caption", "text")
SOURCE = ("source", "english", "sentence")
CAPTIONS = (".txt", ".token")


@dataclass(frozen=True)
class Sentence:
    """One sentence of a picture."""

    id: str  # NAME#k
    image: str  # the picture's file name
    k: int
    source: str  # in the language it was written in; empty where it is not known
    machine: str


def read_sentences(
    file: Path, source: Path | None = None, ending: str = ".jpg"
) -> tuple[list[Sentence], Counter[str]]:
    """The sentences of a file, in its order, and what was left out.

    Args:
        file: captions by a machine: lines `NAME.jpg#...#k caption`; or CSV, TSV, JSONL or Parquet
            with columns `image_id`, `machine` and perhaps `source`, a text or a list of texts each.
        source: of caption lines, a file of the same with the sentences that were translated.
        ending: of a picture's name that has none.

    Raises:
        R2D2Error: it cannot be read, or has no sentence.
    """
    skipped: Counter[str] = Counter()
    if file.suffix.lower() in CAPTIONS:
        sources = dict(_lines(source, ending, skipped)) if source else {}
        pairs = [(key, sources.get(key, ""), text) for key, text in _lines(file, ending, skipped)]
        if source and not any(text for _, text, _ in pairs):
            raise R2D2Error(
                f"{source} has no sentence of a picture in {file}: are both of one set?"
            )
    else:
        if source is not None:
            raise R2D2Error(f"--source goes with caption lines: {file} has a column for it")
        pairs = list(_columns(file, ending, skipped))
    found: dict[str, Sentence] = {}
    for (image, k), original, machine in pairs:
        name = f"{image}#{k}"
        if not all(map(is_text, (image, original, machine))):
            skipped["no valid Unicode"] += 1
        elif not machine.strip():
            skipped["no machine translation"] += 1
        elif name in found:
            skipped["the same picture and number again"] += 1
        else:
            found[name] = Sentence(name, image, k, _line(original), _line(machine))
    if not found:
        why = ", ".join(f"{reason} {n:,}" for reason, n in skipped.items()) or "it is empty"
        raise R2D2Error(f"{file} has no sentence to translate ({why})")
    return list(found.values()), skipped


def _lines(file: Path, ending: str, skipped: Counter[str]) -> Iterator[tuple[tuple[str, int], str]]:
    """Picture and number with each caption; without a number, by their order."""
    count: Counter[str] = Counter()
    for line in read_text(file).split("\n"):
        found = split_line(line) if line.strip() else None
        if found is None:
            skipped["no caption line"] += bool(line.strip())
            continue
        name, key, text = found
        name = _name(name, ending)
        number = (key or "").rpartition("#")[2]
        k = int(number) if number.isascii() and number.isdigit() else count[name]
        count[name] += 1
        yield (name, k), text


def _columns(
    file: Path, ending: str, skipped: Counter[str]
) -> Iterator[tuple[tuple[str, int], str, str]]:
    count: Counter[str] = Counter()
    checked = False
    for row in _rows(file, skipped):
        lowered = {str(key).strip().lower(): value for key, value in row.items()}
        image, machine, source = (
            next((lowered[name] for name in names if name in lowered), None)
            for names in (IMAGE, MACHINE, SOURCE)
        )
        if not checked and (image is None or machine is None):
            raise R2D2Error(
                f"{file} has columns {', '.join(lowered) or 'none'}: one of pictures "
                f"({', '.join(IMAGE)}) and one of translations ({', '.join(MACHINE)}) is wanted"
            )
        checked = True
        if not image:
            skipped["no picture"] += 1
            continue
        name = _name(str(image), ending)
        machines = machine if isinstance(machine, list) else [machine]
        sources = source if isinstance(source, list) else [source] * len(machines)
        for n, text in enumerate(machines):
            original = sources[n] if n < len(sources) else None
            yield (name, count[name]), str(original or ""), str(text or "")
            count[name] += 1


def _rows(file: Path, skipped: Counter[str]) -> Iterator[Mapping[str, Any]]:
    kind = file.suffix.lower()
    if kind == ".parquet":
        try:
            with pq.ParquetFile(file) as opened:
                names = [n for n in opened.schema_arrow.names if n.lower() != "image"]
                wide = opened.schema_arrow.names
                if "image_id" not in names and "image" in wide:
                    names.append("image")
                for batch in opened.iter_batches(1024, columns=names):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise R2D2Error(f"{file} is no readable Parquet file: fetch it again") from error
    elif kind in (".jsonl", ".json"):
        for line in read_text(file).split("\n"):
            try:
                row = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):
                row = "broken"
            if isinstance(row, dict):
                yield row
            elif row is not None:
                skipped["a line that is no JSON object"] += 1
    elif kind in (".csv", ".tsv"):
        yield from read_sheet(file, skipped)[1]
    else:
        raise R2D2Error(f"{file} is of no kind known: give .txt, .csv, .tsv, .jsonl or .parquet")


def _name(image: str, ending: str) -> str:
    image = image.strip().replace("\\", "/").rpartition("/")[2]
    return image if "." in image else image + ending


def _line(text: str) -> str:
    """On one line: a caption file has one a sentence."""
    return " ".join(text.split())
