"""Jobs as Ray's tasks, spread over the nodes; jobs that need a model go to actors that keep it.

A node that dies takes its jobs with it, and they are done again elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d2.corpus.cluster.connection import import_ray, node_capacities
from r2d2.corpus.runner import REPEATED, Job, Result, Runner, Work
from r2d2.errors import R2D2Error, first_line

log = logging.getLogger(__name__)

ATTEMPTS = 5  # of a job whose node or process is lost
AHEAD = 2  # tasks handed out for each worker, so that none waits for the next one
LOOK_S = 10.0  # after which it is asked whether there is still a node to work on
STOP_S = 5.0  # given to jobs that are called off, to clear away what they have begun


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job: the node that did it, and the result or what was wrong."""

    node: str
    result: Any = None
    error: str = ""


def run_jobs(
    work: Work[Result], jobs: Sequence[Job], runner: Runner, what: str, *, holds_model: bool
) -> Iterator[tuple[int, Result]]:
    """The number and the result of every job, as they come.

    Raises:
        R2D2Error: what `work` raised as one; a job was lost ATTEMPTS times; no node is left.
    """
    jobs = list(jobs)
    pool = (_Actors if holds_model else _Tasks)(work, jobs, runner)
    nodes: Counter[str] = Counter()
    waiting = deque(range(len(jobs)))
    losses: Counter[int] = Counter()
    try:
        while waiting or pool.running:
            while waiting and pool.has_room():
                pool.submit(waiting.popleft())
            for index, answer in pool.finished():
                if isinstance(answer, Exception):
                    losses[index] += 1
                    if losses[index] == ATTEMPTS:
                        raise _lost(what, answer) from answer
                    log.warning(
                        "%s: a job was lost and is done again (%s)", what, first_line(answer)
                    )
                    jobs[index] = {**jobs[index], REPEATED: "yes"}
                    waiting.appendleft(index)
                    continue
                nodes[answer.node] += 1
                if answer.error:
                    raise R2D2Error(answer.error)
                yield index, answer.result
    finally:
        pool.stop()
    log.info("%s: %d jobs on %d nodes", what, len(jobs), len(nodes), extra={"nodes": dict(nodes)})


