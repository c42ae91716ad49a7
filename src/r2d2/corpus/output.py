"""The united pairs and images as a pairs table: sampled, split, written in shards."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from r2d2.corpus.clicks.ctr import Prior, score
from r2d2.corpus.config import RankConfig, SampleConfig
from r2d2.corpus.funnel import (
    COUNTED,
    StageCount,
    StageCounter,
    add_counts,
    read_count,
    write_count,
)
from r2d2.corpus.report.sample import OUTSIDE, in_sample, splits
from r2d2.corpus.rows import (
    IMAGES,
    PAIRS,
    QUERY,
    DroppedFile,
    part_count,
    part_file,
    read_images,
    read_pairs,
)
from r2d2.corpus.runner import Runner, map_jobs
from r2d2.files import disk_errors, write_text
from r2d2.progress import Update
from r2d2.table import Pair, PairsTable, Text, is_dataset, join_shards, write_shard

SHARDS = "shards"
JOINED = "joined"  # marks that the shards have become a table


def write_corpus(
    united: Path,
    out: str,
    work: Path,
    sample: SampleConfig,
    rank: RankConfig,
    prior: Prior | None,
    metadata: Mapping[str, str],
    runner: Runner,
    update: Update,
) -> StageCount:
    """Write the table at `out`; a local one takes its place when it is whole.

    Where nothing is left to write, no table is made, and the count says so.

    Args:
        united: folder of `unite`.
        out: path or URL of the table; one that is there is replaced.
        work: folder for what is known of shards that are done.
        sample: share and splits.
        rank: how a CTR is smoothed.
        prior: of the log; None where there is no ranking.
        metadata: of the whole table.
        runner: who does the jobs.
        update: progress.
    """
    remote = "://" in out
    place = out if remote else str(_beside(Path(out)))
    done = is_made_of(out, work)  # and was cut off before it was noted
    writer = TableShard(
        str(united), place, str(work / SHARDS), sample, rank, prior, remote and is_dataset(out)
    )
    if not done and _stale(None if remote else Path(place), work):
        shutil.rmtree(work / SHARDS, ignore_errors=True)
        if not remote:
            shutil.rmtree(place, ignore_errors=True)
    jobs = [{"part": str(n)} for n in range(part_count(united))]
    counts = map_jobs(writer, jobs, runner, "writing", update)
    shards = [shard for count in counts for shard in count.notes["fragments"]]
    if shards and not done:
        join_shards(place, shards, metadata=metadata)
        if not remote:
            with disk_errors(Path(out)):
                _swap(Path(place), Path(out))
    if shards:
        write_text(work / JOINED, "")
    if not remote:
        shutil.rmtree(_old(Path(out)), ignore_errors=True)
    whole = add_counts(counts)
    return StageCount(
        whole.stage, whole.unit, whole.seen, whole.kept, whole.dropped, flows=whole.flows
    )


def is_made_of(out: str, work: Path) -> bool:
    """Whether the table at `out` is made of the shards that `work` knows, and of nothing else."""
    records = sorted((work / SHARDS).glob("part-*.json"))
    counts = [count for record in records if (count := read_count(record)) is not None]
    shards = [json.loads(shard) for count in counts for shard in count.notes["fragments"]]
    files = sorted(file["path"] for shard in shards for file in shard["files"])
    return bool(files) and is_dataset(out) and PairsTable.open(out).files == tuple(files)


def _stale(place: Path | None, work: Path) -> bool:
    """Whether what `work` knows of shards is of a table that is gone; `place` is a local one's."""
    if place is None:
        return (work / JOINED).exists()
    return not (place.exists() and (work / SHARDS).exists())  # each without the other is of no use


@dataclass(frozen=True)
class TableShard:
    """One part of the corpus as a shard of the table."""

    united: str
    place: str
    done: str
    sample: SampleConfig
    rank: RankConfig
    prior: Prior | None
    replace: bool = False  # a table that is at `place` already

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        part = int(job["part"])
        record = Path(self.done) / f"part-{part:04d}.json"
        if (done := read_count(record)) is not None:
            return done
        fragments: list[str] = []
        with DroppedFile(Path(self.done).parent, "sample", "images", job["part"]) as dropped:
            tally = StageCounter("sample", "images", dropped)

            def pairs() -> Iterator[Pair]:
                for chosen, pair in self._pairs(part):
                    row = {name: getattr(pair, name) for name in ("image_id", "url", *COUNTED)}
                    tally.add(None if chosen else OUTSIDE, row)
                    if chosen:
                        yield pair

            first = next(more_pairs := pairs(), None)
            if first is not None:  # Lance has no shard without rows
                rows = itertools.chain([first], more_pairs)
                fragments, _ = write_shard(self.place, rows, overwrite=self.replace)
        count = replace(tally.count(), notes={"fragments": fragments})
        write_count(record, count)
        return count

    def _pairs(self, part: int) -> Iterator[tuple[bool, Pair]]:
        """The rows of a part in order, and whether each is within the sample."""
        rows = read_pairs(part_file(Path(self.united), PAIRS, part))
        texts = itertools.groupby(rows.to_pylist(), key=lambda row: row["image_id"])
        files = part_file(Path(self.united), IMAGES, part)
        ids = [row["final_id"] for row in read_images(files, ["final_id"])]
        chosen = in_sample(ids, self.sample)
        split = splits(ids, self.sample)
        for place, ((image_id, texts_of_image), image) in enumerate(
            zip(texts, read_images(files), strict=True)
        ):
            if image["image_id"] != image_id:
                raise ValueError(f"part {part}: texts of {image_id} beside {image['image_id']}")
            yield bool(chosen[place]), self._pair(image, list(texts_of_image), split[place])

    def _pair(self, image: Mapping[str, Any], texts: list[dict[str, Any]], split: str) -> Pair:
        queries = [text for text in texts if text["source"] == QUERY]
        clicks, impressions = (
            sum(text[name] or 0 for text in queries) if queries else None
            for name in ("clicks", "impressions")
        )
        ctr = None
        if queries and self.prior is not None:
            examined = sum(text["examined"] or 0.0 for text in queries)
            ctr = float(score(np.array([clicks]), np.array([examined]), self.rank, self.prior)[0])
        return Pair(
            image["final_id"],
            image["image"],
            tuple(
                Text(
                    text["text"],
                    text["source"],
                    1.0 if text["ctr"] is None else text["ctr"],
                    text_id(image["final_id"], text["source"], text["text"]),
                    text["clicks"],
                    text["impressions"],
                )
                for text in texts
            ),
            split,
            image["url"],
            image["width"],
            image["height"],
            ctr,
            clicks,
            impressions,
        )


def text_id(image_id: str, source: str, text: str) -> str:
    """A stable id of one text of one image, 16 hexadecimal digits."""
    whole = "\0".join((image_id, source, text)).encode()
    return hashlib.blake2b(whole, digest_size=8).hexdigest()


def _beside(out: Path) -> Path:
    """Where a local table grows: a fixed name, so that a build that was cut off finds it again."""
    return out.with_name(f".{out.name}.partial")


def _swap(fresh: Path, out: Path) -> None:
    if os.path.lexists(out):
        shutil.rmtree(_old(out), ignore_errors=True)
        out.rename(_old(out))
    fresh.rename(out)


def _old(out: Path) -> Path:
    """Where the table that is replaced waits until the new one is in its place."""
    return out.with_name(f".{out.name}.old")
