"""Where the processor's time goes between a click log and its ranked pairs, by statement.

    OMP_NUM_THREADS=1 python benchmarks/corpus_profile.py --rows 20000000 --out runs/corpus_rank

The log is that of corpus_rank.py. The seconds of a statement are those of all threads; what Python
does between two statements is the rest. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corpus_rank
import pyarrow as pa

from r2d2.corpus.clicks.engine import Database

# Of a statement, by what it begins with or holds; the first that fits names its step.
STEPS = (
    ("CREATE TABLE written_", "distinct addresses and queries, and their keys"),
    ("FROM moved_texts", "queries, in one spelling"),
    ("COPY (SELECT image, 0::UTINYINT", "sum the rows by keys, and write the sums"),
    ("COPY (SELECT s.*, bucket", "the sums of each block of a large log, cut by image"),
    ("COPY (SELECT image, source, text, sum(", "sum the blocks together"),
    ("COPY (SELECT key, images.text", "the sums of each image"),
    ("AS enough, count(*) AS pairs", "outcomes, for the prior and the cut"),
    ("CREATE TABLE passing", "the pairs that pass the cut"),
    ("CREATE TABLE alive", "their images, and ids of these"),
    ("CREATE TABLE crowded", "rank the queries of images that have too many"),
    ("ORDER BY image_id, ranked.source", "sort and write the pairs that stay"),
    ("ORDER BY image_id", "sort and write their images"),
)
OTHER, PYTHON = "the other statements", "Python between the statements; the sample"

seconds: Counter[str] = Counter()


def step_of(statement: str) -> str:
    """The step of a statement."""
    text = " ".join(statement.split())
    return next((step for part, step in STEPS if part in text), OTHER)


def watch() -> None:
    """Count the seconds of each statement; those of a generator with what is done to its rows."""

    def watched(name: str) -> Any:
        real = getattr(Database, name)

        def call(self: Database, statement: str, *more: Any) -> Any:
            began = time.process_time()
            try:
                return real(self, statement, *more)
            finally:
                seconds[step_of(statement)] += time.process_time() - began

        return call

    real_batches = Database.batches

    def batches(self: Database, query: str, rows: int) -> Iterator[pa.RecordBatch]:
        began, inside = time.process_time(), sum(seconds.values())
        yield from real_batches(self, query, rows)
        other = sum(seconds.values()) - inside  # statements meanwhile have their own steps
        seconds[step_of(query)] += time.process_time() - began - other

    for name in ("run", "table"):
        setattr(Database, name, watched(name))
    Database.batches = batches


def main() -> None:
    """Run the stages, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--memory", type=float, default=8, help="GB")
    parser.add_argument("--workers", type=int, default=2, help="threads")
    parser.add_argument("--out", type=Path, default=Path("runs/corpus_rank"))
    arguments = parser.parse_args()
    log, work = arguments.out / f"log-{arguments.rows}", arguments.out / "profile"
    if not log.exists():
        corpus_rank.make_log(log, arguments.rows)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    watch()
    began = time.process_time()
    corpus_rank.ours(log, work, int(arguments.memory * 1e9), arguments.workers)
    total = time.process_time() - began
    shutil.rmtree(work)
    seconds[PYTHON] = total - sum(seconds.values())
    print(f"| step | of {total:.1f} s |\n|---|---|")
    for step, taken in seconds.most_common():
        print(f"| {step} | {taken:.1f} s, {100 * taken / total:.0f}% |")


if __name__ == "__main__":
    main()
