"""The cost of a model: the time of a query in each stage, and its size."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from r2d2.evaluation.protocol import DualEncoder

FLOAT_BYTES = 4  # of a number in a vector


@dataclass
class Stopwatch:
    """The seconds of each stage, and how many items passed through it."""

    seconds: dict[str, float] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time spent in the `with` block to a stage."""
        start = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def count(self, stage: str, items: int) -> None:
        """Add items that passed through a stage."""
        self.items[stage] = self.items.get(stage, 0) + items

    def each(self, stage: str) -> float | None:
        """Seconds of a stage for each item; None where it did not run or had no items."""
        items = self.items.get(stage, 0)
        return self.seconds[stage] / items if items and stage in self.seconds else None


def cost(
    watch: Stopwatch,
    encoder: DualEncoder,
    network: Any,
    *,
    candidates: int,
    dim: int,
    batch_size: int,
) -> dict[str, Any]:
    """The cost of a run, for metrics.json; what is not known is None.

    Args:
        watch: stages `images`, `texts`, `rank` and `pooled` (a query each), `match` (a pair each).
        encoder: what was measured.
        network: the torch module behind it; None: there is none, or it is not known.
        candidates: of a query, that the second stage sees.
        dim: numbers of a vector.
        batch_size: items, or pairs, a forward pass.
    """
    image, text, rank, pair = (watch.each(s) for s in ("images", "texts", "rank", "match"))
    first = None if text is None or rank is None else 1000 * (text + rank)
    second = None if pair is None or not encoder.has_match else 1000 * pair * candidates
    pooled = watch.each("pooled")
    return {
        "parameters": None if network is None else sum(p.numel() for p in network.parameters()),
        "bytes_per_vector": dim * FLOAT_BYTES,
        "images_per_second": None if not image else 1 / image,
        "first_stage_ms": first,
        "second_stage_ms": second,
        **({} if pooled is None else {"pooled_ms": 1000 * pooled}),
        "candidates": candidates if encoder.has_match else None,
        "batch_size": batch_size,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }
