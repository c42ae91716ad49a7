"""Stage 1: sum clicks and impressions per (image, query), however large the log.

First every block of the log is summed: plain Parquet files of up to `block_rows` together by the
database itself, all else piece by piece through the readers, which count each broken row. Queries
get their one spelling there. Then the sums of all blocks are put together by bucket, a range of
image ids.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from r2d2.corpus.clicks.blobs import run_bytes
from r2d2.corpus.clicks.block import RUNS, SumBlock
from r2d2.corpus.clicks.buckets import (
    IMAGE_TOTALS,
    PLACES,
    TEXT_TABLE,
    TOTALS,
    BucketLayout,
    by_bucket,
    write_layout,
)
from r2d2.corpus.clicks.engine import OUT_OF_MEMORY
from r2d2.corpus.clicks.log import find_logs, plan
from r2d2.corpus.clicks.merge import MergeBucket
from r2d2.corpus.clicks.text_cuts import cut_texts
from r2d2.corpus.clicks.text_keys import KeyCollisionError, TextKeys
from r2d2.corpus.config import CorpusConfig
from r2d2.corpus.funnel import StageCount, add_counts
from r2d2.corpus.runner import Runner, map_jobs
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.progress import Update

T = TypeVar("T")
log = logging.getLogger(__name__)

READING = "reading logs"
# Rows summed by one statement, at least and at most: what a kill may lose is some two minutes
BLOCK_ROWS = (1 << 20, 1 << 27)
SUMMED_BYTES = 8  # of memory for each row: the database spills the rest of its sums
SMALLER = 4  # times fewer rows in a block, where the database runs out of memory
LIMIT = "block_rows.json"  # the rows of a block, once they were made fewer
PAIR_BYTES = 40  # of a pair in a compressed file, without its text where that has many pairs
SEEDS = 5  # hashes that are tried: two of 100 million texts have one key with probability 0.0003
PART_SHARE, PART_BYTES = 6, 128 << 20  # of the memory, and at most: a part of the next stages


def aggregate(
    logs: Sequence[str],
    config: CorpusConfig,
    out: Path,
    *,
    runner: Runner,
    memory_bytes: int,
    update: Update,
    keys: TextKeys = TextKeys(),
) -> list[StageCount]:
    """Sum logs.

    What an interrupted call left in `out` is used again: the blocks and the buckets that are whole.
    In the rare case that two texts have one key, everything is summed again by another hash. Where
    the memory does not suffice for a block, everything is summed again in smaller blocks.

    Args:
        logs: files, folders, globs or URLs.
        config: which columns hold what, and whether there must be clicks.
        out: folder to write `sums` into (SUMS), `image_sums`, `texts`, `places` (address and path
            of images that have more than an address) and `blobs` (encoded images).
        runner: who does the jobs; on one machine its workers are threads of the database, and
            processes for what Python reads.
        memory_bytes: for the whole process, with its workers.
        update: progress.
        keys: the hash that is tried first.

    Returns:
        One count of rows; its notes tell how many pairs and images, clicks and impressions.

    Raises:
        R2D2Error: there is no log, it lacks a column, or has no clicks to rank by.
    """
    workers = runner.workers
    pieces = plan(find_logs(logs), config)
    if runner.cluster:
        pieces = cut_texts(pieces, runner, update)
    plain, other = ([], pieces) if runner.cluster else _split(pieces)
    share = memory_bytes // workers
    database_bytes, threads = runner.database_share(memory_bytes)
    # a task of a cluster that runs out of memory ends the build, so its blocks are small at once
    most = block_rows(database_bytes // SMALLER if runner.cluster else database_bytes)
    examination, spelled = config.rank.examination, config.query.simplified

    def sum_by(keys: TextKeys, most: int) -> tuple[StageCount, list[StageCount], list[StageCount]]:
        """All rows, those of each job, and what each bucket holds."""
        buckets = _buckets(pieces, most, workers if runner.cluster else 1)
        blocks = [json.dumps(block) for block in _blocks(plain, most)]
        listed = [*blocks, *(json.dumps([piece]) for piece in other)]
        jobs = [
            {"pieces": block, "name": f"{n:06d}", "out": str(out)} for n, block in enumerate(listed)
        ]
        whole = SumBlock(examination, spelled, keys, buckets, memory_bytes, workers)
        counts = []
        if blocks:
            counts += by_bucket(whole, jobs[: len(blocks)], Runner(), READING, update)
        if other:
            piecewise = replace(whole, memory_bytes=share, threads=1)
            counts += map_jobs(piecewise, jobs[len(blocks) :], runner, READING, update)
        rows = add_counts(counts)
        _need_rows(pieces, jobs, counts, rows)
        _need_clicks(config, counts, rows)
        _keep_buckets(out, [jobs, asdict(replace(whole, memory_bytes=0, threads=0))])
        tasks = [{"out": str(out), "bucket": str(bucket)} for bucket in range(buckets)]
        work = MergeBucket(database_bytes, threads)
        return rows, counts, by_bucket(work, tasks, runner, "summing up", update)

    known = sum(int(piece["rows"] or 0) for piece in pieces)
    rows, counts, merged = _with_retries(sum_by, keys, min(most, max(known, 1)), out / RUNS / LIMIT)
    shutil.rmtree(out / RUNS, ignore_errors=True)
    buckets = len(merged)
    size = sum(count.notes["pairs"] for count in merged) * PAIR_BYTES + run_bytes(out)
    size += sum(file.stat().st_size for file in (out / TEXT_TABLE).iterdir())
    each = -(-size // (max(1, min(share // PART_SHARE, PART_BYTES)) * buckets))
    each = max(each, -(-workers // buckets), 1)
    write_layout(
        out, BucketLayout(tuple(count.notes["images"] for count in merged), each * buckets)
    )
    names = ("pairs", "images", "clicks", "impressions")
    notes = {name: sum(count.notes[name] for count in merged) for name in names}
    notes["null_clicks"] = sum(count.notes["null_clicks"] for count in counts)
    return [replace(rows, notes=notes)]


def _with_retries(
    sum_by: Callable[[TextKeys, int], T], keys: TextKeys, rows: int, record: Path
) -> T:
    """The sums by a hash under which no two texts have one key, in blocks that the memory holds.

    Args:
        sum_by: sums the log by a hash, in blocks of at most so many rows.
        keys: the hash that is tried first; SEEDS hashes are tried.
        rows: of a block at first.
        record: keeps a smaller number of rows, for a call that goes on with this one's work.
    """
    if record.exists():
        rows = min(rows, int(record.read_text(encoding="utf-8")))
    while True:
        try:
            return sum_by(keys, rows)
        except KeyCollisionError as error:
            log.info("summed again by another hash, because of %s", error)
            keys = TextKeys(keys.seed + 1)
            if keys.seed == SEEDS:
                raise
        except R2D2Error as error:
            smaller = max(rows // SMALLER, BLOCK_ROWS[0])
            if error.code != OUT_OF_MEMORY or smaller >= rows:
                raise
            log.info("summed again in blocks of %d rows, because %s", smaller, error)
            rows = smaller
            write_text(record, str(rows))


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


def block_rows(memory_bytes: int) -> int:
    """How many rows one statement sums within so much memory."""
    least, most = BLOCK_ROWS
    return max(least, min(most, memory_bytes // SUMMED_BYTES))


def _blocks(plain: Sequence[dict[str, str]], most: int) -> Iterator[list[dict[str, str]]]:
    """Files of the same columns together, up to `most` rows, a file at least."""
    held: list[dict[str, str]] = []
    rows = 0
    for piece in sorted(plain, key=lambda piece: (piece["plain"], piece["file"])):
        more = int(piece["rows"])
        if held and (piece["plain"] != held[0]["plain"] or rows + more > most):
            yield held
            held, rows = [], 0
        held.append(piece)
        rows += more
    if held:
        yield held


def _buckets(pieces: Sequence[dict[str, str]], most: int, least: int) -> int:
    """In how many buckets the sums lie: each is put together from all blocks by one statement."""
    rows = sum(int(piece["rows"] or 0) for piece in pieces)
    return max(-(-rows // most), least, 1)


def _keep_buckets(out: Path, origin: list[Any]) -> None:
    """Buckets of an earlier attempt serve again if they came from the same blocks."""
    record = out / RUNS / "origin.json"
    text = json.dumps(origin)
    if not record.exists() or record.read_text(encoding="utf-8") != text:
        for kind in (TOTALS, IMAGE_TOTALS, TEXT_TABLE, PLACES):
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
        block = json.loads(job["pieces"])
        for piece in block:
            seen[piece["file"]] += int(piece["rows"] or 0) if len(block) > 1 else count.seen
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
