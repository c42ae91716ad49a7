"""Stage 2: keep the pairs that people click, by smoothed click-through rate."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.ctr import Prior
from r2d2.corpus.clicks.groups import Ints
from r2d2.corpus.clicks.tally import TALLY, Bits, bits_of, enough, last_kept, log_prior, numbers
from r2d2.corpus.config import RankConfig
from r2d2.corpus.engine import held_memory, map_columns
from r2d2.corpus.flows import amounts_of, flows_of
from r2d2.corpus.funnel import EXAMPLES, StageCount, add_counts
from r2d2.corpus.parts import Places
from r2d2.corpus.rows import (
    IMAGE_COLUMNS,
    IMAGES,
    PAIR_COLUMNS,
    PAIRS,
    QUERY,
    new_part,
    open_part,
    part_count,
    part_file,
    read_pairs,
    write_rows,
)
from r2d2.errors import R2D2Error
from r2d2.files import write_text
from r2d2.progress import Update

DONE = "done"  # folder of the counts of finished parts
NO_QUERY = "no query left"
LEAST = "least.json"  # the rate of the last pair kept


@held_memory()
def rank(
    inp: Path, out: Path, config: RankConfig, *, places: Places, update: Update
) -> list[StageCount]:
    """Rank the queries of all images, and keep the best.

    Args:
        inp: folder of the aggregated parts.
        out: folder to write `pairs` and `images` into, `prior.json` (see `read_prior`) and
            `least.json` (see `read_least`).
        config: the rules; not enabled, everything passes and `ctr` stays null.
        places: where to work.
        update: progress.

    Returns:
        Counts of pairs by the rule that dropped them, and of images, which live by their queries.
        The notes of the first tell the prior, and how many images of which no query ranked were
        shown how often.
    """
    jobs = [
        {"inp": str(inp), "out": str(out), "part": str(part)} for part in range(part_count(inp))
    ]
    if not jobs:
        raise R2D2Error(f"{inp} holds no parts: aggregate a log into it first")
    prior, cut, ties = Prior(), 0, [0] * len(jobs)
    if config.active:
        prior = log_prior(inp, out, jobs, places, update)
        if config.top_share is not None or config.top_count is not None:
            cut, ties = last_kept(config, prior, jobs, places, update)
    if config.active:
        write_text(out / LEAST, json.dumps(_least(config, cut)))
    for job, tie in zip(jobs, ties, strict=True):
        job["ties"] = str(tie)
    counts = map_columns(Select(config, prior, cut), jobs, places, "ranking", update)
    shutil.rmtree(out / TALLY, ignore_errors=True)
    shutil.rmtree(out / DONE, ignore_errors=True)
    seen, kept = (sum(count.notes[name] for count in counts) for name in ("images", "images_kept"))
    notes: dict[str, float] = {}
    if config.active:
        notes = {"alpha": prior.alpha, "beta": prior.beta}
    if seen > kept:
        aside = sum(count.notes.get("aside_impressions", 0) for count in counts)
        notes |= {"aside_images": seen - kept, "aside_impressions": aside}
    pairs = add_counts(counts)
    dropped = {NO_QUERY: seen - kept} if seen > kept else {}
    return [
        StageCount(
            "rank",
            "pairs",
            pairs.seen,
            pairs.kept,
            pairs.dropped,
            pairs.examples,
            notes,
            pairs.flows,
        ),
        StageCount("rank", "images", seen, kept, dropped),
    ]


def read_least(folder: Path) -> float:
    """The rate below which `rank` kept no pair; 0 where it made no cut by rate."""
    try:
        return float(json.loads((folder / LEAST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return 0.0


def _least(config: RankConfig, cut: int) -> float:
    if config.threshold is not None:
        return float(np.float32(config.threshold))
    return float(np.uint32(min(cut, 0x3F800000)).view(np.float32))  # the bits of 1 at most


@dataclass(frozen=True)
class Select:
    """The pairs of a part that stay, and their images."""

    config: RankConfig
    prior: Prior
    cut: int  # bits of the last score kept; job["ties"] says how many of that very score

    def __call__(self, job: dict[str, str]) -> StageCount:
        """Write one part of pairs and one of images."""
        inp, out, part = Path(job["inp"]), Path(job["out"]), int(job["part"])
        record = out / DONE / f"part-{part:04d}.json"
        if record.exists():
            return StageCount.from_dict(json.loads(record.read_text(encoding="utf-8")))
        rows = read_pairs(part_file(inp, PAIRS, part))
        verdict, ctr, names = self._judge(rows, int(job["ties"]))
        kept = verdict == 0
        rows = rows.drop_columns("ctr") if "ctr" in rows.column_names else rows
        rows = rows.append_column("ctr", ctr)
        write_rows(
            part_file(out, PAIRS, part),
            rows.filter(pa.array(kept)).select(PAIR_COLUMNS.names).cast(PAIR_COLUMNS),
        )
        dropped, examples = {}, {}
        for number, name in enumerate(names, 1):
            places = np.flatnonzero(verdict == number)
            if len(places):
                dropped[name] = len(places)
                examples[name] = _show(rows.take(pa.array(places[:EXAMPLES])))
        alive = pc.unique(rows["image_id"].filter(pa.array(kept)))
        notes = self._images(inp, out, part, alive)
        notes["aside_impressions"] = _aside(rows, kept)
        flows = flows_of(amounts_of(rows), verdict, names)
        count = StageCount(
            "rank", "pairs", len(rows), int(kept.sum()), dropped, examples, notes, flows
        )
        write_text(record, json.dumps(count.to_dict()))
        return count

    def _judge(self, rows: pa.Table, ties: int) -> tuple[Ints, pa.Array, list[str]]:
        """Of each row (n,) 0 or the number of the rule that drops it, its CTR, and the rules."""
        config = self.config
        verdict = np.zeros(len(rows), dtype=np.int64)
        if not config.active:
            return verdict, pa.nulls(len(rows), pa.float32()), []
        best = next(
            (name for name in ("top_share", "top_count") if getattr(config, name) is not None),
            "threshold",
        )
        names = ["min_impressions", "min_clicks", best, "max_queries", NO_QUERY]
        query = pc.equal(rows["source"], QUERY).to_numpy(zero_copy_only=False)
        place = np.flatnonzero(query)
        clicks, examined, impressions = numbers(rows.filter(pa.array(query)))
        bits = bits_of(clicks, examined, config, self.prior)
        rule = enough(clicks, impressions, config)
        if config.threshold is not None:
            rule[(rule == 0) & (bits.view(np.float32) < np.float32(config.threshold))] = 3
        elif best != "threshold":
            equal = np.flatnonzero((rule == 0) & (bits == self.cut))
            rule[(rule == 0) & (bits < self.cut)] = 3
            rule[equal[ties:]] = 3
        image = _images_of(rows["image_id"])
        rule[_surplus(image[place], bits, rule == 0, config.max_queries)] = 4
        verdict[place] = rule
        alive = np.zeros(len(rows) + 1, dtype=bool)
        alive[image[place[rule == 0]]] = True
        verdict[~query & ~alive[image]] = 5
        ctr = np.zeros(len(rows), dtype=np.float32)
        ctr[place] = bits.view(np.float32)
        return verdict, pa.array(ctr, mask=~query), names

    def _images(self, inp: Path, out: Path, part: int, alive: pa.Array) -> dict[str, int]:
        seen = kept = 0
        with (
            open_part(part_file(inp, IMAGES, part)) as file,
            new_part(part_file(out, IMAGES, part), IMAGE_COLUMNS) as writer,
        ):
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group).select(IMAGE_COLUMNS.names)
                seen += len(rows)
                if self.config.active and not self.config.copies:
                    rows = rows.filter(pc.is_in(rows["image_id"], alive))
                kept += len(rows)
                if len(rows):
                    writer.write_table(rows.cast(IMAGE_COLUMNS))
        return {"images": seen, "images_kept": kept}


def _aside(rows: pa.Table, kept: npt.NDArray[np.bool_]) -> int:
    """How often those images of a part were shown of which no row is kept."""
    image = _images_of(rows["image_id"])
    alive = np.zeros(len(rows) + 1, dtype=bool)
    alive[image[kept]] = True
    shown = pc.fill_null(rows["impressions"], 0).to_numpy()
    return int(shown[~alive[image]].sum())


def _surplus(image: Ints, bits: Bits, alive: npt.NDArray[np.bool_], most: int) -> Ints:
    """Places of the queries beyond the best `most` of their image; equals keep their order."""
    place = np.flatnonzero(alive)
    image = image[place]
    below = 2**32 - 1 - bits[place].astype(np.int64)
    descending = np.argsort((image << 32) + below, kind="stable")
    image = image[descending]
    new = np.append(True, image[1:] != image[:-1])[: len(image)]
    first = np.flatnonzero(new)
    within = np.arange(len(image)) - np.repeat(first, np.diff(np.append(first, len(image))))
    return place[descending[within >= most]]


def _images_of(ids: pa.ChunkedArray) -> Ints:
    """A number (n,) for each row's image; rows of one image stand together."""
    ids = ids.combine_chunks()
    if len(ids) == 0:
        return np.zeros(0, dtype=np.int64)
    new = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    return np.append(0, np.cumsum(new.to_numpy(zero_copy_only=False)))


def _show(rows: pa.Table) -> tuple[str, ...]:
    return tuple(
        f"{row['text']} ({row['clicks']} of {row['impressions']}, CTR {row['ctr']:.4f})"
        if row["source"] == QUERY
        else f"{row['text']} ({row['source']})"
        for row in rows.to_pylist()
    )
