"""Translate the sentences of a job in two passes by two people.

In the first pass, a person translates each sentence and sees the machine's translation. In the
second, another person checks the translation, and accepts it or writes a better one. The sheets are
CSV files, which any spreadsheet program opens. Every version is kept in passes.jsonl, and the last
version of each sentence counts.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from r2d2.downstream.sentences import Sentence
from r2d2.downstream.sheets import read_sheet
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder, write_text
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.encoding import read_text, split_lines
from r2d2.outputs import a_folder, check_outputs

Checks = Mapping[tuple[str, str], tuple[str, str, str]]  # a checker's cells, by id and translation

SENTENCES, PASSES = "sentences.jsonl", "passes.jsonl"
FIRST = ("id", "image", "source", "machine", "translation", "translator")
SECOND = (*FIRST, "checked", "checker", "note")
SHEETS = {1: "pass-1.csv", 2: "pass-2.csv"}
ACCEPTED = ("ok", "√", "✓", "对", "同意", "正确")  # in the column `checked`: no change is needed


@dataclass(frozen=True)
class SentenceVersion:
    """One person's version of one sentence."""

    id: str
    number: int  # the number of the pass: 1 translated, 2 checked
    text: str
    by: str
    note: str = ""


Record = TypeVar("Record", Sentence, SentenceVersion)
TYPES: dict[Any, type] = {"str": str, "int": int}  # the types of the fields of a record, by name


@dataclass
class TranslationJob:
    """The state of a translation job, which is a folder."""

    folder: Path
    sentences: dict[str, Sentence]
    first: dict[str, SentenceVersion] = field(default_factory=dict)  # last versions of pass 1
    second: dict[str, SentenceVersion] = field(default_factory=dict)  # last versions of pass 2


@dataclass
class SheetResult:
    """The rows of a sheet that were recorded, and those that were left out."""

    number: int  # the number of the pass
    rows: int = 0
    dropped: DroppedRows = field(default_factory=DroppedRows)


def is_unanswered(folder: Path) -> bool:
    """Return whether a folder has a job without any recorded answer; only such are replaced."""
    return (folder / SENTENCES).is_file() and not (folder / PASSES).exists()


def start_job(
    folder: Path, sentences: Sequence[Sentence], *, overwrite: bool = False
) -> TranslationJob:
    """Write a job with its first sheet; raise R2D2Error where the folder exists."""
    check_outputs([a_folder(folder, is_unanswered)], overwrite=overwrite)
    job = TranslationJob(folder, {sentence.id: sentence for sentence in sentences})
    with whole_folder(folder) as work:
        (work / SENTENCES).write_text(_json_lines(map(asdict, sentences)), encoding="utf-8")
        (work / SHEETS[1]).write_text(sheet(job, 1), encoding="utf-8-sig", newline="")
    return job


def open_job(folder: Path) -> TranslationJob:
    """Read the state of a job; raise R2D2Error where there is none, or where it is damaged."""
    if not (folder / SENTENCES).is_file():
        raise R2D2Error(f"{folder} is no translation job: start one by `translate-review export`")
    sentences = _read(folder / SENTENCES, Sentence)
    if not sentences:
        raise R2D2Error(f"{folder / SENTENCES} is empty: start the job again")
    job = TranslationJob(folder, {sentence.id: sentence for sentence in sentences})
    for version in _passes(folder):
        if version.id not in job.sentences or version.number not in SHEETS:
            raise R2D2Error(f"{folder / PASSES} is of another job: it is about {version.id}")
        if version.number == 2 and version.id not in job.first:
            raise R2D2Error(
                f"{folder / PASSES} is damaged: {version.id} is checked, not translated"
            )
        _put(job, version)
    return job


def sheet(job: TranslationJob, number: int, filled: Checks | None = None) -> str:
    """Return the sentences that a pass still lacks as CSV.

    Args:
        job: the job.
        number: the number of the pass.
        filled: for the second pass, the cells that checkers have already filled in.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(FIRST if number == 1 else SECOND)
    for sentence in job.sentences.values():
        first = job.first.get(sentence.id)
        head = (sentence.id, sentence.image, sentence.source, sentence.machine)
        if number == 1 and first is None:
            writer.writerow((*head, "", ""))
        elif number == 2 and first is not None and sentence.id not in job.second:
            check = (filled or {}).get((sentence.id, first.text), ("", "", ""))
            writer.writerow((*head, first.text, first.by, *check))
    return out.getvalue()


def _filled(job: TranslationJob) -> Checks:
    """Read what checkers have written into the sheet in the job's folder."""
    file = job.folder / SHEETS[2]
    rows = read_sheet(file, DroppedRows())[1] if file.is_file() else ()
    return {
        (row.get("id", ""), row.get("translation", "")): (
            row.get("checked", ""), row.get("checker", ""), row.get("note", ""),
        )
        for _, row in rows
    }  # fmt: skip


