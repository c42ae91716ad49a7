"""The queries of merged images: their counts add up, and queries below the cut are dropped.

Images are ranked before they are fetched, so a picture at two addresses was ranked as two images,
and a pair may have been dropped for one address and kept for the other. If it was kept for one, its
clicks and impressions at the other count as well: otherwise the sum would omit impressions without
a click.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.buckets import BucketLayout, images_of, sums_of
from r2d2.corpus.clicks.checks import EXAMINED_UNIT, image_id
from r2d2.corpus.clicks.engine import open_database, quoted
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.rows import PAIR_COLUMNS, PAIRS, QUERY, part_file

COUNTS = ("clicks", "impressions", "examined")
KEYS = ["image_id", "source", "text"]


@dataclass(frozen=True)
class FindUnranked:
    """Queries of merged images that are not among their kept ones, under the merged image's id."""

    merge: str  # a file of MERGE_COLUMNS
    layout: BucketLayout
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write the rows of a bucket as PAIR_COLUMNS, by image id, into `job["rest"]`."""
        bucket, target = int(job["bucket"]), Path(job["rest"])
        kept = ", ".join(
            quoted(str(part_file(Path(job["pairs"]), PAIRS, n)))
            for n in self.layout.parts_of(bucket)
        )
        sums, images = (of(Path(job["summed"]), bucket) for of in (sums_of, images_of))
        merge = f"read_parquet({quoted(self.merge)})"
        with open_database(target.parent, self.memory_bytes, self.threads, job=target.stem) as base:
            base.run(
                f"""CREATE TABLE wanted AS SELECT image, image_id, "into"
                FROM (SELECT image, {image_id("image")} AS image_id FROM {images})
                JOIN {merge} USING (image_id)"""
            )
            query = f"""SELECT "into" AS image_id, s.text, '{QUERY}' AS source, clicks, impressions,
                    coalesce(examined / {EXAMINED_UNIT}::DOUBLE, impressions::DOUBLE) AS examined,
                    NULL::FLOAT AS ctr
                FROM {sums} s JOIN wanted USING (image) WHERE s.source = 0 AND NOT EXISTS (
                    FROM read_parquet([{kept}]) k WHERE k.image_id = wanted.image_id
                    AND k.text = s.text AND k.source = '{QUERY}')
                ORDER BY image_id, text"""
            count = base.write(query, target)
        return StageCount("unranked", "pairs", count, count)


def moved(rows: pa.Table, into: dict[str, str]) -> pa.Table:
    """Pairs under the id that their image has taken; equal ones may stand more than once."""
    ids = [into[old] for old in rows["image_id"].to_pylist()]
    return rows.set_column(0, PAIR_COLUMNS.field(0), pa.array(ids, pa.string()))


def add_up(rows: pa.Table) -> pa.Table:
    """One row a pair, as PAIR_COLUMNS without a rate."""
    sums = rows.group_by(KEYS).aggregate([(name, "sum") for name in COUNTS])
    sums = sums.rename_columns([name.removesuffix("_sum") for name in sums.column_names])
    sums = sums.append_column("ctr", pa.nulls(len(sums), pa.float32()))
    return sums.select(PAIR_COLUMNS.names).cast(PAIR_COLUMNS)


def with_counts(kept: pa.Table, rest: pa.Table) -> pa.Table:
    """The pairs of `kept`, added up with those of `rest` that are of the same image and text."""
    same = rest.join(kept.select(KEYS), KEYS, join_type="left semi").select(PAIR_COLUMNS.names)
    return add_up(pa.concat_tables([kept, same]))


def repeated(rows: pa.Table) -> pa.Table:
    """The rows of a pair after its first."""
    rows = rows.append_column("row", pa.array(np.arange(len(rows))))
    first = rows.group_by(KEYS).aggregate([("row", "min")])["row_min"]
    return rows.filter(pc.invert(pc.is_in(rows["row"], first)))


def still_ranked(rows: pa.Table, least: float) -> tuple[pa.Table, pa.Table, pa.Table]:
    """What ranks with the sums too.

    Args:
        rows: pairs with their rates.
        least: the rate of the last pair that ranked.

    Returns:
        The rows; the queries of a lesser rate; other texts of images that lost their last query.
    """
    query = pc.equal(rows["source"], QUERY)
    low = pc.and_(query, pc.fill_null(pc.less(rows["ctr"], pa.scalar(least, pa.float32())), False))
    if not pc.any(low).as_py():
        return rows, rows.slice(0, 0), rows.slice(0, 0)
    left = rows.filter(pc.invert(low))
    alive = left.filter(pc.equal(left["source"], QUERY))["image_id"]
    gone = rows.filter(low)["image_id"]
    lone = pc.and_(pc.is_in(left["image_id"], gone), pc.invert(pc.is_in(left["image_id"], alive)))
    return left.filter(pc.invert(lone)), rows.filter(low), left.filter(lone)


def best_queries(rows: pa.Table, most: int) -> pa.Table:
    """At most so many queries an image, the best by CTR; all other texts. Sorted as parts are."""
    order = [("image_id", "ascending"), ("source", "ascending"), ("ctr", "descending")]
    rows = rows.sort_by([*order, ("clicks", "descending"), ("text", "ascending")])
    ids = rows["image_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    query = pc.equal(rows["source"], QUERY).to_numpy(zero_copy_only=False)
    change = np.ones(len(rows), dtype=bool)
    if len(rows) > 1:
        change[1:] = (ids[1:] != ids[:-1]) | (query[1:] != query[:-1])
    place = np.arange(len(rows))
    place = place - np.maximum.accumulate(np.where(change, place, 0))
    rows = rows.filter(pa.array(~query | (place < most)))
    return rows.sort_by([(name, "ascending") for name in KEYS])
