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

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r2d2.corpus.clicks.best_pairs import NO_QUERY, TOTALS
from r2d2.corpus.clicks.buckets import by_bucket, read_layout
from r2d2.corpus.clicks.ctr import Prior
from r2d2.corpus.clicks.cut import score_literal, score_of
from r2d2.corpus.clicks.engine import Database, open_database, quoted
from r2d2.corpus.clicks.rank import MEMORY
from r2d2.corpus.clicks.recount import FindUnranked
from r2d2.corpus.config import RankConfig
from r2d2.corpus.funnel import COUNTED, EXAMPLES, Flow, StageCount, add_counts
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
PAIR = ", ".join(PAIR_COLUMNS.names)
KEY = "image_id, source, text"
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
    share = memory_bytes // runner.workers
    if merge is not None:
        map_jobs(SetAside(merged), jobs, runner, "merged images", update)
        if summed is not None:
            _find_unranked(pairs, merge, out, summed, runner, memory_bytes, update)
    return [
        add_counts(map_jobs(work, jobs, runner, what, update))
        for work, what in (
            (UnitePairs(merged, rank, prior, least, share), "uniting texts"),
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
    find = FindUnranked(str(merge), layout, *runner.database_share(memory_bytes))
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
        count = 0
        if leavers:
            pairs = read_pairs(part_file(Path(job["pairs"]), PAIRS, part))
            pairs = pairs.select(PAIR_COLUMNS.names).cast(PAIR_COLUMNS)
            gone = pa.array(list(leavers), pa.string())
            pairs = pairs.filter(pc.is_in(pairs["image_id"], gone))
            taken = pa.array([leavers[old] for old in pairs["image_id"].to_pylist()], pa.string())
            pairs = pairs.set_column(0, PAIR_COLUMNS.field(0), taken).sort_by("image_id")
            write_rows(part_file(aside, PAIRS, part), pairs)
            count = len(pairs)

        def files() -> Iterator[dict[str, Any]]:
            for row in read_images(part_file(Path(job["images"]), IMAGES, part)):
                if row["image_id"] in lenders:
                    yield {**row, "image_id": lenders[row["image_id"]]}

        if lenders:
            count += write_images(part_file(aside, IMAGES, part), UNITED_IMAGES, files())
        return StageCount("set aside", "rows", count, count)


@dataclass(frozen=True)
class UnitePairs:
    """The pairs of a part whose image is there, equal texts of an image as one."""

    merged: MergedImages
    rank: RankConfig
    prior: Prior | None
    least: float
    memory_bytes: int

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        out = Path(job["out"])
        with (
            open_database(out, self.memory_bytes, job=job["part"]) as base,
            DroppedFile(out, "unite", "texts", job["part"]) as dropped,
        ):
            self._read(base, job)
            self._judge(base)
            kept = base.table(f"SELECT {PAIR} FROM judged WHERE rule IS NULL ORDER BY {KEY}")
            write_rows(part_file(out, PAIRS, int(job["part"])), kept.cast(PAIR_COLUMNS))
            lost = f"""SELECT {PAIR} FROM brought
                WHERE image_id NOT IN (FROM there) ORDER BY {KEY}, clicks"""
            if dropped.wanted:
                dropped.add_table(LOST, base.table(lost))
                same = f"""SELECT {PAIR} FROM alive QUALIFY
                    row_number() OVER (PARTITION BY {KEY} ORDER BY clicks, impressions) > 1
                    ORDER BY {KEY}, clicks"""
                dropped.add_table(SAME_TEXT, base.table(same))
                for rule in (LOW_RATE, NO_QUERY, BEYOND):
                    rows = f"SELECT {PAIR} FROM judged WHERE rule = {quoted(rule)} ORDER BY {KEY}"
                    dropped.add_table(rule, base.table(rows))
            shown = tuple(text for _, text, *_ in base.run(f"{lost} LIMIT {EXAMPLES}"))
            return _count(base, shown)

    def _read(self, base: Database, job: dict[str, str]) -> None:
        """Leave `there` (ids of images), `brought` and `alive` (pairs), and `rest`: see REST."""
        part = int(job["part"])
        pairs, images = (
            quoted(str(part_file(Path(job[kind]), kind, part))) for kind in (PAIRS, IMAGES)
        )
        own = f"SELECT {PAIR} FROM read_parquet({pairs})"
        if self.merged.file is not None:
            leavers = f'FROM read_parquet({quoted(self.merged.file)}) WHERE image_id <> "into"'
            own += f" WHERE image_id NOT IN (SELECT image_id {leavers})"
        first, last = part_range(part, self.merged.parts)
        arrived, rest = (
            f"SELECT {PAIR} FROM read_parquet([{', '.join(map(quoted, files))}]) "
            f"WHERE image_id >= '{first}' AND image_id < '{last}'"
            if (files := _arrivals(job, self.merged.parts, kind))
            else f"SELECT {PAIR} FROM read_parquet({pairs}) WHERE false"
            for kind in (PAIRS, REST)
        )
        base.run(f"CREATE TABLE there AS SELECT DISTINCT image_id FROM read_parquet({images})")
        base.run(f"CREATE TABLE brought AS {own} UNION ALL {arrived}")
        base.run("CREATE VIEW alive AS FROM brought WHERE image_id IN (FROM there)")
        base.run(f"CREATE VIEW rest AS {rest}")

    def _judge(self, base: Database) -> None:
        """Leave `united`, the sums of equal pairs, and `judged`: these with the `rule` that drops
        them, or NULL.
        """
        rate = "NULL::FLOAT" if self.prior is None else score_of(self.rank, self.prior)
        amounts = ", ".join(
            f"sum({name})::{kind} AS {name}"
            for name, kind in (
                ("clicks", "BIGINT"),
                ("impressions", "BIGINT"),
                ("examined", "DOUBLE"),
            )
        )
        base.run(
            f"""CREATE TABLE united AS SELECT *, CASE WHEN source = '{QUERY}' THEN {rate} END AS ctr
            FROM (SELECT *, greatest(coalesce(clicks, 0)::DOUBLE, coalesce(examined, 0)) AS looks
                FROM (SELECT {KEY}, {amounts}
                    FROM (FROM alive UNION ALL FROM rest SEMI JOIN alive USING ({KEY}))
                    GROUP BY {KEY}))"""
        )
        base.run(
            f"""CREATE TABLE judged AS SELECT {PAIR}, CASE
                WHEN low THEN {quoted(LOW_RATE)}
                WHEN source <> '{QUERY}' AND lows > 0 AND queries = 0 THEN {quoted(NO_QUERY)}
                WHEN source = '{QUERY}' AND place > {self.rank.max_queries} THEN {quoted(BEYOND)}
                END AS rule
            FROM (SELECT *, count_if(low) OVER of_image AS lows,
                    count_if(source = '{QUERY}' AND NOT low) OVER of_image AS queries,
                    row_number() OVER (PARTITION BY image_id, source = '{QUERY}', low
                        ORDER BY ctr DESC, clicks DESC, text) AS place
                FROM (SELECT *, source = '{QUERY}'
                        AND coalesce(ctr < {score_literal(self.least)}, false) AS low FROM united)
                WINDOW of_image AS (PARTITION BY image_id))"""
        )


def _count(base: Database, shown: tuple[str, ...]) -> StageCount:
    """What `UnitePairs` dropped and kept; `shown` are texts whose image was dropped."""
    ((seen,),) = base.run("SELECT count(*) FROM brought")
    (alive,), (united,) = (base.run(f"SELECT {TOTALS} FROM {name}") for name in ("alive", "united"))
    by_rule = {
        rule: amounts
        for rule, *amounts in base.run(f"SELECT rule, {TOTALS} FROM judged GROUP BY rule")
    }
    kept = by_rule.pop(None, [0, 0, 0])
    dropped = {LOST: seen - alive[0], SAME_TEXT: alive[0] - united[0]}
    rules = [rule for rule in (LOW_RATE, NO_QUERY, BEYOND) if rule in by_rule]
    dropped |= {rule: by_rule[rule][0] for rule in rules}
    flows = {
        name: Flow(
            int(alive[n]),
            int(kept[n]),
            {rule: int(by_rule[rule][n]) for rule in rules if by_rule[rule][n]},
            int(united[n] - alive[n]),
        )
        for n, name in enumerate(COUNTED, 1)
        if any(united[1:])
    }
    return StageCount(
        "unite", "texts", seen, kept[0], {rule: count for rule, count in dropped.items() if count},
        {LOST: shown} if shown else {}, flows=flows,
    )  # fmt: skip


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
        first, last = part_range(part, self.merged.parts)
        here = [("image_id", ">=", first), ("image_id", "<", last)]
        lent = {
            row["image_id"]: row
            for file in (_arrivals(job, self.merged.parts, IMAGES) if borrowers else ())
            for row in pq.read_table(file, filters=here).to_pylist()
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


def _arrivals(job: dict[str, str], parts: int, kind: str) -> list[str]:
    """The files in which other parts have left rows, perhaps for this one."""
    files = (part_file(Path(job["out"]) / LEAVERS, kind, n) for n in range(parts))
    return [str(file) for file in files if file.exists()]


def _ids(path: Path) -> pa.Array:
    """The ids in a part, each once."""
    return pc.unique(read_pairs(path, ["image_id"])["image_id"])
