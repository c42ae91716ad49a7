"""Stage 2: keep the pairs that people click, by smoothed click-through rate."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from r2d2.corpus.clicks.best_pairs import NO_QUERY, rank_block, unranked_images
from r2d2.corpus.clicks.buckets import (
    BucketLayout,
    by_bucket,
    images_of,
    read_layout,
    sums_of,
    texts_of,
)
from r2d2.corpus.clicks.ctr import Prior
from r2d2.corpus.clicks.cut import TALLY, LastScore, find_cut
from r2d2.corpus.clicks.engine import open_database
from r2d2.corpus.clicks.ranked_parts import write_images, write_pairs
from r2d2.corpus.config import RankConfig
from r2d2.corpus.funnel import StageCount, add_counts, read_count, write_count
from r2d2.corpus.rows import PAIR_ROWS, DroppedFile
from r2d2.corpus.runner import Runner
from r2d2.files import write_text
from r2d2.progress import Update

DONE = "done"  # folder of the counts of finished buckets
LEAST = "least.json"  # the rate of the last pair kept
MEMORY = 2_000_000_000


def rank(
    inp: Path,
    out: Path,
    config: RankConfig,
    *,
    runner: Runner,
    update: Update,
    memory_bytes: int = MEMORY,
) -> list[StageCount]:
    """Rank the queries of all images, and keep the best.

    Args:
        inp: folder of the sums, from `aggregate`.
        out: folder to write `pairs` and `images` into, `prior.json` (see `read_prior`) and
            `least.json` (see `read_least`).
        config: the rules; not enabled, everything passes and `ctr` stays null.
        runner: who does the jobs.
        update: progress.
        memory_bytes: for the whole process.

    Returns:
        Counts of pairs by the rule that dropped them, and of images, which live by their queries.
        The notes of the first tell the prior, and how many images of which no query ranked were
        shown how often.
    """
    layout = read_layout(inp)
    jobs = [{"inp": str(inp), "out": str(out), "bucket": str(n)} for n in range(len(layout.images))]
    prior, last = Prior(), None
    if config.active:
        prior, last = find_cut(inp, out, config, jobs, runner, memory_bytes, update)
        write_text(out / LEAST, json.dumps(0.0 if last is None else min(last.score, 1.0)))
    work = RankBucket(config, prior, last, layout, *runner.database_share(memory_bytes))
    counts = by_bucket(work, jobs, runner, "ranking", update)
    shutil.rmtree(out / TALLY, ignore_errors=True)
    shutil.rmtree(out / DONE, ignore_errors=True)
    seen, kept = sum(layout.images), sum(count.notes["images_kept"] for count in counts)
    notes: dict[str, float] = {}
    if config.active:
        notes = {"alpha": prior.alpha, "beta": prior.beta}
    if seen > kept:
        aside = sum(count.notes.get("aside_impressions", 0) for count in counts)
        notes |= {"aside_images": seen - kept, "aside_impressions": aside}
    return [
        replace(add_counts(counts), notes=notes),
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


@dataclass(frozen=True)
class RankBucket:
    """The pairs of a bucket that stay, and their images."""

    config: RankConfig
    prior: Prior
    last: LastScore | None
    layout: BucketLayout
    memory_bytes: int
    threads: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write the parts of a bucket, of pairs and of images."""
        inp, out, bucket = Path(job["inp"]), Path(job["out"]), int(job["bucket"])
        record = out / DONE / f"bucket-{bucket:04d}.json"
        if (done := read_count(record)) is not None:
            return done
        last = None if self.last is None else self.last.of(bucket)
        with open_database(out / DONE, self.memory_bytes, self.threads, job=str(bucket)) as base:
            sums, images, texts = (of(inp, bucket) for of in (sums_of, images_of, texts_of))
            with DroppedFile(out, "rank", "pairs", f"{bucket:04d}") as dropped:
                count = rank_block(
                    base, sums, images, texts, self.config, self.prior, last, dropped
                )
            with DroppedFile(out, "rank", "images", f"{bucket:04d}") as dropped:
                if dropped.wanted:
                    for batch in base.batches(unranked_images(images), PAIR_ROWS):
                        for row in batch.to_pylist():
                            dropped.add(NO_QUERY, row, row["place"])
            parts = self.layout.parts_of(bucket)
            write_pairs(base, out, parts, self.layout.parts)
            kept = write_images(base, inp, bucket, out, parts, self.layout.parts)
        count = replace(count, notes={**count.notes, "images_kept": kept})
        write_count(record, count)
        return count
