"""Build an approximate index, measure its recall, and choose how many partitions it searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from r2d2.errors import R2D2Error
from r2d2.index import layout
from r2d2.index.calibration import calibration_kept
from r2d2.index.gallery.protocol import Floats
from r2d2.index.vectors.approximate import MEASURED_AT, nearest
from r2d2.index.vectors.exact import best_in_batches
from r2d2.index.vectors.table import VectorTable
from r2d2.settings import one_of
from r2d2.table import PairsTable

KINDS = ("ivf_sq", "ivf_pq", "ivf_hnsw_sq", "ivf_flat")
MIN_ROWS = 256  # that a codebook of 256 entries needs
K = MEASURED_AT
QUERIES = 100  # texts, and as many images, that recall is measured with
TIMED = 3  # queries that exact search is timed with, since each reads the whole column
WANTED = 0.95
PROBES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
REFINE = {"ivf_sq": (2, 5), "ivf_flat": (1,), "ivf_hnsw_sq": (2, 5), "ivf_pq": (5, 10, 20)}


@dataclass(frozen=True)
class AnnMeasurement:
    """The recall and the time of an index with its final settings, against exact search."""

    vectors: str  # images or texts
    kind: str
    partitions: int
    probes: int  # partitions that a query reads
    refine: int  # refine x k vectors are compared exactly
    recall: dict[str, float]  # at k = 100, by the kind of queries: texts, images
    seconds: float  # of a query
    exact_seconds: float  # of a query that Lance answers without the index

    @property
    def enough(self) -> bool:
        """Whether recall is as high as wanted."""
        return min(self.recall.values()) >= WANTED

    def lines(self) -> list[str]:
        """The measurement in sentences, for a terminal."""
        figures = ", ".join(f"{value:.3f} asked by {name}" for name, value in self.recall.items())
        lines = [
            f"{self.vectors}: {self.kind}, {self.partitions} partitions: "
            f"recall@{K} against exact search {figures}",
            f"{1000 * self.seconds:.1f} ms a query, looking into {self.probes} partitions and "
            f"comparing {self.refine} x k exactly; exact search {1000 * self.exact_seconds:.1f} ms",
        ]
        if not self.enough:
            lines.append(f"{self.vectors}: that is below {WANTED}: build it {self._remedy()}")
        return lines

    def _remedy(self) -> str:
        ways = ["with more --probes"] if self.probes < self.partitions else []
        if self.kind != "ivf_hnsw_sq":
            other = "ivf_hnsw_sq or ivf_sq" if self.kind == "ivf_pq" else "ivf_hnsw_sq"
            ways.append(f"as {other}, which may find more")
        return ", or ".join(ways) or "as ivf_flat, which keeps each vector whole"


def build_ann(
    table: str | Path,
    kind: str = "ivf_sq",
    *,
    probes: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, AnnMeasurement]:
    """Build an approximate index of the images and the texts of a table, with a recall of 0.95.

    Returns what was measured of `images` and `texts`. Vectors that are too few for an index are
    left out; they are still compared exactly.

    Args:
        table: indexed by `build_index`.
        kind: how vectors are kept: `ivf_sq` a byte a number, `ivf_pq` a byte for eight of them,
            `ivf_hnsw_sq` with a graph, `ivf_flat` whole.
        probes: partitions to look into; None: as few as reach the recall.
        progress: gets a line when something long begins, and of what has too few rows.

    Raises:
        R2D2Error: no index, too few rows, an unknown kind, or another process is at it.
    """
    one_of("--ann", kind, KINDS)
    uri = PairsTable.open(table).path
    with layout.indexing(uri), calibration_kept(uri):
        parts = {"images": VectorTable(uri, layout.VECTOR)}
        if layout.open_lance(layout.texts_uri(uri)) is not None:
            parts["texts"] = VectorTable(layout.texts_uri(uri), layout.TEXT_VECTOR)
        if any(part.scales is not None for part in parts.values()):
            raise R2D2Error(
                f"{uri} was indexed with --store int8, whose vectors are compared exactly: leave "
                "--ann out, or make the index anew in float32, of which ivf_sq keeps bytes, too"
            )
        counts = {name: part.count for name, part in parts.items()}
        if max(counts.values()) < MIN_ROWS:
            counted = " and ".join(f"{count} {name}" for name, count in counts.items())
            raise R2D2Error(
                f"{uri} has vectors of {counted}: an approximate index needs {MIN_ROWS}, and exact "
                "search is fast below some hundred thousand"
            )
        measured = {}
        for name, count in counts.items():
            if count >= MIN_ROWS:
                measured[name] = _build(name, parts, count, kind, probes, progress)
            elif progress is not None:
                progress(
                    f"{name}: {count} vectors, too few for an index: they are compared exactly"
                )
        return measured


def _build(
    name: str,
    parts: Mapping[str, VectorTable],
    count: int,
    kind: str,
    probes: int | None,
    progress: Callable[[str], None] | None,
) -> AnnMeasurement:
    indexed = parts[name]
    partitions = max(1, min(4096, isqrt(count)))
    for _ in indexed.batches():  # a vector with NaN would spoil all partitions
        pass
    if progress is not None:
        progress(f"{name}: building {kind} over {count} vectors")
    settings: dict[str, Any] = {"num_partitions": partitions}
    if kind == "ivf_pq":
        settings["num_sub_vectors"] = _parts(indexed.about.width)
        # a codebook needs so many vectors in a partition; Lance makes fewer partitions otherwise
        settings["num_partitions"] = partitions = max(1, min(partitions, count // MIN_ROWS))
    if kind == "ivf_hnsw_sq":  # it has a graph for each partition: few large graphs are best
        settings["num_partitions"] = partitions = max(1, count // 100_000)
    dataset = indexed.dataset
    dataset.create_index(indexed.column, kind.upper(), metric="dot", replace=True, **settings)
    dataset = layout.open_lance(indexed.uri)
    if progress is not None:
        progress(f"{name}: measuring recall against exact search")
    start = AnnMeasurement(name, kind, partitions, 0, 0, {}, 0.0, 0.0)
    queries = _queries(name, parts)
    truth = {asker: _truth(indexed, vectors) for asker, vectors in queries.items()}
    measured = _measure(dataset, indexed.column, start, queries, truth, probes)
    about = replace(indexed.about, probes=measured.probes, refine=measured.refine)
    layout.write_index_info(dataset, about)
    return measured


def _parts(width: int) -> int:
    """The number of sub-vectors: each of eight numbers, or of the next size that divides d."""
    return max(n for n in range(1, max(1, width // 8) + 1) if width % n == 0)


def _queries(name: str, parts: Mapping[str, VectorTable]) -> dict[str, Floats]:
    """Queries as users have them: images are searched by texts and images, texts by images."""
    askers = ("texts", "images") if name == "images" else ("images",)
    vectors = {asker: _spread_vectors(parts[asker]) for asker in askers if asker in parts}
    return {asker: queries for asker, queries in vectors.items() if len(queries)} or {
        name: _spread_vectors(parts[name])
    }


def _spread_vectors(indexed: VectorTable) -> Floats:
    """Vectors evenly spread over a table, the same in every run."""
    total = indexed.rows
    rows = np.unique(np.linspace(0, total - 1, min(total, 4 * QUERIES)).astype(np.int64))
    _, vectors = indexed.read(rows)
    return vectors[:: max(1, len(vectors) // QUERIES)][:QUERIES]


def _truth(indexed: VectorTable, queries: Floats) -> list[set[int]]:
    """The addresses of the K nearest vectors of each query, in one pass over all vectors."""
    rows = best_in_batches(indexed.batches(), queries, K)
    return [set(indexed.addresses[nearest_rows].tolist()) for nearest_rows in rows]


def _measure(
    dataset: Any,
    column: str,
    index: AnnMeasurement,
    queries: dict[str, Floats],
    truth: Mapping[str, Sequence[set[int]]],
    probes: int | None,
) -> AnnMeasurement:
    kind, partitions = index.kind, index.partitions
    timed = [query for queries_of_kind in queries.values() for query in queries_of_kind[:TIMED]]
    start = time.perf_counter()
    for query in timed:
        nearest(dataset, column, query, K, exact=True)
    exact = (time.perf_counter() - start) / len(timed)
    total = sum(len(queries_of_kind) for queries_of_kind in queries.values())
    steps = [probes] if probes else [p for p in PROBES if p < partitions] + [partitions]
    best: AnnMeasurement | None = None
    for refine in REFINE[kind]:
        for step in steps:
            start = time.perf_counter()
            recall = {
                name: float(
                    np.mean(
                        [
                            len(wanted & _near(dataset, column, query, step, refine)) / len(wanted)
                            for query, wanted in zip(queries_of_kind, truth[name], strict=True)
                        ]
                    )
                )
                for name, queries_of_kind in queries.items()
            }
            seconds = (time.perf_counter() - start) / total
            trial = replace(
                index, probes=step, refine=refine, recall=recall, seconds=seconds,
                exact_seconds=exact,
            )  # fmt: skip
            if best is None or min(trial.recall.values()) > min(best.recall.values()):
                best = trial
            if trial.enough:
                return trial
    assert best is not None
    return best


def _near(dataset: Any, column: str, query: Floats, probes: int, refine: int) -> set[int]:
    return set(nearest(dataset, column, query, K, probes=probes, refine=refine)[0].tolist())
