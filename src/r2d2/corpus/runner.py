"""One function over many jobs: in this process, in several of this machine, or on a Ray cluster.

A job is plain data: a part to read and a folder to write to. The function travels to the workers,
so it is a frozen dataclass of plain settings with `__call__`. What a job writes appears whole or
not at all, and a job that is done twice writes the same; so any job may be repeated anywhere.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from r2d2.errors import R2D2Error
from r2d2.progress import Update
from r2d2.settings import one_of

RUNNERS = ("native", "ray")
REPEATED = "repeated"  # in a job whose first attempt was lost with its node: it may have written
Result = TypeVar("Result")
Job = dict[str, str]
Work = Callable[[Job], Result]


@dataclass(frozen=True)
class Runner:
    """Who does the jobs."""

    workers: int = 1  # jobs at a time
    cluster: bool = False  # Ray's nodes, else this machine
    memory_bytes: int | None = None  # of a worker of the cluster, which Ray sets aside for it

    def database_share(self, memory_bytes: int) -> tuple[int, int]:
        """The memory and the threads of one database, out of the bytes that all workers have.

        On this machine one database at a time is at work, with all threads; on a cluster each task
        has one of its own.
        """
        if self.cluster:
            return memory_bytes // self.workers, 1
        return memory_bytes, self.workers


def start(
    runner: str = "native", workers: int | None = None, memory_bytes: int | None = None
) -> Runner:
    """Find out who does the jobs; for Ray, connect to the cluster.

    Ray's cluster is the one that RAY_ADDRESS names, else one on this machine.

    Args:
        runner: native (this machine), or ray.
        workers: jobs at a time; None: one on this machine, and on a cluster as many as it has
            processors, and memory for.
        memory_bytes: of a worker, where it is on a cluster.

    Raises:
        R2D2Error: the runner is unknown or not installed, the cluster does not answer, or no node
            of it has the memory.
    """
    one_of("--runner", runner, RUNNERS)
    if runner == "native":
        return Runner(workers or 1)
    from r2d2.corpus.cluster.connection import connect, node_capacities

    connect(workers)
    most = sum(node_capacities(memory_bytes).values())
    return Runner(workers or most, cluster=True, memory_bytes=memory_bytes)


def map_jobs(
    work: Work[Result],
    jobs: Sequence[Job],
    runner: Runner,
    label: str,
    update: Update,
    *,
    holds_model: bool = False,
) -> list[Result]:
    """Do every job, in any order, and return the results in the jobs' order.

    A job that fails stops the others; what it raised as an R2D2Error arrives as one.

    Args:
        work: gives the result of a job.
        jobs: plain data.
        runner: who does them.
        label: names the work for the progress, and in errors.
        update: progress.
        holds_model: a worker keeps what `work` has loaded from job to job; on a cluster with GPUs
            each such worker has one for itself.
    """
    results = dict(iter_jobs(work, jobs, runner, label, update, holds_model=holds_model))
    return [results[index] for index in range(len(jobs))]


def iter_jobs(
    work: Work[Result],
    jobs: Sequence[Job],
    runner: Runner,
    label: str,
    update: Update,
    *,
    holds_model: bool = False,
) -> Iterator[tuple[int, Result]]:
    """The number and the result of every job, as they come; see `map_jobs`."""
    update(label, 0, len(jobs))
    for done, numbered_result in enumerate(_results(work, jobs, runner, label, holds_model), 1):
        update(label, done, len(jobs))
        yield numbered_result


def _results(
    work: Work[Result], jobs: Sequence[Job], runner: Runner, label: str, holds_model: bool
) -> Iterator[tuple[int, Result]]:
    if runner.cluster:
        from r2d2.corpus.cluster.tasks import run_jobs

        yield from run_jobs(work, jobs, runner, label, holds_model=holds_model)
    elif runner.workers == 1 or len(jobs) < 2:
        for index, job in enumerate(jobs):
            yield index, work(job)
    else:
        yield from _in_processes(work, jobs, runner.workers, label)


def _in_processes(
    work: Work[Result], jobs: Sequence[Job], count: int, label: str
) -> Iterator[tuple[int, Result]]:
    pool = _pool(count)
    running: dict[Any, int] = {}
    try:
        running.update((pool.submit(work, job), n) for n, job in enumerate(jobs))
        for future in as_completed(running):
            yield running[future], future.result()
    except BrokenProcessPool as error:
        _pool.cache_clear()
        raise R2D2Error(
            f"{label}: a worker process ended before its job was done, perhaps for want of "
            "memory: give fewer --workers or less --memory, and run the command again"
        ) from error
    finally:
        for future in running:
            future.cancel()
        wait(running)


@lru_cache(maxsize=1)
def _pool(count: int) -> ProcessPoolExecutor:
    """Processes that stay for the next stage: to start one takes a second."""
    # spawned, not forked: Arrow, Lance and torch have threads, which a fork would break
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """A worker ends when the process that started it is killed, instead of waiting for ever."""
    parent = multiprocessing.parent_process()

    def end() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()
