"""The sums of a log as they lie on disk: a file for each bucket, which is a range of image ids.

On one machine there are as many buckets as blocks of the largest size that the memory allows; on a
cluster there are one or more for each worker. A bucket holds several of the parts into which the
next stages cut the images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.corpus.clicks.engine import quoted
from r2d2.corpus.clicks.text_keys import TOTALLED
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.runner import Runner, Work, map_jobs
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.progress import Update

# `image` and `text` are keys (see `text_keys`), `source` is an index of TEXTS, `examined` is in
# parts of 1 / EXAMINED_UNIT, or NULL where all impressions are looked at.
SUMS = ("image", "source", "text", *TOTALLED)
TOTALS = "sums"  # folder of files with the columns SUMS
# Of files with `key`, `image` (see `checks.image_id`), and its `clicks` and `impressions`
IMAGE_TOTALS = "image_sums"
TEXT_TABLE = "texts"  # of files with `key`, `text`
PLACES = "places"  # of files with `image`, `url`, `path`: of images that have more than an address
CUT = "cut.json"


@dataclass(frozen=True)
class BucketLayout:
    """How the images of a log are divided into buckets and parts."""

    images: tuple[int, ...]  # of each bucket
    parts: int  # of the next stages; a bucket holds equally many

    def parts_of(self, bucket: int) -> range:
        """The parts that a bucket holds."""
        each = self.parts // len(self.images)
        return range(bucket * each, (bucket + 1) * each)


def write_layout(folder: Path, layout: BucketLayout) -> None:
    """Write the layout of the buckets for the next stage."""
    write_text(folder / CUT, json.dumps({"images": layout.images, "parts": layout.parts}))


def read_layout(folder: Path) -> BucketLayout:
    """What `write_layout` wrote; R2D2Error where there are no sums."""
    try:
        record = json.loads((folder / CUT).read_text(encoding="utf-8"))
        return BucketLayout(tuple(record["images"]), int(record["parts"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise R2D2Error(f"{folder} holds no sums: aggregate a log into it first") from error


def bucket_file(folder: Path, kind: str, bucket: int) -> Path:
    """Where the sums of a bucket are, or the places of its images."""
    return folder / kind / f"part-{bucket:04d}.parquet"


def sums_of(folder: Path, bucket: int) -> str:
    """The sums of a bucket as a relation with the columns SUMS."""
    file = quoted(str(bucket_file(folder, TOTALS, bucket)))
    return f"(SELECT {', '.join(SUMS)} FROM read_parquet({file}))"


def images_of(folder: Path, bucket: int) -> str:
    """The images of a bucket: `key`, `image`, and the `clicks` and `impressions` of its pairs."""
    return f"read_parquet({quoted(str(bucket_file(folder, IMAGE_TOTALS, bucket)))})"


def texts_of(folder: Path, bucket: int) -> str:
    """The texts of a bucket as a relation: `key`, `text`."""
    return f"read_parquet({quoted(str(bucket_file(folder, TEXT_TABLE, bucket)))})"


def with_texts(pairs: str, images: str, texts: str) -> str:
    """A relation of pairs in which images and texts stand in place of their keys.

    Args:
        pairs: a relation with the columns SUMS, and perhaps others.
        images: see `images_of`.
        texts: see `texts_of`.
    """
    return f"""(SELECT pair.* REPLACE (named_images.image AS image, named_texts.text AS text)
        FROM {pairs} pair JOIN {images} named_images ON named_images.key = pair.image
        JOIN {texts} named_texts ON named_texts.key = pair.text)"""


def sum_images(sums: str, images: str) -> str:
    """A SELECT of what `images_of` holds.

    Args:
        sums: a relation with the columns SUMS.
        images: a relation with `key` and `text`.
    """
    return f"""SELECT key, images.text AS image, clicks, impressions FROM (
            SELECT image AS key, sum(clicks)::BIGINT AS clicks,
                sum(impressions)::BIGINT AS impressions FROM {sums} GROUP BY image)
        JOIN {images} images USING (key)"""


def by_bucket(
    work: Work[StageCount],
    jobs: Sequence[dict[str, str]],
    runner: Runner,
    what: str,
    update: Update,
) -> list[StageCount]:
    """Do a job for each bucket: one after the other with all threads, or as tasks of a cluster."""
    if runner.cluster:
        return map_jobs(work, jobs, runner, what, update)
    counts = []
    update(what, 0, len(jobs))
    for job in jobs:
        counts.append(work(job))
        update(what, len(counts), len(jobs))
    return counts
