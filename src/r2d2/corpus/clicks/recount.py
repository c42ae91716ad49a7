"""The queries of merged images that did not rank, whose counts add to those that did.

Images are ranked before they are fetched, so a picture at two addresses was ranked as two images,
and a pair may have been dropped for one address and kept for the other. If it was kept for one, its
clicks and impressions at the other count as well: otherwise the sum would omit impressions without
a click.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from r2d2.corpus.clicks.buckets import BucketLayout, images_of, sums_of, texts_of
from r2d2.corpus.clicks.checks import EXAMINED_UNIT, image_id
from r2d2.corpus.clicks.engine import open_database, quoted
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.rows import PAIRS, QUERY, part_file


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
        summed = Path(job["summed"])
        sums, images, texts = (of(summed, bucket) for of in (sums_of, images_of, texts_of))
        merge = f"read_parquet({quoted(self.merge)})"
        with open_database(target.parent, self.memory_bytes, self.threads, job=target.stem) as base:
            base.run(
                f"""CREATE TABLE wanted AS SELECT key, image_id, "into"
                FROM (SELECT key, {image_id("image")} AS image_id FROM {images})
                JOIN {merge} USING (image_id)"""
            )
            query = f"""SELECT "into" AS image_id, t.text, '{QUERY}' AS source, clicks, impressions,
                    coalesce(examined / {EXAMINED_UNIT}::DOUBLE, impressions::DOUBLE) AS examined,
                    NULL::FLOAT AS ctr
                FROM {sums} s JOIN wanted ON wanted.key = s.image
                JOIN {texts} t ON t.key = s.text WHERE s.source = 0 AND NOT EXISTS (
                    FROM read_parquet([{kept}]) k WHERE k.image_id = wanted.image_id
                    AND k.text = t.text AND k.source = '{QUERY}')
                ORDER BY image_id, t.text"""
            count = base.write(query, target)
        return StageCount("unranked", "pairs", count, count)
