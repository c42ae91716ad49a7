"""Build an approximate index, measure what it misses, and choose how hard it has to look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from r2d2.errors import R2D2Error
from r2d2.search.ann import nearest
from r2d2.search.gallery import Floats
from r2d2.search.layout import TEXT_VECTOR, VECTOR, indexing, open_lance, texts_uri, write_about
from r2d2.search.table_gallery import Indexed, as_matrix
from r2d2.settings import one_of
from r2d2.table import PairsTable

KINDS = ("ivf_sq", "ivf_pq", "ivf_hnsw_sq", "ivf_flat")
MIN_ROWS = 256  # that a codebook of 256 needs
K = 100
QUERIES = 100  # of texts, and of images, that recall is measured on
WANTED = 0.95
PROBES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
REFINE = {"ivf_sq": (2, 5), "ivf_flat": (1,), "ivf_hnsw_sq": (2, 5), "ivf_pq": (5, 10, 20)}


@dataclass(frozen=True)
class Measured:
    """An index, set as it will be used, against exact search on the same vectors."""

    kind: str
    partitions: int
    probes: int  # partitions looked into
    refine: int  # times k that are compared exactly
    recall: dict[str, float]  # at k = 100, by what was asked with: texts, images
    seconds: float  # a query
    exact_seconds: float  # a query, by Lance without the index

    @property
    def enough(self) -> bool:
        """Whether recall is what it should be."""
        return min(self.recall.values()) >= WANTED

    def lines(self) -> list[str]:
        """For a terminal."""
        figures = ", ".join(f"{value:.3f} asked by {name}" for name, value in self.recall.items())
        found = [
            f"{self.kind}, {self.partitions} partitions: recall@{K} against exact search {figures}",
            f"{1000 * self.seconds:.1f} ms a query, looking into {self.probes} partitions and "
            f"comparing {self.refine} x k exactly; exact search {1000 * self.exact_seconds:.1f} ms",
        ]
        if not self.enough:
            found.append(f"that is below {WANTED}: build it {self._remedy()}")
        return found

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
    told: Callable[[str], None] | None = None,
) -> Measured:
    """Build it for the images of an indexed table, and keep what it needs for recall of 0.95.

    Args:
        table: indexed by `build_index`.
        kind: how vectors are kept: `ivf_sq` a byte a number, `ivf_pq` a byte for eight of them,
            `ivf_hnsw_sq` with a graph, `ivf_flat` whole.
        probes: partitions to look into; None: as few as reach the recall.
        told: gets a line when something long begins.

    Raises:
        R2D2Error: no index, too few rows, an unknown kind, or another process is at it.
    """
    one_of("--ann", kind, KINDS)
    uri = PairsTable.open(table).path
    with indexing(uri):
        return _build(Indexed(uri, VECTOR), kind, probes, told)


def _build(
    indexed: Indexed, kind: str, probes: int | None, told: Callable[[str], None] | None
) -> Measured:
    count = indexed.dataset.count_rows(filter=f"{VECTOR} IS NOT NULL")
    if count < MIN_ROWS:
        raise R2D2Error(
            f"{indexed.uri} has {count} vectors: an approximate index needs {MIN_ROWS}, and exact "
            "search is fast below some hundred thousand"
        )
    partitions = max(1, min(4096, isqrt(count)))
    if told is not None:
        told(f"building {kind} over {count} vectors")
    settings: dict[str, Any] = {"num_partitions": partitions}
    if kind == "ivf_pq":
        settings["num_sub_vectors"] = _parts(indexed.about.width)
        # a codebook wants so many vectors a partition: of more Lance makes fewer than it is told
        settings["num_partitions"] = partitions = max(1, min(partitions, count // MIN_ROWS))
    if kind == "ivf_hnsw_sq":  # a graph for each partition: few and large ones
        settings["num_partitions"] = partitions = max(1, count // 100_000)
    dataset = indexed.dataset
    dataset.create_index(VECTOR, kind.upper(), metric="dot", replace=True, **settings)
    dataset = open_lance(indexed.uri)
    if told is not None:
        told("measuring its recall against exact search")
    measured = _measure(dataset, kind, partitions, _queries(indexed, count), probes)
    about = replace(indexed.about, probes=measured.probes, refine=measured.refine)
    write_about(dataset, about)
    return measured


def _parts(width: int) -> int:
    """Sub-vectors of eight numbers, or as near to it as divides the width."""
    return max(n for n in range(1, max(1, width // 8) + 1) if width % n == 0)


def _queries(indexed: Indexed, count: int) -> dict[str, Floats]:
    """Vectors to ask with: some of the texts where they are indexed, and some of the images."""
    found = {"images": _some(indexed.dataset, VECTOR, count)}
    texts = open_lance(texts_uri(indexed.uri))
    if texts is not None and texts.count_rows():
        found = {"texts": _some(texts, TEXT_VECTOR, texts.count_rows()), **found}
    return found


def _some(dataset: Any, column: str, count: int) -> Floats:
    """Evenly spread over the table: the same at every run."""
    total = dataset.count_rows()
    rows = np.unique(np.linspace(0, total - 1, min(total, 4 * QUERIES)).astype(np.int64))
    found = dataset.take(rows.tolist(), columns=[column])[column].combine_chunks()
    vectors = as_matrix(found.drop_null())
    return vectors[:: max(1, len(vectors) // QUERIES)][:QUERIES]


def _measure(
    dataset: Any, kind: str, partitions: int, queries: dict[str, Floats], probes: int | None
) -> Measured:
    start = time.perf_counter()
    truth = {
        name: [set(nearest(dataset, VECTOR, q, K, exact=True)[0].tolist()) for q in asked]
        for name, asked in queries.items()
    }
    total = sum(len(asked) for asked in queries.values())
    exact = (time.perf_counter() - start) / total
    steps = [probes] if probes else [p for p in PROBES if p < partitions] + [partitions]
    best: Measured | None = None
    for refine in REFINE[kind]:
        for step in steps:
            start = time.perf_counter()
            recall = {
                name: float(
                    np.mean(
                        [
                            len(wanted & set(_near(dataset, query, step, refine))) / len(wanted)
                            for query, wanted in zip(asked, truth[name], strict=True)
                        ]
                    )
                )
                for name, asked in queries.items()
            }
            seconds = (time.perf_counter() - start) / total
            here = Measured(kind, partitions, step, refine, recall, seconds, exact)
            if best is None or min(here.recall.values()) > min(best.recall.values()):
                best = here
            if here.enough:
                return here
    assert best is not None
    return best


def _near(dataset: Any, query: Floats, probes: int, refine: int) -> list[int]:
    found: list[int] = nearest(dataset, VECTOR, query, K, probes=probes, refine=refine)[0].tolist()
    return found
