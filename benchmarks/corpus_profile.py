"""Where the processor's time goes between a click log and its ranked pairs: one worker, one thread.

    OMP_NUM_THREADS=1 python benchmarks/corpus_profile.py --rows 20000000 --out runs/corpus_rank

The log is that of corpus_rank.py. Each step counts without the steps inside of it. With --memory
0.05 there are some 200 runs and 180 parts: what opening every run for every part costs.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import corpus_rank
import pyarrow as pa

from r2d2.corpus.clicks import aggregate, combine, rank

STEPS: tuple[tuple[Any, str, str], ...] = (  # where a function is looked up, its name, a step
    (combine, "encode", "texts and addresses to numbers"),
    (combine, "image_codes", "ids by SHA-256"),
    (combine, "_sums", "sums of a chunk"),
    (combine, "_images", "images of a chunk"),
    (aggregate, "combine", "sort and reject in a chunk"),
    (aggregate, "_write_run", "write the runs"),
    (aggregate.Gather, "_rows", "cut a part out of the runs"),
    (aggregate, "respell", "queries in one spelling"),
    (aggregate, "sum_pairs", "sums of a part, sorted"),
    (aggregate, "write_rows", "write the parts"),
    (rank, "log_prior", "fit the prior"),
    (rank, "last_kept", "find the cut"),
    (corpus_rank, "rank", "rank, and write what stays"),
    (corpus_rank, "aggregate", "the rest of aggregate"),
)
READ, SAMPLE = "read Parquet", "sample"

seconds: Counter[str] = Counter()
inner: list[float] = []  # of the calls that are running: seconds of the steps inside of each


def timed(call: Callable[[], Any], step: str) -> Any:
    """Run it, and count its seconds but for those of steps inside."""
    began = time.process_time()
    inner.append(0.0)
    try:
        return call()
    finally:
        taken = time.process_time() - began
        seconds[step] += taken - inner.pop()
        if inner:
            inner[-1] += taken


def watch(place: Any, name: str, step: str) -> None:
    """Count every call of a function."""
    real = getattr(place, name)
    setattr(place, name, wraps(real)(lambda *a, **k: timed(lambda: real(*a, **k), step)))


def watch_reading() -> None:
    """Count the chunks of a log one by one: they come out of a generator."""
    real = aggregate.read_piece

    def chunks(*given: Any) -> Iterator[pa.Table]:
        source, end = real(*given), object()
        while (chunk := timed(lambda: next(source, end), READ)) is not end:
            yield chunk

    aggregate.read_piece = chunks


def main() -> None:
    """Run the stages, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--memory", type=float, default=8, help="GB")
    parser.add_argument("--out", type=Path, default=Path("runs/corpus_rank"))
    arguments = parser.parse_args()
    log, work = arguments.out / f"log-{arguments.rows}", arguments.out / "profile"
    if not log.exists():
        corpus_rank.make_log(log, arguments.rows)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    for place, name, step in STEPS:
        watch(place, name, step)
    watch_reading()
    timed(lambda: corpus_rank.ours(log, work, int(arguments.memory * 1e9), 1), SAMPLE)
    shutil.rmtree(work)
    total = sum(seconds.values())
    print(f"| step | of {total:.1f} s |\n|---|---|")
    for step, taken in seconds.most_common():
        print(f"| {step} | {taken:.2f} s, {100 * taken / total:.0f}% |")


if __name__ == "__main__":
    main()
