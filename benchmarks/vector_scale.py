"""An approximate index over 10 million vectors of 512 numbers: built, opened and searched.

    python benchmarks/vector_scale.py --out runs/vector_scale --vectors 10000000

Each stage runs in a process of its own, whose largest resident memory is told: `make` writes a
pairs table without pictures; `build` is `r2d2 index TABLE --ann ivf_pq`, which also chooses how
many partitions are looked into; `truth` compares queries that are not in the table with all
vectors, exactly; `search` opens the table and asks the same queries, one after the other. The size
of OUT, temporary files included, is watched all the while. Prints a Markdown table, writes
OUT/vector_scale.json, and ends with 1 where memory, disk or recall pass their limits. What the
system itself caches of files is not counted as memory. Linux only.

The vectors are made of `--seed`: a cluster's centre, an offset in a subspace of 64 dimensions that
all clusters share, and a little noise in all dimensions; a thousand vectors a cluster. The queries
are drawn in the same way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.files import write_text
from r2d2.index.gallery.table import TableGallery
from r2d2.index.layout import BAD, VECTOR, IndexInfo, vector_type, write_index_info
from r2d2.index.vectors.build_approximate import KINDS, build_ann
from r2d2.index.vectors.exact import best_in_batches
from r2d2.index.vectors.table import VectorTable
from r2d2.table import SCHEMA

Floats = npt.NDArray[np.float32]
IN_CLUSTER, INNER = 1000, 64  # vectors of a cluster, on average; dimensions of their offsets
OFFSET, NOISE = 0.7, 0.2  # lengths of what is added to a centre of length 1
BLOCK = 20_000  # rows that are made at once
QUERIES = 1 << 40  # number of the block that holds the queries
K, WARM = 100, 20  # results of a query; queries that are not counted
MEMORY_GB, DISK_GB, RECALL = 8.0, 30.0, 0.95
STAGES = ("make", "build", "truth", "search")


def unit(vectors: Floats) -> Floats:
    """Rows of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Clusters:
    """Vectors by the number of their block: the same, in whatever order blocks are asked for."""

    def __init__(self, vectors: int, width: int, seed: int) -> None:
        draw = np.random.default_rng([seed, 0])
        self.width, self.seed = width, seed
        clusters = max(1, vectors // IN_CLUSTER)
        self.centres = unit(draw.standard_normal((clusters, width), dtype=np.float32))
        inner = min(INNER, width)
        basis, _ = np.linalg.qr(draw.standard_normal((width, inner)))
        self.basis = (basis.T * OFFSET / np.sqrt(inner)).astype(np.float32)

    def block(self, number: int, count: int) -> Floats:
        """(count, width) of unit length."""
        draw = np.random.default_rng([self.seed, 1 + number])
        centres = self.centres[draw.integers(0, len(self.centres), count)]
        offsets = draw.standard_normal((count, len(self.basis)), dtype=np.float32) @ self.basis
        noise = draw.standard_normal((count, self.width), dtype=np.float32)
        return unit(centres + offsets + noise * np.float32(NOISE / np.sqrt(self.width)))


def make(table: Path, clusters: Clusters, vectors: int) -> dict[str, Any]:
    """The table, its rows without pictures and texts."""
    shutil.rmtree(table, ignore_errors=True)
    fields = [SCHEMA.field(name) for name in ("image_id", "image", "texts", "split")]
    vector, bad = vector_type(clusters.width), pa.string()
    schema = pa.schema([*fields, pa.field(VECTOR, vector), pa.field(BAD, bad)])

    def batches() -> Iterator[pa.RecordBatch]:
        for number, first in enumerate(range(0, vectors, BLOCK)):
            count = min(BLOCK, vectors - first)
            ids = pa.array([str(row) for row in range(first, first + count)], fields[0].type)
            images, texts = (pa.nulls(count, field.type) for field in fields[1:3])
            splits = pa.array(["test"] * count, fields[3].type)
            flat = pa.array(clusters.block(number, count).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, type=vector)
            arrays = [ids, images, texts, splits, column, pa.nulls(count, bad)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    dataset = lance.write_dataset(reader, str(table), max_rows_per_file=500_000)
    write_index_info(dataset, IndexInfo("benchmark", clusters.width))
    return {"vectors": vectors}


def build(table: Path, kind: str) -> dict[str, Any]:
    """The index, set as a user gets it."""
    made = build_ann(table, kind, progress=lambda line: print(line, file=sys.stderr))["images"]
    for line in made.lines():
        print(line, file=sys.stderr)
    return {
        "kind": made.kind, "partitions": made.partitions, "probes": made.probes,
        "refine": made.refine,
    }  # fmt: skip


def truth(table: Path, file: Path, queries: Floats) -> dict[str, Any]:
    """The exact best of each query, into a file."""
    rows = best_in_batches(VectorTable(str(table), VECTOR).batches(), queries, K)
    np.save(file, rows, allow_pickle=False)
    return {"queries": len(queries)}


def search(table: Path, file: Path, queries: Floats) -> dict[str, Any]:
    """Seconds to open, and of each query; recall against `truth`."""
    start = time.perf_counter()
    images = TableGallery(table).images
    images.best(queries[:1], K)
    opened = time.perf_counter() - start
    images.best(queries[:WARM], K)
    seconds, shares = [], []
    for query, wanted in zip(queries, np.load(file, allow_pickle=False), strict=True):
        start = time.perf_counter()
        rows, _ = images.best(query[None], K)[0]
        seconds.append(time.perf_counter() - start)
        shares.append(np.isin(wanted, rows).mean())
    p50, p95 = np.percentile(seconds, (50, 95))
    return {
        "open_s": opened, "p50_s": float(p50), "p95_s": float(p95),
        "recall": float(np.mean(shares)),
    }  # fmt: skip


def run_stage(given: argparse.Namespace) -> None:
    """One stage in this process; prints its figures as JSON."""
    table, file = given.out / "vectors.lance", given.out / "truth.npy"
    clusters = Clusters(given.vectors, given.width, given.seed)
    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "make": lambda: make(table, clusters, given.vectors),
        "build": lambda: build(table, given.ann),
        "truth": lambda: truth(table, file, clusters.block(QUERIES, given.queries)),
        "search": lambda: search(table, file, clusters.block(QUERIES, given.queries)),
    }
    start = time.perf_counter()
    found = stages[given.stage]()
    found["seconds"] = time.perf_counter() - start
    found["memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(found))


class DiskWatch:
    """The largest size of a folder while it is watched, in GB of 2^30 bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.largest = folder, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> DiskWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        done = False
        while not done:
            done = self._stop.wait(1)
            self.largest = max(self.largest, folder_size(self.folder) / 2**30)


def folder_size(folder: Path) -> int:
    """Bytes of all files below; those that go away meanwhile are left out."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(path, name).stat().st_blocks * 512
    return total


def report(figures: dict[str, Any], disk: float) -> list[str]:
    """The Markdown table, and a line for each limit that was passed."""
    made, built, searched = (figures[name] for name in ("make", "build", "search"))
    memory = {name: figures[name]["memory_gb"] for name in ("make", "build", "search")}
    lines = [
        f"{made['vectors']:,} vectors; {built['kind']}, {built['partitions']} partitions, "
        f"{built['probes']} looked into, {built['refine']} x {K} compared exactly",
        "",
        "| build | open, first query | p50 | p95 | recall@100 | memory: build | search | disk |",
        "|---|---|---|---|---|---|---|---|",
        f"| {built['seconds']:.0f} s | {searched['open_s']:.1f} s | {1000 * searched['p50_s']:.0f} "
        f"ms | {1000 * searched['p95_s']:.0f} ms | {searched['recall']:.3f} | "
        f"{memory['build']:.1f} GB | {memory['search']:.1f} GB | {disk:.1f} GB |",
    ]
    lines += [
        f"{name} takes {size:.1f} GB of memory, more than {MEMORY_GB:g}"
        for name, size in memory.items()
        if size > MEMORY_GB
    ]
    if disk > DISK_GB:
        lines.append(f"{disk:.1f} GB of disk, more than {DISK_GB:g}")
    if searched["recall"] < RECALL:
        lines.append(f"recall@{K} of {searched['recall']:.3f}, less than {RECALL:g}")
    return lines


def main() -> None:
    """All stages, each in a process of its own; the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=10_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ann", default="ivf_pq", choices=KINDS)
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage is not None:
        run_stage(given)
        return
    scratch = given.out / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    with DiskWatch(given.out) as watch:
        for stage in STAGES:
            print(f"{stage} ...", file=sys.stderr)
            command = [sys.executable, __file__, *sys.argv[1:], "--stage", stage]
            environment = {**os.environ, "TMPDIR": str(scratch.absolute())}
            ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            figures[stage] = json.loads(ran.stdout.splitlines()[-1])
    figures["disk_gb"] = watch.largest
    write_text(given.out / "vector_scale.json", json.dumps(figures, indent=1))
    lines = report(figures, watch.largest)
    print("\n".join(lines))
    if len(lines) > 5:
        sys.exit(1)


if __name__ == "__main__":
    main()
