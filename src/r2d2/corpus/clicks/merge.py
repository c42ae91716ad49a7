"""The sums of all blocks of a log put together by bucket, with queries in one spelling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from r2d2.corpus.clicks.block import RUNS, block_sums
from r2d2.corpus.clicks.buckets import (
    IMAGE_TOTALS,
    PLACES,
    SUMS,
    TOTALS,
    bucket_file,
    sum_images,
    sums_of,
)
from r2d2.corpus.clicks.checks import trimmed
from r2d2.corpus.clicks.engine import Database, open_database
from r2d2.corpus.clicks.sums import TOTALLED
from r2d2.corpus.funnel import StageCount, read_count, write_count
from r2d2.corpus.texts.spelling import spell_queries
from r2d2.files import link_or_copy

SPELT = 1 << 16  # texts spelt at once


@dataclass(frozen=True)
class MergeBucket:
    """The sums of all blocks that belong to one bucket."""

    alone: bool  # there is one block
    simplified: bool  # traditional characters as simplified ones
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write the sums of a bucket, those of its images, and the places of these."""
        out, bucket = Path(job["out"]), int(job["bucket"])
        record = out / RUNS / f"bucket-{bucket:04d}.json"
        if (done := read_count(record)) is not None:
            return done
        files, places = (
            sorted((out / RUNS).glob(f"*/{kind}/bucket={bucket}/*.parquet"))
            for kind in (TOTALS, PLACES)
        )
        target = bucket_file(out, TOTALS, bucket)
        with open_database(out / RUNS, self.memory_bytes, self.threads, job=str(bucket)) as base:
            blocks = block_sums(files)
            merged = merge_sums(base, blocks, self.simplified, alone=self.alone)
            images = base.write("FROM images", bucket_file(out, IMAGE_TOTALS, bucket))
            if merged is None and len(files) == 1:
                link_or_copy(files[0], target)
            else:
                base.write(merged or f"SELECT {', '.join(SUMS)} FROM {blocks}", target)
            if places:
                base.write(
                    f"""SELECT image, min(url) AS url, min(path) AS path
                    FROM {block_sums(places)} GROUP BY image""",
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


def merge_sums(base: Database, blocks: str, simplified: bool, *, alone: bool = False) -> str | None:
    """A SELECT of the sums of several blocks together, with the columns SUMS.

    Queries that are spelt alike add up under their one spelling.

    Args:
        base: where the relation is; it then has tables of what is spelt otherwise, and `images`,
            of the columns of `sum_images`.
        blocks: a relation with the columns SUMS.
        simplified: see `spell_queries`.
        alone: each (image, source, text) stands once in `blocks`.

    Returns:
        The statement; None where the sums are just the blocks, as they are.
    """
    spelt = _spell(base, blocks, simplified)
    keys = _sum_images(base, blocks)
    other = f"source > 0 AND text <> {trimmed('text')}"
    ((texts,),) = base.run(f"SELECT count(*) FROM {blocks} WHERE {other}")
    if alone and not (spelt or keys or texts):
        return None
    total = ", ".join(f"sum({name})::BIGINT AS {name}" for name in TOTALLED)
    moved = f"""SELECT coalesce(keys.image, b.image) AS image, source,
        CASE WHEN source > 0 THEN {trimmed("b.text")} ELSE coalesce(spelt.text, b.text) END AS text,
        {", ".join(TOTALLED)},
        keys.image IS NOT NULL OR spelt.text IS NOT NULL OR ({other.replace("text", "b.text")})
            AS changed
        FROM {blocks} b LEFT JOIN keys ON b.image = keys.written
        LEFT JOIN spelt ON b.source = 0 AND b.text = spelt.written"""
    if not alone:
        return f"SELECT image, source, text, {total} FROM ({moved}) GROUP BY ALL"
    amounts = ", ".join(
        f"coalesce(a.{name} + m.{name}, a.{name}, m.{name}) AS {name}" for name in TOTALLED
    )
    return f"""SELECT image, source, text, {amounts}
        FROM (SELECT * FROM ({moved}) WHERE NOT changed) a FULL JOIN (
            SELECT image, source, text, {total} FROM ({moved}) WHERE changed GROUP BY ALL) m
        USING (image, source, text)"""


def _spell(base: Database, blocks: str, simplified: bool) -> int:
    """Leave a table `spelt` of the queries whose spelling is another than the log's; how many."""
    base.run("CREATE TABLE spelt (written VARCHAR, text VARCHAR)")
    count = 0
    distinct = f"SELECT DISTINCT text FROM {blocks} WHERE source = 0"
    for batch in base.batches(distinct, SPELT):
        written = batch.column(0).to_pylist()
        spelt = spell_queries(written, simplified)
        respelt = [(old, new) for old, new in zip(written, spelt, strict=True) if old != new]
        count += len(respelt)
        if respelt:
            columns = [pa.array(column, pa.string()) for column in zip(*respelt, strict=True)]
            with base.given("other", pa.table(columns, names=["written", "text"])):
                base.run("INSERT INTO spelt SELECT * FROM other")
    return count


def _sum_images(base: Database, blocks: str) -> int:
    """Leave a table `images`, and a table `keys` of those whose address has spaces around it.

    Returns:
        How many are in `keys`.
    """
    base.run(f"CREATE TABLE images AS {sum_images(blocks)}")
    plain = "BETWEEN 33 AND 126"  # as an address begins and ends; others are looked at closely
    base.run(
        f"""CREATE TABLE keys AS SELECT image AS written, {trimmed("image")} AS image FROM images
        WHERE CASE WHEN unicode(image) {plain} AND unicode(right(image, 1)) {plain} THEN false
            ELSE image <> {trimmed("image")} END"""
    )
    ((count,),) = base.run("SELECT count(*) FROM keys")
    if count:
        trimmed_keys = """(SELECT coalesce(keys.image, i.image) AS image, clicks, impressions
            FROM images i LEFT JOIN keys ON i.image = keys.written)"""
        base.run(f"CREATE OR REPLACE TABLE images AS {sum_images(trimmed_keys)}")
    return int(count)
