"""Merged images: texts and counts of copies are added up, and the CTR is computed again.

When two images are merged, one gives up its id, and its rows may then belong to another part. Such
rows are few. Each part first writes them to a separate file, sorted, and then every part reads
those that belong to it. The result holds only images that have a text and texts that have an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.clicks.best_pairs import NO_QUERY
from r2d2.corpus.clicks.buckets import by_bucket, read_layout
from r2d2.corpus.clicks.ctr import Prior, score
from r2d2.corpus.clicks.rank import MEMORY
from r2d2.corpus.clicks.recount import (
    KEYS,
    FindUnranked,
    best_queries,
    moved,
    repeated,
    still_ranked,
    with_counts,
)
from r2d2.corpus.config import RankConfig
from r2d2.corpus.funnel import COUNTED, EXAMPLES, Flow, StageCount, add_counts, totals
from r2d2.corpus.keep import NO_TEXT_LEFT, ImageVerdict, keep_images
from r2d2.corpus.rows import (
    IMAGES,
    PAIR_COLUMNS,
    PAIRS,
    QUERY,
    DroppedFile,
    part_count,
    part_file,
    part_range,
    read_images,
    read_pairs,
    write_images,
    write_rows,
)
from r2d2.corpus.runner import Runner, map_jobs
from r2d2.progress import Update

LEAVERS = "leavers"
# Rules that drop a text.
LOST = "its image was dropped"
SAME_TEXT = "the same text of one image"
LOW_RATE = "too low a rate once merged"
BEYOND = "beyond max_queries"
REST = "rest"  # kind of part: queries that count where they ranked under another copy
MERGE_COLUMNS = pa.schema(
    [
        ("image_id", pa.string()),  # of a group of images that are one, each
        ("into", pa.string()),  # the group's id
        ("picture", pa.string()),  # whose file stands for the group
        ("final_id", pa.string()),  # that the group has in the table
    ]
)
UNITED_IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("final_id", pa.string()),  # that the image has in the table
        ("url", pa.string()),
        ("image", pa.large_binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


def unite(
    pairs: Path,
    images: Path,
    merge: Path | None,
    out: Path,
    rank: RankConfig,
    prior: Prior | None,
    runner: Runner,
    update: Update,
    *,
    summed: Path | None = None,
    least: float = 0.0,
    memory_bytes: int = MEMORY,
) -> list[StageCount]:
    """Bring the filtered pairs and images together.

    Args:
        pairs: folder of the stage whose pairs are kept.
        images: folder of the stage whose images are kept.
        merge: a file of MERGE_COLUMNS, one row for each image of a group; None: no two are one.
        out: folder to write pairs (PAIR_COLUMNS) and images (UNITED_IMAGES) of equal ids into.
        rank: how a CTR is smoothed, and how many queries an image may have.
        prior: of the whole log; None where there is no ranking.
        runner: who does the jobs.
        update: progress.
        summed: folder of the sums, to count what was shown but did not rank; None: that
            is not counted.
        least: the rate of the last pair that ranked; merged pairs below it are dropped.
        memory_bytes: for the whole process.

    Returns:
        Counts of pairs, then of images.
    """
    parts = part_count(pairs)
    jobs = [
        {"pairs": str(pairs), "images": str(images), "out": str(out), "part": str(n)}
        for n in range(parts)
    ]
    merged = MergedImages(None if merge is None else str(merge), parts)
    if merge is not None:
        map_jobs(SetAside(merged), jobs, runner, "merged images", update)
        if summed is not None:
            _find_unranked(pairs, merge, out, summed, runner, memory_bytes, update)
    return [
        add_counts(map_jobs(work, jobs, runner, what, update))
        for work, what in (
            (UnitePairs(merged, rank, prior, least), "uniting texts"),
            (UniteImages(merged), "uniting images"),
        )
    ]


def _find_unranked(
    pairs: Path,
    merge: Path,
    out: Path,
    summed: Path,
    runner: Runner,
    memory_bytes: int,
    update: Update,
) -> None:
    layout = read_layout(summed)
    share = memory_bytes // max(1, runner.workers) if runner.cluster else memory_bytes
    find = FindUnranked(str(merge), layout, share, 1 if runner.cluster else runner.workers)
    tasks = [
        {
            "pairs": str(pairs),
            "summed": str(summed),
            "bucket": str(n),
            "rest": str(part_file(out / LEAVERS, REST, n)),
        }
        for n in range(len(layout.images))
    ]
    by_bucket(find, tasks, runner, "queries that did not rank", update)


@dataclass(frozen=True)
class MergedImages:
    """The merges that concern the images of a part."""

    file: str | None
    parts: int

    def _read(self, part: int, column: str) -> list[dict[str, str]]:
        if self.file is None:
            return []
        first, last = part_range(part, self.parts)
        rows = pq.read_table(self.file, filters=[(column, ">=", first), (column, "<", last)])
        merges: list[dict[str, str]] = rows.to_pylist()
        return merges

    def leavers(self, part: int) -> dict[str, str]:
        """Images of a part that give up their id, and whose they take."""
        merges = self._read(part, "image_id")
        return {row["image_id"]: row["into"] for row in merges if row["image_id"] != row["into"]}

    def lenders(self, part: int) -> dict[str, str]:
        """Images of a part whose file stands for a group under another id, and that id."""
        merges = self._read(part, "picture")
        return {row["picture"]: row["into"] for row in merges if row["picture"] != row["into"]}

    def final_ids(self, part: int) -> dict[str, str]:
        """The ids in the table of the groups of a part."""
        return {row["into"]: row["final_id"] for row in self._read(part, "into")}

    def borrowers(self, part: int) -> set[str]:
        """Groups of a part whose file is that of another image."""
        merges = self._read(part, "into")
        return {row["into"] for row in merges if row["picture"] != row["into"]}


@dataclass(frozen=True)
class SetAside:
    """Write the pairs and files of a part whose image takes another id, under that id."""

    merged: MergedImages

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        part = int(job["part"])
        aside = Path(job["out"]) / LEAVERS
        leavers, lenders = self.merged.leavers(part), self.merged.lenders(part)
        pairs = read_pairs(part_file(Path(job["pairs"]), PAIRS, part)).select(PAIR_COLUMNS.names)
        pairs = pairs.cast(PAIR_COLUMNS)
        parcels = {
            PAIRS: pairs.filter(pc.is_in(pairs["image_id"], pa.array(list(leavers), pa.string())))
        }
        for kind, rows in parcels.items():
            if len(rows):
                write_rows(part_file(aside, kind, part), moved(rows, leavers).sort_by("image_id"))

        def files() -> Iterator[dict[str, Any]]:
            for row in read_images(part_file(Path(job["images"]), IMAGES, part)) if lenders else ():
                if row["image_id"] in lenders:
                    yield {**row, "image_id": lenders[row["image_id"]]}

        count = 0
        if lenders:
            count = write_images(part_file(aside, IMAGES, part), UNITED_IMAGES, files())
        count += sum(map(len, parcels.values()))
        return StageCount("set aside", "rows", count, count)


@dataclass(frozen=True)
class UnitePairs:
    """The pairs of a part whose image is there, equal texts of an image as one."""

    merged: MergedImages
    rank: RankConfig
    prior: Prior | None
    least: float

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        part = int(job["part"])
        rows = read_pairs(part_file(Path(job["pairs"]), PAIRS, part)).select(PAIR_COLUMNS.names)
        rows = rows.cast(PAIR_COLUMNS)
        rest = PAIR_COLUMNS.empty_table()
        if self.merged.file is not None:
            leavers = pa.array(list(self.merged.leavers(part)), pa.string())
            rows = rows.filter(pc.invert(pc.is_in(rows["image_id"], leavers)))
            rows = pa.concat_tables([rows, *_arrivals(job, self.merged.parts, PAIRS)])
            unranked = _arrivals(job, self.merged.parts, REST)
            rest = pa.concat_tables([rest, *(table.cast(PAIR_COLUMNS) for table in unranked)])
        seen = len(rows)
        ids = _ids(part_file(Path(job["images"]), IMAGES, part))
        alive = rows.filter(pc.is_in(rows["image_id"], ids))
        lost = rows.filter(pc.invert(pc.is_in(rows["image_id"], ids)))
        united = with_counts(alive, rest)
        united = united.set_column(PAIR_COLUMNS.get_field_index("ctr"), "ctr", self._ctr(united))
        ranked, low, lone = still_ranked(united, self.least)
        kept = best_queries(ranked, self.rank.max_queries)
        write_rows(part_file(Path(job["out"]), PAIRS, part), kept)
        dropped = {
            LOST: len(lost),
            SAME_TEXT: len(alive) - len(united),
            LOW_RATE: len(low),
            NO_QUERY: len(lone),
            BEYOND: len(ranked) - len(kept),
        }
        with DroppedFile(Path(job["out"]), "unite", "texts", job["part"]) as file:
            if file.wanted:  # it takes a sort and a join to tell which these are
                file.add_table(LOST, lost)
                file.add_table(SAME_TEXT, repeated(alive))
                file.add_table(LOW_RATE, low)
                file.add_table(NO_QUERY, lone)
                beyond = ranked.join(kept.select(KEYS), KEYS, join_type="left anti")
                file.add_table(BEYOND, beyond)
        shown = tuple(lost["text"][:EXAMPLES].to_pylist())
        return StageCount(
            "unite", "texts", seen, len(kept),
            {rule: count for rule, count in dropped.items() if count},
            {LOST: shown} if shown else {},
            flows=_flows(alive, united, low, ranked, kept),
        )  # fmt: skip

    def _ctr(self, rows: pa.Table) -> pa.Array:
        if self.prior is None:
            return pa.nulls(len(rows), pa.float32())
        query = pc.equal(rows["source"], QUERY).to_numpy(zero_copy_only=False)
        clicks, examined = (
            pc.fill_null(rows[name], 0).to_numpy().astype(np.float64)
            for name in ("clicks", "examined")
        )
        rates = score(clicks, examined, self.rank, self.prior).astype(np.float32)
        return pa.array(rates, pa.float32(), mask=~query)


@dataclass(frozen=True)
class UniteImages:
    """The images of a part that have a text, each with the file that stands for its group."""

    merged: MergedImages

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        return keep_images(job, self._verdicts(job), UNITED_IMAGES, "unite")

    def _verdicts(self, job: dict[str, str]) -> Iterator[ImageVerdict]:
        part = int(job["part"])
        leavers, borrowers = self.merged.leavers(part), self.merged.borrowers(part)
        final_ids = self.merged.final_ids(part)
        wanted = set(_ids(part_file(Path(job["out"]), PAIRS, part)).to_pylist())
        lent = {
            row["image_id"]: row
            for table in (_arrivals(job, self.merged.parts, IMAGES) if borrowers else ())
            for row in table.to_pylist()
        }
        for row in read_images(part_file(Path(job["images"]), IMAGES, part)):
            if row["image_id"] in leavers:
                continue  # counted as a duplicate when it was found
            known = {"image_id": row["image_id"], "url": row["url"]}
            if row["image_id"] not in wanted:
                yield ImageVerdict(known, NO_TEXT_LEFT)
                continue
            row = lent.get(row["image_id"], row)
            row["final_id"] = final_ids.get(row["image_id"], row["final_id"])
            united = {name: row[name] for name in UNITED_IMAGES.names}
            yield ImageVerdict(known, None, written=united)


def _flows(
    alive: pa.Table, united: pa.Table, low: pa.Table, ranked: pa.Table, kept: pa.Table
) -> dict[str, Flow]:
    """The sums of a part: what images that are there brought, what joined it, and what was left."""
    tables = (alive, united, low, ranked, kept)
    seen, all_, lost, left, end = (totals(table) for table in tables)
    if not any(all_.values()):
        return {}
    return {
        name: Flow(
            seen[name],
            end[name],
            {
                rule: amount
                for rule, amount in (
                    (LOW_RATE, lost[name]),
                    (BEYOND, left[name] - end[name]),
                )
                if amount
            },
            all_[name] - seen[name],
        )
        for name in COUNTED
    }


def _arrivals(job: dict[str, str], parts: int, kind: str) -> list[pa.Table]:
    """The rows that other parts have written for this one."""
    first, last = part_range(int(job["part"]), parts)
    here = [("image_id", ">=", first), ("image_id", "<", last)]
    files = (part_file(Path(job["out"]) / LEAVERS, kind, n) for n in range(parts))
    return [pq.read_table(file, filters=here) for file in files if file.exists()]


def _ids(path: Path) -> pa.Array:
    """The ids in a part, each once."""
    return pc.unique(read_pairs(path, ["image_id"])["image_id"])
