"""Images that no text is left of are not fetched, decoded or carried on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d2.corpus.flows import totals
from r2d2.corpus.funnel import COUNTED, Flow, StageCount
from r2d2.corpus.rows import (
    COUNTED_IMAGES,
    IMAGES,
    PAIRS,
    part_file,
    read_images,
    read_pairs,
    write_images,
)


@dataclass(frozen=True)
class PruneWork:
    """The images of a part (folder `images`) that its pairs (folder `pairs`) still name.

    `copies`: all of them, for the others may turn out as copies of those (`rank.copies`).
    """

    copies: bool = False

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_parts`."""
        part = int(job["part"])
        columns = ["image_id", *COUNTED]
        pairs = read_pairs(part_file(Path(job["pairs"]), PAIRS, part), columns)
        sums = pairs.group_by("image_id").aggregate([(name, "sum") for name in COUNTED])
        wanted = {row.pop("image_id"): row for row in sums.to_pylist()}
        seen = 0

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal seen
            for row in read_images(part_file(Path(job["images"]), IMAGES, part)):
                seen += 1
                if self.copies or row["image_id"] in wanted:
                    known = wanted.get(row["image_id"], {})
                    yield {**row, **{name: known.get(f"{name}_sum") for name in COUNTED}}

        kept = write_images(part_file(Path(job["out"]), IMAGES, part), COUNTED_IMAGES, rows())
        dropped = {"no text left": seen - kept} if seen > kept else {}
        flows = {name: Flow(amount, amount) for name, amount in totals(pairs).items()}
        known = flows if any(flow.seen for flow in flows.values()) else {}
        return StageCount("text filter", "images", seen, kept, dropped, flows=known)
