"""The sums of all blocks of a log put together by bucket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.corpus.clicks.block import RUNS, block_files
from r2d2.corpus.clicks.buckets import (
    IMAGE_TOTALS,
    PLACES,
    TEXT_TABLE,
    TOTALS,
    bucket_file,
    sum_images,
    sums_of,
)
from r2d2.corpus.clicks.engine import Database, open_database
from r2d2.corpus.clicks.text_keys import KEY_TABLES, check_keys, totals
from r2d2.corpus.funnel import StageCount, read_count, write_count
from r2d2.files import link_or_copy


@dataclass(frozen=True)
class MergeBucket:
    """The sums of all blocks that belong to one bucket."""

    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write the sums of a bucket, those of its images, its texts, and the places of images."""
        out, bucket = Path(job["out"]), int(job["bucket"])
        record = out / RUNS / f"bucket-{bucket:04d}.json"
        if (done := read_count(record)) is not None:
            return done
        sums, images, texts, places = (
            sorted((out / RUNS).glob(f"*/{kind}/bucket={bucket}/*.parquet"))
            for kind in (TOTALS, *KEY_TABLES, PLACES)
        )
        with open_database(out / RUNS, self.memory_bytes, self.threads, job=str(bucket)) as base:
            several = len({file.relative_to(out / RUNS).parts[0] for file in sums}) > 1
            for table, files in zip(KEY_TABLES, (images, texts), strict=True):
                rows = block_files(table, files)
                if several:
                    base.run(f"CREATE TABLE {table} AS SELECT DISTINCT key, text FROM {rows}")
                    check_keys(base, table)
                else:
                    base.run(f"CREATE VIEW {table} AS FROM {rows}")
            merged = f"FROM {block_files(TOTALS, sums)}"
            if several:
                merged = f"SELECT image, source, text, {totals()} {merged} GROUP BY 1, 2, 3"
            _write(base, merged, bucket_file(out, TOTALS, bucket), [] if several else sums)
            _write(
                base, "FROM texts", bucket_file(out, TEXT_TABLE, bucket), [] if several else texts
            )
            summed = sums_of(out, bucket)
            image_totals = base.write(
                sum_images(summed, "images"), bucket_file(out, IMAGE_TOTALS, bucket)
            )
            if places:
                base.write(
                    f"""SELECT image, min(url) AS url, min(path) AS path
                    FROM {block_files(PLACES, places)} GROUP BY image""",
                    bucket_file(out, PLACES, bucket),
                )
            ((pairs, clicks, impressions),) = base.run(
                f"SELECT count(*), sum(clicks), sum(impressions) FROM {summed}"
            )
        notes = {
            "pairs": pairs,
            "images": image_totals,
            "clicks": int(clicks or 0),
            "impressions": int(impressions or 0),
        }
        count = StageCount("aggregate", "pairs", pairs, pairs, notes=notes)
        write_count(record, count)
        return count


def _write(base: Database, rows: str, target: Path, files: Sequence[Path]) -> None:
    """Write rows, or take the only file that holds just them."""
    if len(files) == 1:
        link_or_copy(files[0], target)
    else:
        base.write(rows, target)
