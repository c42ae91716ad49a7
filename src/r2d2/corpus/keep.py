"""The texts and the images of a part that a stage keeps, written and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.funnel import COUNTED, StageCount, StageCounter, amounts_of, count_stage, flows_of
from r2d2.corpus.rows import (
    COUNTED_IMAGES,
    IMAGES,
    PAIRS,
    DroppedFile,
    part_file,
    read_images,
    read_pairs,
    write_images,
    write_rows,
)


def keep_texts(
    job: Mapping[str, str], rows: pa.Table, rules: Sequence[str | None], stage: str
) -> StageCount:
    """Write the pairs of a part that no rule drops, and count all.

    Args:
        job: of `map_jobs`; pairs are written to its `out`.
        rows: the pairs (n).
        rules: (n,) why each is dropped; None: it is kept.
        stage: its name in the funnel.
    """
    kept = pa.array([rule is None for rule in rules], pa.bool_())
    write_rows(part_file(Path(job["out"]), PAIRS, int(job["part"])), rows.filter(kept))
    with DroppedFile(Path(job["out"]), stage, "texts", job["part"]) as dropped:
        if dropped.wanted:
            lost = rows.filter(pc.invert(kept)).to_pylist()
            for rule, row in zip(filter(None, rules), lost, strict=True):
                dropped.add(rule, row)
    count = count_stage(stage, "texts", rules, rows["text"].to_pylist())
    numbers: dict[str | None, int] = {rule: n for n, rule in enumerate(count.dropped, 1)}
    verdict = np.array([numbers.get(rule, 0) for rule in rules], dtype=np.int64)
    return replace(count, flows=flows_of(amounts_of(rows), verdict, list(count.dropped)))


NO_TEXT_LEFT = "no text left"  # the rule that drops an image


@dataclass(frozen=True)
class ImageVerdict:
    """What a stage says of an image."""

    row: dict[str, Any]  # as it is counted
    rule: str | None  # that drops it; None: it is kept
    shown: str | None = None  # the image in words, for an example
    reason: str | None = None  # more than the rule tells
    written: dict[str, Any] | None = None  # the row that is written; None: `row`


def keep_images(
    job: Mapping[str, str], verdicts: Iterable[ImageVerdict], schema: pa.Schema, stage: str
) -> StageCount:
    """Write the images of a part that no rule drops, and count all; one is in memory at a time.

    Args:
        job: of `map_jobs`; images are written to its `out`.
        verdicts: on each image of the part, sorted by id.
        schema: of what is written.
        stage: its name in the funnel.
    """
    out, part = Path(job["out"]), job["part"]
    with DroppedFile(out, stage, "images", part) as dropped:
        tally = StageCounter(stage, "images", dropped)

        def kept() -> Iterator[dict[str, Any]]:
            for verdict in verdicts:
                tally.add(verdict.rule, verdict.row, verdict.shown, reason=verdict.reason)
                if verdict.rule is None:
                    yield verdict.row if verdict.written is None else verdict.written

        write_images(part_file(out, IMAGES, int(part)), schema, kept())
    return tally.count()


@dataclass(frozen=True)
class PruneWork:
    """The images of a part (folder `images`) that its pairs (folder `pairs`) still name.

    `copies`: all of them, for the others may turn out as copies of those (`rank.copies`).
    """

    copies: bool = False
    stage: str = "text filter"  # its name in the funnel

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        return keep_images(job, self._verdicts(job), COUNTED_IMAGES, self.stage)

    def _verdicts(self, job: dict[str, str]) -> Iterator[ImageVerdict]:
        part = int(job["part"])
        columns = ["image_id", *COUNTED]
        pairs = read_pairs(part_file(Path(job["pairs"]), PAIRS, part), columns)
        sums = pairs.group_by("image_id").aggregate([(name, "sum") for name in COUNTED])
        wanted = {row.pop("image_id"): row for row in sums.to_pylist()}
        for row in read_images(part_file(Path(job["images"]), IMAGES, part)):
            sums = wanted.get(row["image_id"], {})
            row |= {name: sums.get(f"{name}_sum") for name in COUNTED}
            keep = self.copies or row["image_id"] in wanted
            yield ImageVerdict(row, None if keep else NO_TEXT_LEFT)
