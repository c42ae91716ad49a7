"""Stage 1: sum clicks and impressions per (image, query), however large the log.

An external aggregation in two steps. First every piece of the log is read in chunks, and each chunk
leaves a run on disk: its sums, sorted by image id. Then every part, a range of ids, takes its rows
out of all runs and sums them up again. Both steps are jobs that may run anywhere, in any order.
"""

from __future__ import annotations

import bisect
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.combine import RUN_IMAGES, RUN_PAIRS, combine
from r2d2.corpus.clicks.log import find_logs, plan, read_piece
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.clicks.sums import one_of_each, sum_pairs
from r2d2.corpus.config import CorpusConfig
from r2d2.corpus.engine import held_memory, map_columns
from r2d2.corpus.funnel import StageCount, add_counts
from r2d2.corpus.parts import map_parts
from r2d2.corpus.rows import (
    IMAGE_COLUMNS,
    IMAGES,
    PAIRS,
    QUERY,
    new_part,
    part_file,
    part_range,
    write_rows,
)
from r2d2.corpus.runner import start
from r2d2.corpus.texts.spelling import respell
from r2d2.errors import R2D2Error
from r2d2.files import disk_errors, write_text
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.progress import Update

log = logging.getLogger(__name__)

RUNS = "runs"
ROW_BYTES = 500  # what a row of a chunk takes while it is summed
CHUNK_SHARE = 8  # a chunk's bytes are at most this part of the memory
PART_SHARE = 6  # and a part's; both are held several times over
PART_BYTES = 128 << 20  # of a part, at most: what one attempt may lose, and what workers share
CHUNK_ROWS = (10_000, 1 << 20)  # at least, at most
CHUNK_BYTES = 1 << 30  # at most: Arrow's strings count to 2 GiB


