"""Stage 2: keep the pairs that people click, by smoothed click-through rate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from r2d2.corpus.clicks.blobs import open_blobs
from r2d2.corpus.clicks.buckets import (
    PLACES,
    Cut,
    bucket_file,
    by_bucket,
    read_cut,
    sums_of,
)
from r2d2.corpus.clicks.checks import EXAMINED_UNIT, image_id, quoted
from r2d2.corpus.clicks.ctr import Prior
from r2d2.corpus.clicks.cut import TALLY, LastPair, find_cut, is_below, scored, scores_of
from r2d2.corpus.clicks.log_columns import TEXTS
from r2d2.corpus.config import RankConfig
from r2d2.corpus.engine import Database, open_database
from r2d2.corpus.funnel import (
    COUNTED,
    EXAMPLES,
    Flow,
    StageCount,
    add_counts,
    read_count,
    write_count,
)
from r2d2.corpus.rows import (
    GROUP_BYTES,
    IMAGE_COLUMNS,
    IMAGES,
    PAIR_COLUMNS,
    PAIR_ROWS,
    PAIRS,
    DroppedFile,
    new_part,
    part_file,
    part_range,
)
from r2d2.corpus.runner import Runner
from r2d2.files import write_text
from r2d2.progress import Update

DONE = "done"  # folder of the counts of finished buckets
NO_QUERY = "no query left"
LEAST = "least.json"  # the rate of the last pair kept
MEMORY = 2_000_000_000


def rank(
    inp: Path,
    out: Path,
    config: RankConfig,
    *,
    places: Runner,
    update: Update,
    memory_bytes: int = MEMORY,
) -> list[StageCount]:
    """Rank the queries of all images, and keep the best.

    Args:
        inp: folder of the sums, from `aggregate`.
        out: folder to write `pairs` and `images` into, `prior.json` (see `read_prior`) and
            `least.json` (see `read_least`).
        config: the rules; not enabled, everything passes and `ctr` stays null.
        places: where to work.
        update: progress.
        memory_bytes: for the whole process.

    Returns:
        Counts of pairs by the rule that dropped them, and of images, which live by their queries.
        The notes of the first tell the prior, and how many images of which no query ranked were
        shown how often.
    """
    cut = read_cut(inp)
    jobs = [{"inp": str(inp), "out": str(out), "bucket": str(n)} for n in range(len(cut.images))]
    share = memory_bytes // max(1, places.workers) if places.cluster else memory_bytes
    prior, last = Prior(), None
    if config.active:
        prior, last = find_cut(inp, out, config, jobs, places, share, update)
        write_text(out / LEAST, json.dumps(_least(config, last)))
    threads = 1 if places.cluster else places.workers
    work = RankBucket(config, prior, last, cut, share, threads)
    counts = by_bucket(work, jobs, places, "ranking", update)
    shutil.rmtree(out / TALLY, ignore_errors=True)
    shutil.rmtree(out / DONE, ignore_errors=True)
    seen, kept = sum(cut.images), sum(count.notes["images_kept"] for count in counts)
    notes: dict[str, float] = {}
    if config.active:
        notes = {"alpha": prior.alpha, "beta": prior.beta}
    if seen > kept:
        aside = sum(count.notes.get("aside_impressions", 0) for count in counts)
        notes |= {"aside_images": seen - kept, "aside_impressions": aside}
    pairs = add_counts(counts)
    return [
        StageCount(
            "rank", "pairs", pairs.seen, pairs.kept, pairs.dropped, pairs.examples, notes,
            pairs.flows,
        ),
        StageCount(
            "rank", "images", seen, kept, {NO_QUERY: seen - kept} if seen > kept else {}
        ),
    ]  # fmt: skip


def read_least(folder: Path) -> float:
    """The rate below which `rank` kept no pair; 0 where it made no cut by rate."""
    try:
        return float(json.loads((folder / LEAST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return 0.0


def _least(config: RankConfig, last: LastPair | None) -> float:
    if config.threshold is not None:
        return float(np.float32(config.threshold))
    return 0.0 if last is None else min(last.score, 1.0)


@dataclass(frozen=True)
class RankBucket:
    """The pairs of a bucket that stay, and their images."""

    config: RankConfig
    prior: Prior
    last: LastPair | None
    cut: Cut
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write the parts of a bucket, of pairs and of images."""
        inp, out, bucket = Path(job["inp"]), Path(job["out"]), int(job["bucket"])
        record = out / DONE / f"bucket-{bucket:04d}.json"
        if (done := read_count(record)) is not None:
            return done
        with open_database(out / DONE, self.memory_bytes, self.threads, job=str(bucket)) as base:
            sums = sums_of(inp, bucket)
            with DroppedFile(out, "rank", "pairs", f"{bucket:04d}") as dropped:
                count = rank_block(base, sums, self.config, self.prior, self.last, dropped)
            with DroppedFile(out, "rank", "images", f"{bucket:04d}") as dropped:
                _keep_images(base, sums, dropped)
            parts = self.cut.parts_of(bucket)
            write_pairs(base, out, parts, self.cut.parts)
            kept = write_images(base, inp, bucket, out, parts, self.cut.parts)
        notes = {**count.notes, "images_kept": kept}
        count = replace(count, notes=notes)
        write_count(record, count)
        return count