def take_sheet(job: TranslationJob, file: Path, by: str | None = None) -> SheetResult:
    """Record a filled sheet of either pass, and write the sheet of the second pass.

    Args:
        job: the job; the versions of the sheet are added to it.
        file: CSV in UTF-8, GB18030 or UTF-16; rows that cannot be read are counted.
        by: the person for rows that name nobody.

    Raises:
        R2D2Error: the file is not a sheet of this job, or no row of it is filled in.
    """
    dropped = DroppedRows()
    columns, read = read_sheet(file, dropped)
    rows = list(read)
    number = 2 if "checked" in columns else 1
    if not {"id", "translation"} <= set(columns):
        raise R2D2Error(
            f"{file} has columns {', '.join(columns) or 'none'}: give a filled "
            f"{SHEETS[1]} or {SHEETS[2]}"
        )
    versions = []
    for where, row in rows:
        folded = {key: " ".join(value.split()) for key, value in row.items()}
        version = _version(job, folded, number, by, where, dropped)
        if version is not None:
            versions.append(version)
    if rows and dropped.counts["of another job"] == len(rows):
        raise R2D2Error(f"{file} is a sheet of another job: not one of its ids is in {job.folder}")
    if not versions:
        why = dropped.reasons() or "no row"
        raise R2D2Error(f"{file} says nothing ({why}): fill it in first")
    earlier = _passes(job.folder)
    for version in versions:
        _put(job, version)
    write_text(job.folder / PASSES, _json_lines(map(asdict, [*earlier, *versions])))
    write_text(job.folder / SHEETS[2], "\ufeff" + sheet(job, 2, _filled(job)))
    return SheetResult(number, len(versions), dropped)


def captions(job: TranslationJob, tag: str, partial: bool) -> list[str]:
    """Return the lines of a caption file, `NAME.jpg#tag#k caption`, in the form of Flickr30k-CNA.

    Raises:
        R2D2Error: not all sentences are checked and `partial` is False, or none is checked.
    """
    missing = len(job.sentences) - len(job.second)
    if missing and not partial:
        raise R2D2Error(
            f"{job.folder}: {missing:,} of {len(job.sentences):,} sentences are not checked by a "
            "second person: fill in its sheet, or give --partial"
        )
    if not job.second:
        raise R2D2Error(f"{job.folder}: not one sentence is checked by a second person")
    return [
        f"{sentence.image}#{tag}#{sentence.k} {job.second[sentence.id].text}"
        for sentence in job.sentences.values()
        if sentence.id in job.second
    ]


def _version(
    job: TranslationJob,
    row: dict[str, str],
    number: int,
    by: str | None,
    where: str,
    dropped: DroppedRows,
) -> SentenceVersion | None:
    """Return the version in a row; None, with the reason counted, where it has none."""
    name = row.get("id", "")
    if name not in job.sentences:
        dropped.add("of another job", where)
        return None
    column, person = ("translation", "translator") if number == 1 else ("checked", "checker")
    text, author = row.get(column, ""), row.get(person, "") or by or ""
    if not text:
        dropped.add("not filled in", where)
        return None
    if not author:
        dropped.add(f"no {person} named", where)
        return None
    if number == 1:
        if name in job.second:
            dropped.add("checked already", where)
            return None
        return SentenceVersion(name, 1, text, author)
    first = job.first.get(name)
    if first is None:
        dropped.add("not translated yet", where)
        return None
    if row.get("translation", first.text) != first.text:
        dropped.add("its translation was changed in the sheet, or since", where)
        return None
    if author == first.by:
        dropped.add("checked by its own translator", where)
        return None
    final = first.text if text.lower() in ACCEPTED else text
    return SentenceVersion(name, 2, final, author, row.get("note", ""))


def _put(job: TranslationJob, version: SentenceVersion) -> None:
    (job.first if version.number == 1 else job.second)[version.id] = version


def _passes(folder: Path) -> list[SentenceVersion]:
    return _read(folder / PASSES, SentenceVersion) if (folder / PASSES).exists() else []


def _read(path: Path, kind: type[Record]) -> list[Record]:
    """Read the records of a file of a job; raise R2D2Error where a line is damaged."""
    records = []
    for number, line in enumerate(split_lines(read_text(path)), 1):
        if not line.strip():
            continue
        try:
            row = kind(**json.loads(line))
            if any(TYPES[f.type] is not type(getattr(row, f.name)) for f in fields(row)):
                raise TypeError("a value of the wrong type")
        except (ValueError, TypeError, RecursionError) as error:
            raise R2D2Error(
                f"{path}, line {number} is damaged ({error}): restore it, or start the job again"
            ) from error
        records.append(row)
    return records


def _json_lines(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