class _Tasks:
    """A task for each job."""

    def __init__(self, work: Any, jobs: Sequence[Job], runner: Runner) -> None:
        self._ray = import_ray()
        self._jobs = jobs
        self._runner = runner
        self._work = self._ray.put(work)
        self._home = str(Path.cwd())
        self._task = self._ray.remote(_do)
        self._limit = runner.workers * AHEAD
        self._capacities = node_capacities(runner.memory_bytes)
        self._where: dict[Any, str] = {}  # the node that was chosen for what is under way
        self._chosen: Counter[str] = Counter()  # how often each node was
        self.running: dict[Any, int] = {}  # what will hold the answer: number of the job

    def has_room(self) -> bool:
        """Whether another job may be handed out."""
        return len(self.running) < self._limit

    def submit(self, index: int) -> None:
        """Hand out a job."""
        node = self._next_node()
        task = self._task.options(max_retries=0, **self._options(node))
        reference = task.remote(self._work, self._jobs[index], self._home)
        self.running[reference] = index
        self._where[reference] = node

    def finished(self) -> list[tuple[int, JobOutcome | Exception]]:
        """Jobs that ended, after some time of waiting: the answer, or how the job was lost.

        Raises what a job raised, unless it is an R2D2Error.
        """
        waited = [*self.running, *self._others()]
        done, _ = self._ray.wait(waited, num_returns=1, timeout=LOOK_S)
        if not done:
            node_capacities(self._runner.memory_bytes)  # raises where there is none any more
        outcomes: list[tuple[int, JobOutcome | Exception]] = []
        for reference in done:
            index = self.running.pop(reference, None)
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
            except self._ray.exceptions.OutOfDiskError as error:
                raise R2D2Error(
                    "a node's disk is full, on which Ray keeps its objects "
                    f"({first_line(error)}): free some space there, and run the command again"
                ) from error
            except self._ray.exceptions.RayError as error:
                answer = error
            if isinstance(answer, Exception):
                self._capacities = node_capacities(self._runner.memory_bytes)
            self._released(reference, answer)
            if index is not None:
                outcomes.append((index, answer))
        return outcomes

    def stop(self) -> None:
        """Call off what is under way."""
        for reference in self.running:
            with contextlib.suppress(Exception):
                self._ray.cancel(reference)
        if self.running:
            left = list(self.running)
            self._ray.wait(left, num_returns=len(left), timeout=STOP_S)
        self.running.clear()

    def _next_node(self) -> str:
        """The node with the most room, and of equal ones that which was chosen least often."""
        busy = Counter(self._where.values())
        return min(
            self._capacities,
            key=lambda node: (busy[node] / self._capacities[node], self._chosen[node]),
        )

    def _options(self, node: str) -> dict[str, Any]:
        """One processor of a node; of another one, where that is gone by then."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._chosen[node] += 1
        there = NodeAffinitySchedulingStrategy(node, soft=True)
        memory = {} if self._runner.memory_bytes is None else {"memory": self._runner.memory_bytes}
        return {"num_cpus": 1, "scheduling_strategy": there, **memory}

    def _others(self) -> list[Any]:
        return []

    def _released(self, reference: Any, answer: Any) -> None:
        """A job is no longer under way."""
        self._where.pop(reference, None)


class _Actors(_Tasks):
    """A few actors, each of which does one job after the other and keeps what it has loaded."""

    def __init__(self, work: Any, jobs: Sequence[Job], runner: Runner) -> None:
        super().__init__(work, jobs, runner)
        self._gpus = int(self._ray.cluster_resources().get("GPU", 0))
        self._starting: dict[Any, Any] = {}  # what tells that it is ready: the actor
        self._idle: list[Any] = []
        self._busy: dict[Any, Any] = {}
        most = min(runner.workers, self._gpus) if self._gpus else runner.workers
        for _ in range(min(most, len(jobs))):
            self._start()

    def has_room(self) -> bool:
        return bool(self._idle)

    def submit(self, index: int) -> None:
        actor = self._idle.pop()
        reference = actor.do.remote(self._work, self._jobs[index], self._home)
        self.running[reference] = index
        self._busy[reference] = actor

    def stop(self) -> None:
        super().stop()
        for actor in (*self._starting.values(), *self._idle, *self._busy.values()):
            with contextlib.suppress(Exception):
                self._ray.kill(actor)

    def _start(self) -> None:
        node = self._next_node()
        gpus = 1 if self._gpus else 0
        options = {**self._options(node), "num_gpus": gpus, "max_restarts": 0}
        actor = self._ray.remote(_Actor).options(**options).remote()
        self._starting[actor.ready.remote()] = actor
        self._where[actor] = node

    def _others(self) -> list[Any]:
        return list(self._starting)

    def _released(self, reference: Any, answer: Any) -> None:
        actor = self._starting.pop(reference, None) or self._busy.pop(reference)
        if not isinstance(answer, Exception):
            self._idle.append(actor)
        else:
            self._where.pop(actor, None)
            self._start()  # it waits, unused, until a node has room for it


class _Actor:
    """A process of its own, in which models stay loaded."""

    def ready(self) -> None:
        """Answers once it runs."""

    def do(self, work: Any, job: Job, home: str) -> JobOutcome:
        """See `_do`."""
        return _do(work, job, home)


def _do(work: Any, job: Job, home: str) -> JobOutcome:
    """Do a job on the node where this runs; relative paths are those of the command."""
    ray = import_ray()
    node = ray.get_runtime_context().get_node_id()
    if Path(home).is_dir():
        os.chdir(home)
    try:
        return JobOutcome(node, work(job))
    except R2D2Error as error:
        message = str(error)
        if isinstance(error.__cause__, OSError | ImportError):  # of this node, not of the data
            message += f" (on the node {ray.util.get_node_ip_address()})"
        return JobOutcome(node, error=message)


def _lost(what: str, error: Exception) -> R2D2Error:
    return R2D2Error(
        f"{what}: a job was lost {ATTEMPTS} times with its node or its process "
        f"({first_line(error)}), perhaps for want of memory: give less --memory or fewer "
        "--workers, and run the command again"
    )