def rank_block(
    base: Database,
    sums: str,
    config: RankConfig,
    prior: Prior,
    last: LastPair | None,
    dropped: DroppedFile | None = None,
) -> StageCount:
    """Rank the pairs of a block of images.

    Args:
        base: where the relation is. Tables are left in it: `ranked` (`image`, `source`, `text`,
            counts and `ctr` of the pairs that stay) and `alive` (`image`, `image_id`, and whether
            it is `ranked`: with `copies`, others go on as well).
        sums: a relation with the columns SUMS, all pairs of its images.
        config: the rules.
        prior: of the whole log.
        last: of the whole log; see `cut.find_cut`.
        dropped: takes the pairs that do not stay.

    Returns:
        A count of pairs; its notes tell how often images were shown of which none is left.
    """
    columns = "image, source, text, clicks, impressions, examined"
    if not config.active:
        base.run(f"CREATE TABLE ranked AS SELECT {columns}, NULL::FLOAT AS ctr FROM {sums}")
        base.run(f"CREATE TABLE alive AS {_images_of('ranked', ranked=True)}")
        ((pairs, clicks, impressions),) = base.run(f"SELECT {_TOTALS} FROM {sums}")
        return _stage_count((pairs, clicks, impressions), {}, {}, {})
    base.run(f"CREATE VIEW scores AS {scores_of(sums, config, prior)}")
    base.run(f"CREATE VIEW scored AS {scored('scores', config, last)}")
    base.run(
        f"""CREATE TABLE passing AS SELECT {columns}, ctr, row_number() OVER (
            PARTITION BY image ORDER BY ctr DESC, text) AS place
        FROM scored WHERE source = 0 AND rule = 0"""
    )
    best_queries = f"passing WHERE place <= {config.max_queries}"
    base.run(f"CREATE TABLE alive AS {_images_of(best_queries, ranked=True)}")
    base.run(
        f"""CREATE VIEW ranked AS SELECT {columns}, ctr FROM passing
        WHERE place <= {config.max_queries} UNION ALL SELECT {columns}, ctr FROM scored
        WHERE source > 0 AND image IN (SELECT image FROM alive WHERE ranked)"""
    )
    rules = _rules(config)
    count = _count_ranked(base, sums, config, last, rules)
    if dropped is not None and dropped.wanted:
        for rule, rows in rules.items():
            query = f"""SELECT {image_id("image")} AS image_id, text, {_source()} AS source,
                clicks, impressions FROM {rows}"""
            for batch in base.batches(query, PAIR_ROWS):
                dropped.add_table(rule, pa.Table.from_batches([batch]))
    if config.copies:
        others = f"{sums} WHERE image NOT IN (SELECT image FROM alive)"
        base.run(f"INSERT INTO alive {_images_of(others, ranked=False)}")
    return count


def _keep_images(base: Database, sums: str, dropped: DroppedFile) -> None:
    """Write the images of which `rank_block` left nothing; their reason is where they are."""
    if not dropped.wanted:
        return
    query = f"""SELECT {image_id("image")} AS image_id,
        CASE WHEN NOT starts_with(image, chr(0)) THEN image END AS place,
        sum(clicks)::BIGINT AS clicks, sum(impressions)::BIGINT AS impressions
        FROM {sums} WHERE image NOT IN (SELECT image FROM alive) GROUP BY image"""
    for batch in base.batches(query, PAIR_ROWS):
        for row in batch.to_pylist():
            dropped.add(NO_QUERY, row, row["place"])


