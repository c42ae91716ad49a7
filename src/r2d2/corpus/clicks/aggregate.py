"""Stage 1: sum clicks and impressions per (image, query), however large the log.

First every block of the log is summed: plain Parquet files of up to BLOCK_ROWS rows together by the
database itself, all else piece by piece through the readers, which count each broken row. Then the
sums of all blocks are put together by bucket, a range of image ids, with queries in one spelling.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from r2d2.corpus.clicks.batches import make_batch
from r2d2.corpus.clicks.blobs import BLOBS, run_bytes, write_run
from r2d2.corpus.clicks.buckets import (
    PLACES,
    SUMS,
    TOTALS,
    Cut,
    bucket_file,
    by_bucket,
    sums_of,
    write_cut,
)
from r2d2.corpus.clicks.checks import check_rows, image_id, named, quoted
from r2d2.corpus.clicks.log import find_logs, plan, read_piece
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.clicks.sums import (
    BLOCK,
    count_block,
    dropped_rows,
    example_rows,
    merge_sums,
    relation_types,
    sum_block,
)
from r2d2.corpus.clicks.text_cuts import cut_texts
from r2d2.corpus.config import CorpusConfig
from r2d2.corpus.engine import Database, open_database
from r2d2.corpus.funnel import StageCount, add_counts, read_count, write_count
from r2d2.corpus.rows import PAIR_ROWS, DroppedFile
from r2d2.corpus.runner import Runner, map_jobs
from r2d2.errors import R2D2Error, first_line
from r2d2.files import disk_errors, link_or_copy, whole_file, write_text
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.progress import Update

log = logging.getLogger(__name__)

RUNS = "runs"
READING = "reading logs"
BLOCK_ROWS = 1 << 27  # summed by one statement: what a kill may lose, some two minutes
PART_SHARE, PART_BYTES = 6, 128 << 20  # of the memory, and at most: a part of the next stages
ROW_BYTES = 500  # what a row of a chunk takes while it is summed
CHUNK_SHARE = 8  # a chunk's bytes are at most this part of the memory
CHUNK_ROWS = (10_000, 1 << 20)  # at least, at most
CHUNK_BYTES = 1 << 30  # at most: Arrow's strings count to 2 GiB
COMPRESSION = "FORMAT parquet, COMPRESSION snappy"


def aggregate(
    logs: Sequence[str],
    config: CorpusConfig,
    out: Path,
    *,
    places: Runner,
    memory_bytes: int,
    update: Update,
) -> list[StageCount]:
    """Sum logs.

    What an interrupted call left in `out` is used again: the blocks and the buckets that are whole.

    Args:
        logs: files, folders, globs or URLs.
        config: which columns hold what, and whether there must be clicks.
        out: folder to write `sums` into (SUMS), `places` (address and path of images that have more
            than an address) and `blobs` (encoded images).
        places: where to work; on one machine its workers are threads of the database, and processes
            for what Python reads.
        memory_bytes: for the whole process, with its workers.
        update: progress.

    Returns:
        One count of rows; its notes tell how many pairs and images, clicks and impressions.

    Raises:
        R2D2Error: there is no log, it lacks a column, or has no clicks to rank by.
    """
    workers = places.workers
    pieces = plan(find_logs(logs), config)
    if places.cluster:
        pieces = cut_texts(pieces, places, update)
    plain, other = ([], pieces) if places.cluster else _split(pieces)
    buckets = _buckets(pieces, workers if places.cluster else 1)
    share = memory_bytes // max(1, workers)
    blocks = [{"pieces": json.dumps(some)} for some in _blocks(plain)]
    jobs = [*blocks, *({"pieces": json.dumps([piece])} for piece in other)]
    jobs = [{**job, "name": f"{n:06d}", "out": str(out)} for n, job in enumerate(jobs)]
    examination, simplified = config.rank.examination, config.query.simplified
    whole = SumBlock(examination, buckets, memory_bytes, workers)
    counts = by_bucket(whole, jobs[: len(blocks)], Runner(), READING, update) if blocks else []
    if other:
        piecewise = SumBlock(examination, buckets, share, 1)
        counts += map_jobs(piecewise, jobs[len(blocks) :], places, READING, update)
    rows = add_counts(counts)
    _need_rows(pieces, jobs, counts, rows)
    _need_clicks(config, counts, rows)
    _keep_buckets(out, [jobs, simplified, list(examination), buckets])
    tasks = [{"out": str(out), "bucket": str(bucket)} for bucket in range(buckets)]
    alone = len(jobs) == 1
    work = (
        MergeBucket(alone, simplified, share, 1)
        if places.cluster
        else MergeBucket(alone, simplified, memory_bytes, workers)
    )
    merged = by_bucket(work, tasks, places, "summing up", update)
    shutil.rmtree(out / RUNS, ignore_errors=True)
    size = sum(file.stat().st_size for file in (out / TOTALS).iterdir()) + run_bytes(out)
    each = -(-size // (max(1, min(share // PART_SHARE, PART_BYTES)) * buckets))
    each = max(each, -(-workers // buckets), 1)
    write_cut(out, Cut(tuple(count.notes["images"] for count in merged), each * buckets))
    names = ("pairs", "images", "clicks", "impressions")
    notes = {name: sum(count.notes[name] for count in merged) for name in names}
    notes["null_clicks"] = sum(count.notes["null_clicks"] for count in counts)
    return [
        StageCount(
            "aggregate", "rows", rows.seen, rows.kept, rows.dropped, rows.examples, notes,
            rows.flows,
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class SumBlock:
    """The sums of a block of the log, by bucket."""

    examination: tuple[float, ...]
    buckets: int
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Sum a block; its sums are valid once its count lies beside them."""
        folder, name = Path(job["out"]) / RUNS, job["name"]
        record = folder / f"{name}.json"
        source = {"job": job, "examination": list(self.examination), "buckets": self.buckets}
        if record.exists():
            done = json.loads(record.read_text(encoding="utf-8"))
            if done.pop("source") == source:
                return StageCount.from_dict(done)
        pieces = json.loads(job["pieces"])
        work = folder / name
        shutil.rmtree(work, ignore_errors=True)
        for old in (Path(job["out"]) / BLOBS).glob(f"{name}-*.arrow"):
            old.unlink()
        with disk_errors(work):
            work.mkdir(parents=True)
        with (
            open_database(work, self.memory_bytes, self.threads) as base,
            DroppedFile(Path(job["out"]), "aggregate", "rows", name) as file,
        ):
            count = self._by_files(base, pieces, work, file) if _is_block(pieces) else None
            if count is None:
                count = self._by_batches(base, pieces, work, Path(job["out"]) / BLOBS, name, file)
        write_text(record, json.dumps({**count.to_dict(), "source": source}))
        return count

    def _by_files(
        self, base: Database, pieces: Sequence[dict[str, str]], work: Path, file: DroppedFile
    ) -> StageCount | None:
        """Sum Parquet files in one statement; None where the database cannot read one."""
        import duckdb

        columns = json.loads(pieces[0]["columns"])
        files = ", ".join(quoted(piece["file"]) for piece in pieces)
        chosen = ", ".join(f"{named(column)} AS {role}" for role, column in columns.items())
        source = f"read_parquet([{files}], filename = 'log_file')"
        rows = f"(SELECT {chosen} FROM {source})"
        nulls = any(piece["null_clicks"] for piece in pieces)
        try:
            types = relation_types(base, rows)
            self._write(base, sum_block(rows, types, self.examination, null_clicks=nulls), work)
        except (
            duckdb.InvalidInputException,  # texts that are no UTF-8, among others
            duckdb.NotImplementedException,
            duckdb.BinderException,
        ) as error:
            log.info("read by Arrow, for DuckDB says: %s", first_line(error))
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            return None
        sums = _block(work)
        count = count_block(base, sums)
        if not count.dropped:
            return count
        base.run("SET preserve_insertion_order = true")  # the first of the log
        rows = f"(SELECT {chosen}, log_file FROM {source})"
        dropped = DroppedRows()
        for reason in count.dropped:
            query = example_rows(rows, types, reason, self.examination, "log_file")
            _note_examples(dropped, reason, base.table(query))
        if file.wanted:
            query = dropped_rows(rows, types, self.examination, "log_file")
            _keep_dropped(base.batches(query, PAIR_ROWS), file)
        return count_block(base, sums, dropped.first_examples())

    def _by_batches(
        self,
        base: Database,
        pieces: Sequence[dict[str, str]],
        work: Path,
        blobs: Path,
        name: str,
        file: DroppedFile,
    ) -> StageCount:
        """Sum chunk by chunk, and the sums of the chunks."""
        dropped = DroppedRows(keep=lambda reason, where: file.add(reason, {}, where))
        shown, runs = DroppedRows(), 0
        base.run(
            "CREATE TABLE block (image VARCHAR, source UTINYINT, text VARCHAR, clicks BIGINT, "
            "impressions BIGINT, examined BIGINT, rows BIGINT, null_clicks BIGINT)"
        )
        base.run("CREATE TABLE places (image VARCHAR, url VARCHAR, path VARCHAR)")
        for piece, chunk in self._chunks(pieces, dropped):
            batch = make_batch(chunk, piece["folder"])
            with base.given("batch", batch.rows):
                types = relation_types(base, "batch")
                before = _reasons(base)
                columns = ", ".join(BLOCK)
                sums = sum_block("batch", types, self.examination)
                base.run(f"INSERT INTO block SELECT {columns} FROM ({sums})")
                for reason in _reasons(base) - before:
                    if len(shown.examples.get(reason, ())) < len(BLOCK):
                        query = example_rows("batch", types, reason, self.examination)
                        _note_examples(shown, reason, base.table(query), piece["file"])
                if file.wanted:
                    log_file = quoted(piece["file"])
                    query = dropped_rows("batch", types, self.examination, log_file)
                    _keep_dropped(base.table(query).to_batches(), file)
                if {"inline", "place"} & set(types):
                    self._note_places(base, types)
                if batch.images is not None:
                    kept = base.run(
                        f"SELECT DISTINCT key FROM ({check_rows('batch', types)}) "
                        "WHERE reason IS NULL AND inline IS NOT NULL"
                    )
                    keys = {key for (key,) in kept}
                    blob = blobs / f"{name}-{runs:06d}.arrow"
                    write_run(blob, batch.rows["inline"], batch.images, keys)
                    runs += 1
        total = ", ".join(f"sum({column})::BIGINT AS {column}" for column in BLOCK[3:])
        self._write(base, f"SELECT image, source, text, {total} FROM block GROUP BY ALL", work)
        if base.run("SELECT count(*) FROM places")[0][0]:
            self._write(
                base,
                "SELECT image, min(url) AS url, min(path) AS path FROM places GROUP BY image",
                work,
                PLACES,
            )
        count = count_block(base, _block(work), shown.first_examples())
        lines = dict(dropped.counts)
        return StageCount(
            count.stage, count.unit, count.seen + sum(lines.values()), count.kept,
            {**lines, **count.dropped}, {**dropped.first_examples(), **count.examples},
            count.notes, count.flows,
        )  # fmt: skip

    def _note_places(self, base: Database, types: dict[str, str]) -> None:
        path = "path" if "path" in types else "NULL"
        rows = check_rows("batch", types, self.examination)
        base.run(
            f"INSERT INTO places SELECT key, min(address), min({path}) FROM ({rows}) "
            "WHERE reason IS NULL GROUP BY key"
        )

    def _chunks(
        self, pieces: Sequence[dict[str, str]], dropped: DroppedRows
    ) -> Iterator[tuple[dict[str, str], pa.Table]]:
        most = int(np.clip(self.memory_bytes // ROW_BYTES, *CHUNK_ROWS))
        bytes_ = min(self.memory_bytes // CHUNK_SHARE, CHUNK_BYTES)
        for piece in pieces:
            held: list[pa.Table] = []
            rows = size = 0
            for table in read_piece(piece, dropped):
                held.append(table)
                rows, size = rows + len(table), size + table.nbytes
                if rows >= most or size >= bytes_:
                    yield piece, pa.concat_tables(held, promote_options="permissive")
                    held, rows, size = [], 0, 0
            if held:
                yield piece, pa.concat_tables(held, promote_options="permissive")

    def _write(self, base: Database, query: str, work: Path, kind: str = TOTALS) -> None:
        """Write rows by bucket."""
        target = work / kind
        if self.buckets == 1:
            target = target / "bucket=0"
            target.mkdir(parents=True, exist_ok=True)
            base.run(f"COPY ({query}) TO {quoted(str(target / 'data.parquet'))} ({COMPRESSION})")
            return
        prefix = f"('0x' || substr({image_id('image')}, 1, 8))::BIGINT"
        bucket = f"coalesce(({prefix} * {self.buckets}) >> 32, 0)"
        base.run(
            f"COPY (SELECT *, {bucket} AS bucket FROM ({query})) TO {quoted(str(target))} "
            f"({COMPRESSION}, PARTITION_BY (bucket))"
        )


@dataclass(frozen=True)
class MergeBucket:
    """The sums of all blocks that belong to one bucket, with queries in one spelling."""

    alone: bool  # there is one block
    simplified: bool  # traditional characters as simplified ones
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write the sums of a bucket, and the places of its images."""
        out, bucket = Path(job["out"]), int(job["bucket"])
        record = out / RUNS / f"bucket-{bucket:04d}.json"
        if (done := read_count(record)) is not None:
            return done
        files = sorted((out / RUNS).glob(f"*/{TOTALS}/bucket={bucket}/*.parquet"))
        places = sorted((out / RUNS).glob(f"*/{PLACES}/bucket={bucket}/*.parquet"))
        target = bucket_file(out, TOTALS, bucket)
        with open_database(out / RUNS, self.memory_bytes, self.threads, job=str(bucket)) as base:
            blocks = _block(out / RUNS, files)
            merged, images = merge_sums(
                base, f"(SELECT * FROM {blocks} WHERE image IS NOT NULL)", self.simplified,
                alone=self.alone,
            )  # fmt: skip
            if merged is None and len(files) == 1:
                link_or_copy(files[0], target)
            else:
                columns = ", ".join(SUMS)
                _copy(base, merged or f"SELECT {columns} FROM {blocks}", target)
            if places:
                query = "SELECT image, min(url) AS url, min(path) AS path"
                _copy(
                    base,
                    f"{query} FROM {_block(out / RUNS, places)} GROUP BY image",
                    bucket_file(out, PLACES, bucket),
                )
            ((pairs, clicks, impressions),) = base.run(
                f"SELECT count(*), sum(clicks), sum(impressions) FROM {sums_of(out, bucket)}"
            )
        notes = {
            "pairs": pairs,
            "images": images,
            "clicks": int(clicks or 0),
            "impressions": int(impressions or 0),
        }
        count = StageCount("aggregate", "pairs", pairs, pairs, notes=notes)
        write_count(record, count)
        return count


def _split(pieces: Sequence[dict[str, str]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The files that the database reads itself, one piece each, and the pieces of all others."""
    plain: dict[str, dict[str, str]] = {}
    other = []
    for piece in pieces:
        if not piece["plain"]:
            other.append(piece)
        elif piece["file"] in plain:
            whole = plain[piece["file"]]
            whole["cut"] = json.dumps([*json.loads(whole["cut"]), *json.loads(piece["cut"])])
            whole["rows"] = str(int(whole["rows"]) + int(piece["rows"]))
        else:
            plain[piece["file"]] = {**piece, "whole": "1"}
    return list(plain.values()), other


def _blocks(plain: Sequence[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Files of the same columns together, up to BLOCK_ROWS rows, a file at least."""
    held: list[dict[str, str]] = []
    rows = 0
    for piece in sorted(plain, key=lambda piece: (piece["plain"], piece["file"])):
        more = int(piece["rows"])
        if held and (piece["plain"] != held[0]["plain"] or rows + more > BLOCK_ROWS):
            yield held
            held, rows = [], 0
        held.append(piece)
        rows += more
    if held:
        yield held


def _is_block(pieces: Sequence[dict[str, str]]) -> bool:
    """Whether these are whole files that the database reads."""
    return all(piece["plain"] and "whole" in piece for piece in pieces)


def _buckets(pieces: Sequence[dict[str, str]], least: int) -> int:
    """In how many buckets the sums lie: each is put together from all blocks by one statement."""
    rows = sum(int(piece["rows"] or 0) for piece in pieces)
    return max(-(-rows // BLOCK_ROWS), least, 1)


def _block(folder: Path, files: Sequence[Path] | None = None) -> str:
    """A relation over the sums of a block, or over files."""
    found = files if files is not None else sorted((folder / TOTALS).glob("bucket=*/*.parquet"))
    listed = ", ".join(quoted(str(file)) for file in found)
    if not listed:
        columns = ", ".join(f"NULL::{'VARCHAR' if n in (0, 2) else 'BIGINT'} AS {name}"
                            for n, name in enumerate(BLOCK))  # fmt: skip
        return f"(SELECT {columns} WHERE false)"
    return f"read_parquet([{listed}], hive_partitioning = false)"


def _copy(base: Database, query: str, target: Path) -> None:
    """Write the rows of a query into a Parquet file, which appears whole or not at all."""
    with whole_file(target) as work:
        base.run(f"COPY ({query}) TO {quoted(str(work))} ({COMPRESSION})")


def _reasons(base: Database) -> set[str]:
    """For which reasons rows were left out so far."""
    return {text for (text,) in base.run("SELECT DISTINCT text FROM block WHERE image IS NULL")}


def _note_examples(
    dropped: DroppedRows, reason: str, rows: pa.Table, file: str | None = None
) -> None:
    for row in rows.to_pylist():
        name = row.pop("file") if file is None else file
        row.pop("file", None)
        dropped.add(reason, f"{name}: " + ", ".join(f"{k}={v}" for k, v in row.items()))


def _keep_dropped(batches: Iterable[pa.RecordBatch], file: DroppedFile) -> None:
    """Write the rows of `dropped_rows`; what stands in a row is its reason in words."""
    for batch in batches:
        for row in batch.to_pylist():
            rule, name = row.pop("reason"), row.pop("file")
            texts = ((source, row[source]) for source in TEXTS if row.get(source))
            source, text = next(texts, (None, None))
            known = {key: row.get(key) for key in ("image_id", "url", "path")}
            words = ", ".join(f"{k}={v}" for k, v in row.items() if k != "image_id")
            file.add(rule, {**known, "text": text, "source": source}, f"{name}: {words}")


def _keep_buckets(out: Path, origin: list[Any]) -> None:
    """Buckets of an earlier attempt serve again if they came from the same blocks."""
    record = out / RUNS / "origin.json"
    text = json.dumps(origin)
    if not record.exists() or record.read_text(encoding="utf-8") != text:
        for kind in (TOTALS, PLACES):
            shutil.rmtree(out / kind, ignore_errors=True)
        for old in (out / RUNS).glob("bucket-*.json"):
            old.unlink()
        write_text(record, text)


def _need_rows(
    pieces: Sequence[dict[str, str]],
    jobs: Sequence[dict[str, str]],
    counts: Sequence[StageCount],
    rows: StageCount,
) -> None:
    """Say which logs have no row under the names of their columns; R2D2Error where none has."""
    seen: dict[str, int] = dict.fromkeys((piece["file"] for piece in pieces), 0)
    for job, count in zip(jobs, counts, strict=True):
        some = json.loads(job["pieces"])
        for piece in some:
            seen[piece["file"]] += int(piece["rows"] or 0) if len(some) > 1 else count.seen
    empty = [file for file, number in seen.items() if not number]
    shown = ", ".join(empty[:3]) + (", ..." if len(empty) > 3 else "")
    if not rows.seen:
        raise R2D2Error(
            f"the logs name their columns and hold no row ({shown}): write them out again, or give "
            "others"
        )
    if empty:
        log.warning("%d of %d logs hold no row: %s", len(empty), len(seen), shown)


def _need_clicks(config: CorpusConfig, counts: Sequence[StageCount], rows: StageCount) -> None:
    """R2D2Error where there is nothing to rank by."""
    if not config.rank.active:
        return
    reasons = ", ".join(f"{name}: {n}" for name, n in rows.dropped.items()) or "all well-formed"
    if not rows.kept:
        example = next((shown[0] for shown in rows.examples.values() if shown), "")
        raise R2D2Error(
            f"not one of {rows.seen:,} rows of the logs can be used ({reasons}"
            f"{', such as ' * bool(example)}{example}): mend them, or map other columns by "
            "--set log.COLUMN=NAME"
        )
    if not sum(count.notes["clicks"] for count in counts):
        raise R2D2Error(
            f"the logs hold no click in {rows.seen} rows ({reasons}): without clicks there "
            "is no ranking; map the column by --set log.clicks=NAME, or --set rank.enabled=false"
        )
