"""A click log summed, ranked and sampled, beside a plain DuckDB query on the same log.

What is timed is told in benchmarks/corpus_rank.py: each side runs in a process of its own, and its
seconds are those of the stages, without the start of Python. Writing the log of 20 million rows
takes a minute the first time; it stays in runs/corpus_rank.
"""

from __future__ import annotations

import statistics
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.corpus_rank import STAGES, make_log, run_case
from benchmarks.speed.compare import MB, Result, by_processor, quartiles, tell

ROWS, QUICK_ROWS = 20_000_000, 20_000
WORKERS = 2
AMPLE, SCARCE = 8_000_000_000, 1_000_000_000  # bytes given
# Goals: of the plain query's speed with ample and with scarce memory; MB when given 1 GB.
AMPLE_SPEED, SCARCE_SPEED, MEMORY = 0.60, 0.72, 1200
STORE = Path(__file__).resolve().parents[2] / "runs" / "corpus_rank"


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Speed with 8 GB and with 1 GB, and the peak of memory when given 1 GB."""
    rows = QUICK_ROWS if quick else ROWS
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary) if quick else STORE
        log = stored_log(store, rows)
        for name, memory, goal in (("8gb", AMPLE, AMPLE_SPEED), ("1gb", SCARCE, SCARCE_SPEED)):
            plain, ours = _in_turn(f"corpus.{name}", log, Path(temporary), memory, rounds)
            medians = [statistics.median(s for s, _ in side) for side in (plain, ours)]
            peaks = [max(peak for _, peak in side) / MB for side in (plain, ours)]
            ratios = [p / o for (p, _), (o, _) in zip(plain, ours, strict=True)]
            yield Result(
                f"corpus.{name}", medians[0] / medians[1], goal, *medians, *peaks,
                quartiles(ratios), f"of DuckDB's speed; {rows / medians[1] / 1e6:.2f} M rows/s",
            )  # fmt: skip
            if memory == SCARCE:
                yield Result(
                    "corpus.memory", peaks[1], MEMORY, plain_mb=peaks[0], ours_mb=peaks[1],
                    note="MB at the peak, given 1 GB", at_most=True,
                )  # fmt: skip


def stored_log(store: Path, rows: int) -> Path:
    """The log of so many rows, written where it is not there yet."""
    log = store / f"log-{rows}"
    if not log.exists():
        half = log.with_name(f"{log.name}.{uuid.uuid4().hex[:8]}")
        make_log(half, rows)
        half.rename(log)
    return log


def ours_or_plain(engine: str, log: Path, work: Path, memory: int) -> tuple[float, float]:
    """Seconds and peak bytes of one case."""
    case: dict[str, Any] = run_case(engine, log, work / "work", memory, WORKERS)
    if "failed" in case:
        raise RuntimeError(f"{engine} failed with {case['failed']}, given {memory} bytes")
    wall = sum(case[stage] for stage in STAGES)
    return case["processor"] if by_processor() else wall, case["peak"]


def _in_turn(
    name: str, log: Path, work: Path, memory: int, rounds: int
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Seconds and peak bytes of DuckDB and of ours, each round after one that warms the disk."""
    found: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for done in range(rounds + 1):
        tell(name, done, rounds + 1)
        for engine, side in zip(("duckdb", "r2d2"), found, strict=True):
            measured = ours_or_plain(engine, log, work, memory)
            if done:
                side.append(measured)
    tell(name, rounds + 1, rounds + 1)
    return found