def _source() -> str:
    """The name of a pair's source."""
    names = " ".join(f"WHEN {n} THEN {quoted(name)}" for n, name in enumerate(TEXTS))
    return f"CASE source {names} END"


def _images_of(pairs: str, *, ranked: bool) -> str:
    """A SELECT of the images of some pairs, and their ids."""
    return f"""SELECT image, {image_id("image")} AS image_id, {ranked} AS ranked
        FROM (SELECT DISTINCT image FROM {pairs})"""


def _cut_name(config: RankConfig) -> str:
    """The setting by which pairs are dropped for their rate."""
    names = ("top_share", "top_count")
    return next((name for name in names if getattr(config, name) is not None), "threshold")


def _rules(config: RankConfig) -> dict[str, str]:
    """The pairs that each rule of `rank_block` drops, as what stands after FROM."""
    return {
        "min_impressions": "scored WHERE rule = 1",
        "min_clicks": "scored WHERE rule = 2",
        _cut_name(config): "scored WHERE rule = 3",
        "max_queries": f"passing WHERE place > {config.max_queries}",
        NO_QUERY: "scored WHERE source > 0 AND image NOT IN (SELECT image FROM alive)",
    }


def _count_ranked(
    base: Database,
    sums: str,
    config: RankConfig,
    last: LastPair | None,
    rules: Mapping[str, str],
) -> StageCount:
    """What each rule of `rank_block` drops, with examples, and what stays."""
    best = _cut_name(config)
    # numbers alone: texts are read for the examples
    by_rule = {
        row[0]: row[1:]
        for row in base.run(
            f"""SELECT CASE WHEN source > 0 THEN 5 WHEN enough > 0 THEN enough
                WHEN {is_below(config, last)} THEN 3 ELSE 0 END AS rule, {_TOTALS}, {_MOST}
            FROM scores GROUP BY rule"""
        )
    }
    places = f"""SELECT place <= {config.max_queries}, {_TOTALS}, {_MOST}
        FROM passing GROUP BY ALL"""
    passed = {row[0]: row[1:] for row in base.run(places)}
    groups = [*by_rule.values()]
    seen = _sum(groups)
    dropped = {
        "min_impressions": by_rule.get(1, _NOTHING),
        "min_clicks": by_rule.get(2, _NOTHING),
        # those of the very score at the cut that did not pass are among them
        best: (
            *_sum([by_rule.get(0, _NOTHING), by_rule.get(3, _NOTHING)], list(passed.values())),
            by_rule.get(3, _NOTHING)[3],
        ),
        "max_queries": passed.get(False, _NOTHING),
    }
    if 5 in by_rule:
        ((*lone,),) = base.run(f"SELECT {_TOTALS}, {_MOST} FROM {rules[NO_QUERY]}")
        dropped[NO_QUERY] = tuple(lone)
    dropped = {rule: found for rule, found in dropped.items() if found[0]}
    examples = {
        rule: _examples(base, rules[rule], min(most) if most and len(most) == EXAMPLES else 0)
        for rule, (*_, most) in dropped.items()
    }
    ((shown,),) = base.run(
        f"SELECT sum(impressions) FROM {sums} WHERE image IN (SELECT image FROM alive)"
    )
    notes = {"aside_impressions": seen[2] - int(shown or 0)}
    return _stage_count(seen, dropped, examples, notes)


_TOTALS = "count(*), coalesce(sum(clicks), 0)::BIGINT, coalesce(sum(impressions), 0)::BIGINT"
_MOST = f"max(impressions, {EXAMPLES})"  # of the pairs that were shown most often
_NOTHING: tuple[Any, ...] = (0, 0, 0, None)


def _sum(
    more: Sequence[tuple[Any, ...]], less: Sequence[tuple[Any, ...]] = ()
) -> tuple[int, int, int]:
    """Pairs, clicks and impressions of some groups, without those of others."""
    pairs, clicks, impressions = (
        sum(int(group[n]) for group in more) - sum(int(group[n]) for group in less)
        for n in range(3)
    )
    return pairs, clicks, impressions


