"""The parts that a ranking leaves: pairs and images by image id, as the next stages read them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path

import pyarrow as pa

from r2d2.corpus.clicks.best_pairs import SOURCE
from r2d2.corpus.clicks.blobs import open_blobs
from r2d2.corpus.clicks.buckets import PLACES, bucket_file
from r2d2.corpus.clicks.checks import EXAMINED_UNIT
from r2d2.corpus.clicks.engine import Database, quoted
from r2d2.corpus.rows import (
    IMAGE_COLUMNS,
    IMAGES,
    PAIR_COLUMNS,
    PAIR_ROWS,
    PAIRS,
    new_part,
    part_file,
    part_range,
)
from r2d2.corpus.rows import write_images as write_image_rows


def write_pairs(base: Database, out: Path, numbers: range, parts: int) -> None:
    """Write what `rank_block` left as parts of PAIR_COLUMNS, by image id, source and text."""
    query = f"""SELECT image_id, text, {SOURCE} AS source, clicks, impressions,
            coalesce(examined / {EXAMINED_UNIT}::DOUBLE, impressions::DOUBLE) AS examined, ctr
        FROM ranked ORDER BY image_id, ranked.source, text"""
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
    for part, batches_of_part in _by_part(batches, numbers, parts):
        path = part_file(out, IMAGES, part)
        with open_blobs(inp, *part_range(part, parts)) as blobs:
            if blobs:
                rows = (row for batch in batches_of_part for row in batch.to_pylist())
                with_images = ({**row, "image": blobs.get(row["image_id"])} for row in rows)
                count += write_image_rows(path, IMAGE_COLUMNS, with_images)
                continue
        with new_part(path, IMAGE_COLUMNS) as writer:
            for batch in batches_of_part:
                count += len(batch)
                no_images = pa.nulls(len(batch), pa.large_binary())
                table = pa.Table.from_batches([batch]).append_column("image", no_images)
                writer.write_table(table.cast(IMAGE_COLUMNS))
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
            stop = bisect_left(ids, last, key=methodcaller("as_py"))
            if stop:
                yield batch.slice(0, stop)
            if stop < len(batch):
                held.append(batch.slice(stop))
                return

    for part in numbers:
        yield part, rows_before(part_range(part, parts)[1])
