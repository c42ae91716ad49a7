"""The texts that rules keep, and the images that still have one: no other is carried on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.funnel import COUNTED, StageCount, Tally, amounts_of, count_stage, flows_of
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
class PruneWork:
    """The images of a part (folder `images`) that its pairs (folder `pairs`) still name.

    `copies`: all of them, for the others may turn out as copies of those (`rank.copies`).
    """

    copies: bool = False
    stage: str = "text filter"  # its name in the funnel

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        part = int(job["part"])
        columns = ["image_id", *COUNTED]
        pairs = read_pairs(part_file(Path(job["pairs"]), PAIRS, part), columns)
        sums = pairs.group_by("image_id").aggregate([(name, "sum") for name in COUNTED])
        wanted = {row.pop("image_id"): row for row in sums.to_pylist()}
        with DroppedFile(Path(job["out"]), self.stage, "images", job["part"]) as dropped:
            tally = Tally(self.stage, "images", dropped)

            def rows() -> Iterator[dict[str, Any]]:
                for row in read_images(part_file(Path(job["images"]), IMAGES, part)):
                    sums = wanted.get(row["image_id"], {})
                    row |= {name: sums.get(f"{name}_sum") for name in COUNTED}
                    keep = self.copies or row["image_id"] in wanted
                    tally.add(None if keep else NO_TEXT_LEFT, row)
                    if keep:
                        yield row

            write_images(part_file(Path(job["out"]), IMAGES, part), COUNTED_IMAGES, rows())
        return tally.count()