def _stage_count(
    seen: tuple[int, int, int],
    dropped: Mapping[str, tuple[Any, ...]],
    examples: Mapping[str, tuple[str, ...]],
    notes: Mapping[str, int],
) -> StageCount:
    kept = [total - sum(some[n] for some in dropped.values()) for n, total in enumerate(seen)]
    flows = {
        name: Flow(seen[n], kept[n], {rule: some[n] for rule, some in dropped.items() if some[n]})
        for n, name in enumerate(COUNTED, 1)
    }
    return StageCount(
        "rank", "pairs", seen[0], kept[0], {rule: some[0] for rule, some in dropped.items()},
        examples, notes, flows if any(flow.seen for flow in flows.values()) else {},
    )  # fmt: skip


def _examples(base: Database, rows: str, least: int) -> tuple[str, ...]:
    """The pairs that were shown most often, of at least `least` impressions."""
    found = base.run(
        f"""SELECT text, source, clicks, impressions, ctr FROM {rows}
        AND coalesce(impressions, 0) >= {least} ORDER BY impressions DESC, text, image
        LIMIT {EXAMPLES}"""
    )
    return tuple(
        f"{text} ({TEXTS[source]})"
        if source
        else f"{text} ({clicks} of {impressions}, CTR {ctr:.4f})"
        for text, source, clicks, impressions, ctr in found
    )


def write_pairs(base: Database, out: Path, numbers: range, parts: int) -> None:
    """Write what `rank_block` left as parts of PAIR_COLUMNS, by image id, source and text."""
    query = f"""SELECT image_id, text, {_source()} AS source, clicks, impressions,
            coalesce(examined / {EXAMINED_UNIT}::DOUBLE, impressions::DOUBLE) AS examined, ctr
        FROM ranked r JOIN alive USING (image) ORDER BY image_id, r.source, text"""
    for part, batches in _by_part(base.batches(query, PAIR_ROWS), numbers, parts):
        with new_part(part_file(out, PAIRS, part), PAIR_COLUMNS) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]).cast(PAIR_COLUMNS))


def write_images(
    base: Database, inp: Path, bucket: int, out: Path, numbers: range, parts: int
) -> int:
    """Write the images that `rank_block` left alive as parts of IMAGE_COLUMNS; gives how many."""
    known = bucket_file(inp, PLACES, bucket)
    query = "SELECT image_id, image AS url, NULL::VARCHAR AS path FROM alive"
    if known.exists():
        query = f"""SELECT image_id, CASE WHEN p.image IS NULL THEN alive.image ELSE p.url END AS
            url, p.path AS path FROM alive LEFT JOIN read_parquet({quoted(str(known))}) p
            ON alive.image = p.image"""
    batches = base.batches(f"{query} ORDER BY image_id", PAIR_ROWS)
    count = 0
    for part, some in _by_part(batches, numbers, parts):
        with (
            open_blobs(inp, *part_range(part, parts)) as blobs,
            new_part(part_file(out, IMAGES, part), IMAGE_COLUMNS) as writer,
        ):
            for batch in some:
                count += len(batch)
                rows = pa.Table.from_batches([batch])
                if not blobs:
                    rows = rows.append_column("image", pa.nulls(len(rows), pa.large_binary()))
                    writer.write_table(rows.cast(IMAGE_COLUMNS))
                    continue
                held: list[dict[str, object]] = []
                size = 0
                for row in rows.to_pylist():
                    data = blobs.get(row["image_id"])
                    more = len(data or b"") + 256
                    if held and size + more > GROUP_BYTES:
                        writer.write_table(pa.Table.from_pylist(held, IMAGE_COLUMNS))
                        held, size = [], 0
                    held.append({**row, "image": data})
                    size += more
                if held:
                    writer.write_table(pa.Table.from_pylist(held, IMAGE_COLUMNS))
    return count


def _by_part(
    batches: Iterator[pa.RecordBatch], numbers: range, parts: int
) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """Rows in order of `image_id` as the parts to which they belong; a part may have none."""
    held: list[pa.RecordBatch] = []

    def rows_before(last: str) -> Iterator[pa.RecordBatch]:
        while True:
            batch = held.pop() if held else next(batches, None)
            if batch is None:
                return
            ids = batch.column(0)
            stop = _place(ids, last)
            if stop:
                yield batch.slice(0, stop)
            if stop < len(batch):
                held.append(batch.slice(stop))
                return

    for part in numbers:
        yield part, rows_before(part_range(part, parts)[1])


def _place(ids: pa.Array, edge: str) -> int:
    """How many of the ids, which are in order, are less."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if ids[middle].as_py() < edge:
            low = middle + 1
        else:
            high = middle
    return low
