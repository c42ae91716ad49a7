"""The sums of a log as they lie on disk: a file for each bucket, which is a range of image ids.

On one machine there is one bucket for each 134 million rows of the log; on a cluster, one or more
for each worker. A bucket holds several of the parts into which the next stages cut the images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.corpus.clicks.engine import quoted
from r2d2.corpus.funnel import StageCount
from r2d2.corpus.runner import Runner, Work, map_jobs
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.progress import Update

# `image` is an image's key (see `checks.image_id`), `source` a place in TEXTS, `examined` is in
# parts of 1 / EXAMINED_UNIT, or NULL where all impressions are looked at.
SUMS = ("image", "source", "text", "clicks", "impressions", "examined")
TOTALS = "sums"  # folder of files with the columns SUMS
IMAGE_TOTALS = (
    "image_sums"  # of files with `image`, `clicks`, `impressions`: the sums of each image
)
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
    """The images of a bucket as a relation: `image`, `clicks` and `impressions` of its pairs."""
    return f"read_parquet({quoted(str(bucket_file(folder, IMAGE_TOTALS, bucket)))})"


def sum_images(relation: str) -> str:
    """A SELECT of what `images_of` holds, from a relation with the columns of SUMS."""
    return f"""SELECT image, sum(clicks)::BIGINT AS clicks, sum(impressions)::BIGINT AS impressions
        FROM {relation} GROUP BY image"""


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