@held_memory()
def aggregate(
    logs: Sequence[str],
    config: CorpusConfig,
    out: Path,
    *,
    memory_bytes: int,
    runner: str = "native",
    workers: int = 1,
    update: Update,
) -> list[StageCount]:
    """Sum logs into parts of pairs and images.

    What an interrupted call left in `out` is used again.

    Args:
        logs: files, folders, globs or URLs.
        config: which columns hold what, and whether there must be clicks.
        out: folder to write `pairs` and `images` into (PAIR_COLUMNS, IMAGE_COLUMNS).
        memory_bytes: of all workers together; it sets how many parts there are.
        runner: native, or ray.
        workers: jobs at a time.
        update: progress.

    Returns:
        One count of rows; its notes tell how many pairs and images, clicks and impressions.

    Raises:
        R2D2Error: there is no log, it lacks a column, or has no clicks to rank by.
    """
    places = start(runner, workers)
    share = memory_bytes // max(1, workers)
    scatter = Scatter(
        config.rank.examination,
        int(np.clip(share // ROW_BYTES, *CHUNK_ROWS)),
        min(share // CHUNK_SHARE, CHUNK_BYTES),
    )
    jobs = [
        {**piece, "name": f"{number:06d}", "out": str(out)}
        for number, piece in enumerate(plan(find_logs(logs), config))
    ]
    columns = all(job["format"] in ("parquet", "lance") for job in jobs)  # not Python line by line
    spread = map_columns if columns else map_parts
    counts = spread(scatter, jobs, places, "reading logs", update)
    rows = add_counts(counts) if counts else StageCount("aggregate", "rows", 0, 0)
    _need_rows(jobs, counts, rows)
    clicks = sum(count.notes["clicks"] for count in counts)
    if config.rank.active and not rows.kept:
        example = next((shown[0] for shown in rows.examples.values() if shown), "")
        raise R2D2Error(
            f"not one of {rows.seen:,} rows of the logs can be used ({_reasons(rows)}"
            f"{', such as ' * bool(example)}{example}): mend them, or map other columns by "
            "--set log.COLUMN=NAME"
        )
    if config.rank.active and clicks == 0:
        raise R2D2Error(
            f"the logs hold no click in {rows.seen} rows ({_reasons(rows)}): without clicks there "
            "is no ranking; map the column by --set log.clicks=NAME, or --set rank.enabled=false"
        )
    size = sum(count.notes["bytes"] for count in counts)
    parts = max(workers, -(-size // max(1, min(share // PART_SHARE, PART_BYTES))), 1)
    _keep_parts(out, [parts, jobs, asdict(scatter), config.query.simplified])
    gathered = map_columns(
        Gather(parts, tuple(f"{job['name']}-{n}" for job, count in zip(jobs, counts, strict=True)
                            for n in range(count.notes["runs"])), config.query.simplified),
        [{"out": str(out), "part": str(part)} for part in range(parts)],
        places,
        "summing up",
        update,
    )  # fmt: skip
    shutil.rmtree(out / RUNS, ignore_errors=True)
    names = ("pairs", "images", "clicks", "impressions")
    notes = {name: sum(part.notes[name] for part in gathered) for name in names}
    notes["null_clicks"] = sum(count.notes["null_clicks"] for count in counts)
    return [
        StageCount(
            "aggregate", "rows", rows.seen, rows.kept, rows.dropped, rows.examples, notes,
            rows.flows,
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class Scatter:
    """A piece of a log into runs, each sorted by image id."""

    examination: tuple[float, ...]
    rows: int  # of a chunk, at most about
    size: int  # of a chunk, in bytes

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Read one piece; its runs are valid once its count lies beside them."""
        folder, name = Path(job["out"]) / RUNS, job["name"]
        record = folder / f"{name}.json"
        source = {"job": job, "work": json.loads(json.dumps(asdict(self)))}
        if record.exists():
            done = json.loads(record.read_text(encoding="utf-8"))
            if done.pop("source") == source:
                return StageCount.from_dict(done)
        dropped, kept, clicks, size, runs, null_clicks = DroppedRows(), 0, 0, 0, 0, 0
        parts = [StageCount("aggregate", "rows", 0, 0)]
        for chunk in self._chunks(job, dropped):
            sums = combine(chunk, job["folder"], self.examination, dropped, job["file"])
            for kind, table in ((PAIRS, sums.pairs), (IMAGES, sums.images)):
                _write_run(folder / f"{name}-{runs}.{kind}.arrow", table)
                size += table.nbytes
            kept, runs = kept + sums.rows, runs + 1
            clicks += pc.sum(sums.pairs["clicks"]).as_py() or 0
            null_clicks += sums.null_clicks
            parts.append(StageCount("aggregate", "rows", 0, 0, flows=sums.flows))
        flows = add_counts(parts).flows
        seen = kept + dropped.total
        notes = {"clicks": clicks, "bytes": size, "runs": runs, "null_clicks": null_clicks}
        count = StageCount(
            "aggregate", "rows", seen, kept, dict(dropped.counts), dropped.first_examples(), notes,
            flows,
        )  # fmt: skip
        write_text(record, json.dumps({**count.to_dict(), "source": source}))
        return count

    def _chunks(self, job: dict[str, str], dropped: DroppedRows) -> Iterator[pa.Table]:
        held: list[pa.Table] = []
        rows = size = 0
        for table in read_piece(job, dropped):
            held.append(table)
            rows, size = rows + len(table), size + table.nbytes
            if rows >= self.rows or size >= self.size:
                yield pa.concat_tables(held, promote_options="permissive")
                held, rows, size = [], 0, 0
        if held:
            yield pa.concat_tables(held, promote_options="permissive")


@dataclass(frozen=True)
class Gather:
    """The rows of one part out of all runs, summed up and sorted."""

    parts: int
    runs: tuple[str, ...]
    simplified: bool  # queries in one spelling, traditional characters as simplified ones

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write one part of pairs and one of images."""
        out, part = Path(job["out"]), int(job["part"])
        record = out / RUNS / f"part-{part:04d}.json"
        if record.exists():
            return StageCount.from_dict(json.loads(record.read_text(encoding="utf-8")))
        rows = self._rows(out, PAIRS, part, RUN_PAIRS)
        query = rows["source"].to_numpy() == TEXTS.index(QUERY)
        texts = respell(rows["text"], query, self.simplified)
        pairs = sum_pairs(rows.set_column(rows.schema.get_field_index("text"), "text", texts))
        del rows, texts
        write_rows(part_file(out, PAIRS, part), pairs)
        notes = {
            "pairs": len(pairs),
            "clicks": pc.sum(pairs["clicks"]).as_py() or 0,
            "impressions": pc.sum(pairs["impressions"]).as_py() or 0,
        }
        del pairs
        images = self._rows(out, IMAGES, part, RUN_IMAGES)
        with new_part(part_file(out, IMAGES, part), IMAGE_COLUMNS) as writer:
            notes["images"] = 0
            for group in one_of_each(images):
                writer.write_table(group)
                notes["images"] += len(group)
        count = StageCount("aggregate", "pairs", notes["pairs"], notes["pairs"], notes=notes)
        write_text(record, json.dumps(count.to_dict()))
        return count

    def _rows(self, out: Path, kind: str, part: int, schema: pa.Schema) -> pa.Table:
        """Copied out of the runs, which are mapped: what is not touched is not read."""
        first, last = part_range(part, self.parts)
        slices = []
        for run in self.runs:
            with pa.memory_map(str(out / RUNS / f"{run}.{kind}.arrow")) as file:
                batch = pa.ipc.open_file(file).get_batch(0)
                ids = batch.column(0)
                start, stop = (
                    bisect.bisect_left(range(len(ids)), edge, key=lambda i: ids[i].as_py().hex())
                    for edge in (first, last)
                )
                slices.append(batch.take(pa.array(np.arange(start, stop))))
        wide = pa.schema(
            [(f.name, pa.large_string() if f.type == pa.string() else f.type) for f in schema]
        )
        table = pa.Table.from_batches(slices, schema).cast(wide)
        del slices
        return table.combine_chunks()


def _write_run(path: Path, table: pa.Table) -> None:
    """One batch, not compressed, so that a part can be cut out of the mapped file."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        batches = table.combine_chunks().to_batches() or [
            pa.RecordBatch.from_pylist([], table.schema)
        ]
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_batch(batches[0])


def _keep_parts(out: Path, origin: list[Any]) -> None:
    """Parts of an earlier attempt serve again if they were as many and came from the same runs."""
    record = out / RUNS / "origin.json"
    text = json.dumps(origin)
    if not record.exists() or record.read_text(encoding="utf-8") != text:
        for kind in (PAIRS, IMAGES):
            shutil.rmtree(out / kind, ignore_errors=True)
        for old in (out / RUNS).glob("part-*.json"):
            old.unlink()
        write_text(record, text)


def _need_rows(
    jobs: Sequence[dict[str, str]], counts: Sequence[StageCount], rows: StageCount
) -> None:
    """Say which logs have no row under the names of their columns; R2D2Error where none has."""
    seen: dict[str, int] = {}
    for job, count in zip(jobs, counts, strict=True):
        seen[job["file"]] = seen.get(job["file"], 0) + count.seen
    empty = [file for file, number in seen.items() if not number]
    shown = ", ".join(empty[:3]) + (", ..." if len(empty) > 3 else "")
    if not rows.seen:
        raise R2D2Error(
            f"the logs name their columns and hold no row ({shown}): write them out again, or give "
            "others"
        )
    if empty:
        log.warning("%d of %d logs hold no row: %s", len(empty), len(seen), shown)


def _reasons(rows: StageCount) -> str:
    found = [f"{name}: {count}" for name, count in rows.dropped.items()]
    return ", ".join(found) or "all well-formed"
