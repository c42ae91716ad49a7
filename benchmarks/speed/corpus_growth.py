"""A click log of four times the rows, given 1 GB: how much longer it takes, and how much it holds.

The cases are those of `corpus`, ours alone. The logs take 0.7 GB and 2.8 GB in runs/corpus_rank and
stay there; the sums of a case and what it spills took twice its log at 20 million rows.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed.compare import MB, Result, quartiles, tell
from benchmarks.speed.corpus import SCARCE, STORE, ours_or_plain, stored_log

ROWS, QUICK_ROWS = (20_000_000, 80_000_000), (5_000, 20_000)
SECONDS, MEMORY = 4.4, 1.2  # goals: at most so many times


def results(rounds: int, quick: bool) -> Iterator[Result]:
    """Seconds and peak memory of the larger log over those of the smaller one."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        store = work if quick else STORE
        logs = [stored_log(store, rows) for rows in (QUICK_ROWS if quick else ROWS)]
        work = work if quick else STORE / "growth"
        seconds, peaks = [], []
        for done in range(rounds):
            tell("corpus_growth", done, rounds)
            cases = [ours_or_plain("r2d2", log, work, SCARCE) for log in logs]
            seconds.append([case[0] for case in cases])
            peaks.append([case[1] for case in cases])
        tell("corpus_growth", rounds, rounds)
    small, large = (statistics.median(of) for of in zip(*seconds, strict=True))
    held = [max(of) for of in zip(*peaks, strict=True)]
    ratios = [after / before for before, after in seconds]
    yield Result(
        "corpus_growth.seconds", large / small, SECONDS, small, large, spread=quartiles(ratios),
        note="times as long for four times the rows; plain: the smaller log", at_most=True,
    )  # fmt: skip
    yield Result(
        "corpus_growth.memory", held[1] / held[0], MEMORY, plain_mb=held[0] / MB,
        ours_mb=held[1] / MB, note="times the peak; plain: the smaller log", at_most=True,
    )  # fmt: skip
