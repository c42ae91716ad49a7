"""Read the sentences to translate: sentences about pictures, each with a machine's translation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from r2d2.errors import R2D2Error
from r2d2.formats.caption_files import split_line
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.lines import text_lines
from r2d2.inputs.rows import SUFFIXES, table_rows
from r2d2.inputs.values import BadValueError, first_value, name_value, shown, text_value

IMAGE = ("image_id", "image", "filename", "file_name", "path")
MACHINE = ("machine", "translation", "caption", "text")
SOURCE = ("source", "english", "sentence")
CAPTIONS = (".txt", ".token")


@dataclass(frozen=True)
class Sentence:
    """One sentence about a picture."""

    id: str  # NAME#k
    image: str  # the picture's file name
    k: int  # the number of the sentence among those of the picture
    source: str  # the sentence in its original language; empty where it is not known
    machine: str  # the machine's translation


def read_sentences(
    file: Path, source: Path | None = None, ending: str = ".jpg"
) -> tuple[list[Sentence], DroppedRows]:
    """Read the sentences of a file in its order, and count the lines that were left out.

    Args:
        file: the machine's captions: lines `NAME.jpg#...#k caption`; or CSV, TSV, JSONL or Parquet
            with columns `image_id`, `machine` and perhaps `source`. A cell is a text or a list of
            texts.
        source: for caption lines, a file of the same form with the original sentences.
        ending: is appended to the name of a picture that has no ending.

    Raises:
        R2D2Error: the file cannot be read, or has no sentence.
    """
    dropped = DroppedRows()
    if file.suffix.lower() in CAPTIONS:
        lines = _lines(source, ending, dropped) if source else ()
        sources = {key: text for _, key, text in lines}
        pairs: list[tuple[str, tuple[str, int], Any, Any]] = [
            (where, key, sources.get(key, ""), text)
            for where, key, text in _lines(file, ending, dropped)
        ]
        if source and not any(text for _, _, text, _ in pairs):
            raise R2D2Error(
                f"{source} has no sentence of a picture in {file}: are both of one set?"
            )
    else:
        if source is not None:
            raise R2D2Error(f"--source goes with caption lines: {file} has a column for it")
        pairs = list(_columns(file, ending, dropped))
    by_id: dict[str, Sentence] = {}
    for where, (image, k), source_value, machine_value in pairs:
        name = f"{image}#{k}"
        try:
            original, machine = text_value(source_value), text_value(machine_value)
        except BadValueError as error:
            dropped.add(str(error), f"{where}: {error.shown}")
            continue
        if machine is None:
            dropped.add("no machine translation", where)
        elif name in by_id:
            dropped.add("the same picture and number again", where)
        else:
            by_id[name] = Sentence(name, image, k, _line(original or ""), _line(machine))
    if not by_id:
        why = dropped.reasons() or "it is empty"
        raise R2D2Error(f"{file} has no sentence to translate ({why})")
    return list(by_id.values()), dropped


def _lines(
    file: Path, ending: str, dropped: DroppedRows
) -> Iterator[tuple[str, tuple[str, int], str]]:
    """Yield the place in the file, the picture and number, and the text of each caption line.

    A line without a number gets the number of its picture's lines before it.
    """
    count: Counter[str] = Counter()
    for where, line in text_lines(file, dropped):
        parts = split_line(line)
        if parts is None:
            dropped.add("no caption line", f"{where}: {shown(line)}")
            continue
        name, key, text = parts
        name = _name(name, ending)
        number = (key or "").rpartition("#")[2]
        k = int(number) if number.isascii() and number.isdigit() else count[name]
        count[name] += 1
        yield where, (name, k), text


def _columns(
    file: Path, ending: str, dropped: DroppedRows
) -> Iterator[tuple[str, tuple[str, int], Any, Any]]:
    """Yield the place in the file, picture and number, sentence, and translation of each text."""
    count: Counter[str] = Counter()
    if file.suffix.lower() not in SUFFIXES:
        raise R2D2Error(f"{file} is of no kind known: give .txt, .csv, .tsv, .jsonl or .parquet")
    used = (*IMAGE, *MACHINE, *SOURCE)
    for where, row in table_rows(file, dropped, used, (*MACHINE, *SOURCE), partial(_check, file)):
        machine, source = first_value(row, MACHINE), first_value(row, SOURCE)
        try:
            image = name_value(first_value(row, IMAGE))
        except BadValueError as error:
            dropped.add(str(error), f"{where}: {error.shown}")
            continue
        if image is None:
            dropped.add("no picture", where)
            continue
        name = _name(image, ending)
        machines = machine if isinstance(machine, list) else [machine]
        sources = source if isinstance(source, list) else [source] * len(machines)
        for n, text in enumerate(machines):
            original = sources[n] if n < len(sources) else None
            yield where, (name, count[name]), original, text
            count[name] += 1


def _check(file: Path, columns: list[str]) -> None:
    """Raise R2D2Error where a column of pictures or of translations is missing."""
    if not all(any(name in columns for name in names) for names in (IMAGE, MACHINE)):
        raise R2D2Error(
            f"{file} has columns {', '.join(columns) or 'none'}: one of pictures "
            f"({', '.join(IMAGE)}) and one of translations ({', '.join(MACHINE)}) is wanted"
        )


def _name(image: str, ending: str) -> str:
    image = image.strip().replace("\\", "/").rpartition("/")[2]
    return image if "." in image else image + ending


def _line(text: str) -> str:
    """Put a text on one line, because a caption file has one line for each sentence."""
    return " ".join(text.split())
