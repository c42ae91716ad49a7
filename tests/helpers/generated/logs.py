"""Logs of `corpus build`, and files of `search --queries`."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from helpers.generated.case import refused
from helpers.generated.files import (
    Raw,
    Record,
    write_csv,
    write_json_list,
    write_jsonl,
    write_lines,
    write_parquet,
)
from helpers.generated.values import Values
from helpers.searchers import TEXTS as SEARCHED
from helpers.searchers import small_searcher
from r2d2.corpus.clicks.aggregate import aggregate
from r2d2.corpus.clicks.buckets import images_of, sums_of, texts_of, with_texts
from r2d2.corpus.clicks.log import find_logs, plan
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.config import CorpusConfig, make_corpus_config
from r2d2.corpus.runner import Runner
from r2d2.corpus.texts.spelling import spell_queries
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.search.batch_search import BatchReport, search_many
from r2d2.search.query import SearchQuery
from r2d2.search.searcher import Searcher

SOURCES = ("query", "title")
Key = tuple[str, str, str]  # address, source, text
Sums = dict[Key, tuple[int, int] | None]
BAD_COUNTS = ("abc", -1, math.inf, 1.5, "15e-1", 10**30)


@dataclass
class Log:
    """A log, what its rows add up to, and how many are left out."""

    path: Path
    sums: Sums = field(default_factory=dict)
    rows: int = 0
    dropped: int = 0

    def check(self) -> int:
        """Read it as a build does, and add up."""
        dropped = DroppedRows()
        read = refused(lambda: self._sums(dropped), may=not self.rows)
        if read is None:
            return 0
        kept, found = read
        told = "; ".join(dropped.lines())
        assert kept == self.rows, f"{self.rows} rows are good, {kept} kept: {told}"
        assert dropped.total == self.dropped, f"{self.dropped} rows left out: {told}"
        got = {key: tuple(total) if total else None for key, total in found.items()}
        assert got == self.sums, f"{set(got.items()) ^ set(self.sums.items())}: {told}"
        return kept

    def survive(self) -> None:
        """Read it after it was damaged."""
        _, found = refused(lambda: self._sums(DroppedRows()), may=True) or (0, {})
        for _, _, text in found:
            assert text == text.strip(), repr(text)
            assert not set("\ufffd\0") & set(text), repr(text)

    def _sums(self, dropped: DroppedRows) -> tuple[int, dict[Key, list[int] | None]]:
        """The rows that are kept, and what they add up to."""
        plan(find_logs([str(self.path)]), CorpusConfig())  # refuses what cannot be ranked
        config = make_corpus_config(settings=["rank.enabled=false"])
        with tempfile.TemporaryDirectory() as folder:
            (count,) = aggregate(
                [str(self.path)], config, Path(folder), runner=Runner(), memory_bytes=10**9,
                update=lambda *_: None,
            )  # fmt: skip
            rows = duckdb.sql(
                f"""SELECT image, source, text, clicks, impressions FROM
                {with_texts(*(of(Path(folder), 0) for of in (sums_of, images_of, texts_of)))}"""
            ).fetchall()
        for reason, number in count.dropped.items():
            dropped.add(reason, "; ".join(count.examples.get(reason, ())), number)
        found: dict[Key, list[int] | None] = {
            (image, TEXTS[source], text): None if clicks is None else [clicks, impressions]
            for image, source, text, clicks, impressions in rows
        }
        assert len(found) == len(rows), "a pair stands twice among the sums"
        return count.kept, found


def log(values: Values, folder: Path) -> Log:
    """Queries and titles of addresses, with clicks and impressions."""
    rng = values.rng
    suffix = rng.choice((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"))
    found = Log(folder / f"log{suffix}")
    kind = {".csv": "text", ".tsv": "text", ".parquet": "parquet"}.get(suffix, "json")
    records: list[Record | Raw] = []
    repeated: list[tuple[Record, bool]] = []
    for _ in range(rng.randrange(1, 9)):
        if kind == "json" and values.one_in(10):
            records.append(Raw(rng.choice(("[1]", "{oops", "null", "5"))))
            found.dropped += 1
            continue
        record, good = _row(values, kind)
        for _ in range(1 + values.one_in(5)):
            records.append(record)
            repeated.append((record, good))
    for record, good in repeated:
        found.rows += good
        found.dropped += not good
        if good:
            _add(found.sums, record)
    rows = [
        record if isinstance(record, Raw) else {k: v for k, v in record.items() if k[0] != "_"}
        for record in records
    ]
    names = ("url", "clicks", "impressions", "query", "title")
    if kind == "text":
        write_csv(found.path, names, rows, values)
    elif kind == "json":
        write_jsonl(found.path, rows, values)
        if not any(isinstance(row, dict) for row in rows):
            found.dropped = 0
    else:
        columns: dict[str, Any] = {n: [r[n] for r in rows if isinstance(r, dict)] for n in names}
        number = rng.choice((pa.float64(), pa.int64(), pa.string()))
        for name in ("clicks", "impressions"):
            columns[name] = pa.array(_numbers(columns[name], number), number)
        for name in ("url", "query", "title"):
            columns[name] = pa.array(columns[name], rng.choice((pa.string(), pa.large_string())))
        write_parquet(found.path, columns)
    return found


def _numbers(column: list[Any], kind: pa.DataType) -> list[Any]:
    if pa.types.is_string(kind):
        return [None if value is None else str(value) for value in column]
    if pa.types.is_integer(kind):
        return [None if value is None else int(value) for value in column]
    return column


def _row(values: Values, kind: str) -> tuple[Record, bool]:
    """A row of a log, and whether it is to be kept; what its texts are is under names with _."""
    rng = values.rng
    record: Record = {"url": f"https://e.org/{rng.randrange(4)}.jpg"}
    good = True
    if values.one_in(10):
        record["url"], good = rng.choice((None, "", " ")), False
    for name in SOURCES:
        record[name] = record[f"_{name}"] = None
        if values.one_in(5):
            record[name] = None if kind != "json" else rng.choice((None, "", "nan", math.nan))
            continue
        if values.one_in(12) and kind != "text":
            bad = ["小\ufffd狗", "小\0狗"]
            record[name] = rng.choice(bad if kind == "parquet" else [*bad, 5, True, {"a": 1}])
            good = False
            continue
        written, text = values.caption(line=True)
        record[name], record[f"_{name}"] = written.replace("\ufeff", ""), text
    if record["_query"] is None and record["_title"] is None:
        good = False
    impressions = rng.randrange(1, 50)
    clicks: Any = rng.choice((None, 0, rng.randrange(impressions + 1)))
    record["_clicks"] = clicks or 0
    if kind == "text" and clicks is None:
        clicks = rng.choice(("", "NULL", "None", "\\N"))  # NaN is no count
    record |= {"clicks": clicks, "impressions": impressions}
    if record["_query"] is not None and values.one_in(8):
        good = False
        odd = (impressions + 1, -1) if kind == "parquet" else (impressions + 1, *BAD_COUNTS)
        record["clicks"] = rng.choice(odd)
    elif record["_query"] is not None and values.one_in(10):
        good = False
        record["impressions"] = None
    return record, good


def _add(sums: Sums, record: Record) -> None:
    for name in SOURCES:
        text = record[f"_{name}"]
        if text is None:
            continue
        key = (record["url"], name, spell_queries([text])[0] if name == "query" else text)
        if name != "query":
            sums[key] = None
            continue
        clicks, impressions = sums.get(key) or (0, 0)
        sums[key] = (clicks + record["_clicks"], impressions + record["impressions"])


@functools.cache
def searcher() -> Searcher:
    """A small model over a small corpus: one for all inputs."""
    found: Searcher = small_searcher()
    return found


@dataclass
class Queries:
    """A file of queries: those that have an answer, and how many have none."""

    path: Path
    answered: list[str] = field(default_factory=list)
    dropped: int = 0

    def check(self) -> int:
        """Answer them."""
        out = self.path.with_name("answers.jsonl")
        done = refused(lambda: _search(self.path, out), may=not self.answered)
        if done is None:
            return 0
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        told = "; ".join(done.dropped.lines())
        queries = [line["query"] for line in lines if "hits" in line]
        assert queries == self.answered, f"{queries} instead of {self.answered}: {told}"
        assert done.answered == len(queries)
        assert done.dropped.total == self.dropped, f"{self.dropped} without an answer: {told}"
        return len(queries)

    def survive(self) -> None:
        """Answer them after the file was damaged."""
        out = self.path.with_name("answers.jsonl")
        done = refused(lambda: _search(self.path, out), may=True)
        if done is not None:
            count = len(out.read_text(encoding="utf-8").splitlines())
            assert done.answered <= count <= done.answered + done.dropped.total


def _search(file: Path, out: Path) -> BatchReport:
    with contextlib.redirect_stderr(io.StringIO()):  # the progress of hundreds of files
        return search_many(searcher(), file, out, SearchQuery(k=2))


def queries(values: Values, folder: Path) -> Queries:
    """A text a line, or JSON."""
    rng = values.rng
    suffix = rng.choice((".txt", ".txt", ".jsonl", ".ndjson", ".json"))
    found = Queries(folder / f"queries{suffix}")
    lines: list[Any] = []
    for _ in range(rng.randrange(1, 6)):
        text = rng.choice(SEARCHED)
        if values.one_in(5):
            found.dropped += 1
            if suffix == ".txt":
                lines.append(rng.choice(("nan", "None", "小\0狗", "小\ufffd狗")))
            elif suffix == ".json" or values.one_in(2):
                lines.append({"text": values.no_caption()})
            else:
                lines.append(Raw(rng.choice(("{oops", '{"text": "a", "text": "b"}', "[1]"))))
            continue
        found.answered.append(text)
        written = rng.choice(("{}", " {}", "{}\u3000", "\ufeff{}")).replace("{}", text)
        if suffix == ".txt":
            lines.append(written)
        else:
            lines.append({"text": written} | ({"id": rng.choice((1, "a", None))}))
    if suffix == ".txt":
        write_lines(found.path, lines, values)
    elif suffix == ".json":
        write_json_list(found.path, lines, values)
    else:
        write_jsonl(found.path, lines, values)
    return found
