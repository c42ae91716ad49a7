"""One function over the parts of a stage: in this process, in several, or on a cluster.

A job is a part to read and a place to write. Where more than one worker is asked for, Daft runs the
jobs, on whichever of its runners is set; the function then travels to the workers by pickle, so it
is a frozen dataclass of plain settings with `__call__`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from r2d2.corpus.funnel import StageCount
from r2d2.errors import R2D2Error
from r2d2.progress import Update

Work = Callable[[dict[str, str]], StageCount]


@dataclass(frozen=True)
class Places:
    """How many workers there are, and whether they may be on other machines."""

    workers: int = 1
    cluster: bool = False


def map_parts(
    work: Work, jobs: Sequence[dict[str, str]], places: Places, what: str, update: Update
) -> list[StageCount]:
    """Do every job, in any order, and return its counts in the jobs' order.

    A job that fails stops the others; what it raised as an R2D2Error arrives as one.
    """
    done: dict[int, StageCount] = {}
    update(what, 0, len(jobs))
    for index, count in _results(work, jobs, places):
        done[index] = count
        update(what, len(done), len(jobs))
    return [done[index] for index in range(len(jobs))]


def _results(work: Work, jobs: Sequence[dict[str, str]], places: Places) -> Any:
    if not places.cluster and (places.workers == 1 or len(jobs) < 2):
        for index, job in enumerate(jobs):
            yield index, work(job)
        return
    import daft

    count = min(places.workers, len(jobs))
    worker = daft.cls(_worker_class(), use_process=True, max_concurrency=count)(work)
    frame = daft.from_pydict(
        {"index": list(range(len(jobs))), "job": [json.dumps(job) for job in jobs]}
    )
    # one job a batch, else a batch waits for its slowest; a small buffer, so that progress shows
    results = worker(daft.col("job")).alias("result")
    frame = frame.into_batches(1).select(daft.col("index"), results)
    for row in frame.iter_rows(results_buffer_size=1):
        result = json.loads(row["result"])
        if "error" in result:
            raise R2D2Error(result["error"])
        yield row["index"], StageCount.from_dict(result)


def _worker_class() -> type:
    """Daft's wrapping of a job; made where Daft is needed, for Daft is an extra."""
    import daft

    class Worker:
        def __init__(self, work: Work) -> None:
            self.work = work

        @daft.method(return_dtype=daft.DataType.string())
        def __call__(self, job: str) -> str:
            try:
                return json.dumps(self.work(json.loads(job)).to_dict(), ensure_ascii=False)
            except R2D2Error as error:  # Daft would wrap it into an exception of its own
                return json.dumps({"error": str(error)}, ensure_ascii=False)

    return Worker
