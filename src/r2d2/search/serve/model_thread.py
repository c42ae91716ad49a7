"""The one thread that runs the models of a server, also where it has several tables.

The thread takes the requests that wait, at most one batch, and runs the model on them together. No
request waits for others to arrive: under low load each is answered at once, and under high load
the batches grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from r2d2.search.serve.config import ServeConfig

DECODERS = max(1, min(4, os.cpu_count() or 1))  # pictures decoded at once; one may need 300 MB

Run = Callable[[Sequence[Any]], Sequence[Any]]  # from jobs to results, which may be exceptions


class ModelThread:
    """The thread, its queue, and the limit of pictures that are decoded at once.

    All tables share it, so that the limits of a server do not depend on the number of tables.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.batches: list[Callable[[int], None]] = []  # called with the size of each batch
        self._timeout_s = config.answer_timeout_s
        self._batcher = Batcher(self._run, config.max_batch, config.max_queue)
        self._decoders = asyncio.Semaphore(DECODERS)

    @property
    def waiting(self) -> int:
        """The number of requests in the queue."""
        return self._batcher.waiting

    async def submit(self, run: Run, job: Any) -> Any:
        """The result of a job, which `run` gets together with other jobs; see `Batcher.submit`."""
        return await self._batcher.submit((run, job), self._timeout_s)

    @contextlib.asynccontextmanager
    async def decoding(self) -> AsyncIterator[None]:
        """Wait until a picture may be decoded; Busy where that takes too long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._decoders.acquire()
        except TimeoutError as error:
            raise Busy from error
        try:
            yield
        finally:
            self._decoders.release()

    def close(self) -> None:
        """Let the batch in hand end, refuse the rest."""
        self._batcher.close()

    def _run(self, jobs: Sequence[tuple[Run, Any]]) -> list[Any]:
        for observe in self.batches:
            observe(len(jobs))
        numbers_of_run: dict[Run, list[int]] = {}
        for number, (run, _) in enumerate(jobs):
            numbers_of_run.setdefault(run, []).append(number)
        results: list[Any] = [None] * len(jobs)
        for run, own in numbers_of_run.items():
            for number, result in zip(own, run([jobs[number][1] for number in own]), strict=True):
                results[number] = result
        return results


class Busy(Exception):  # noqa: N818  # a state, not a mistake
    """The queue is full, the answer took too long, or the server is shutting down."""


@dataclass(frozen=True)
class _QueuedJob:
    job: Any
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Batcher:
    """A thread with a bounded queue of jobs."""

    def __init__(self, run: Run, max_batch: int = 16, max_queue: int = 64) -> None:
        """Start the thread.

        Args:
            run: called in that thread, with 1 to `max_batch` jobs.
            max_batch: jobs at once.
            max_queue: jobs that may wait; one more is refused.
        """
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._queue: deque[_QueuedJob] = deque()
        self._ready = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of jobs in the queue."""
        return len(self._queue)

    async def submit(self, job: Any, timeout_s: float) -> Any:
        """The result of a job; Busy where the queue is full, or the job is not done in time."""
        loop = asyncio.get_running_loop()
        waiting = _QueuedJob(job, loop.create_future(), loop)
        with self._ready:
            if not self._open or len(self._queue) >= self._max_queue:
                raise Busy
            self._queue.append(waiting)
            self._ready.notify()
        try:
            return await asyncio.wait_for(waiting.future, timeout_s)
        except TimeoutError as error:
            raise Busy from error

    def close(self) -> None:
        """Refuse what comes and what waits, let the batch in hand end, and stop the thread."""
        with self._ready:
            self._open = False
            left = list(self._queue)
            self._queue.clear()
            self._ready.notify()
        for waiting in left:
            _settle(waiting, Busy())
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._ready:
                while self._open and not self._queue:
                    self._ready.wait()
                if not self._open:
                    return
                batch: list[_QueuedJob] = []
                while self._queue and len(batch) < self._max_batch:
                    waiting = self._queue.popleft()
                    if not waiting.future.cancelled():  # nobody waits for it any more
                        batch.append(waiting)
            if batch:
                for waiting, result in zip(batch, self._results(batch), strict=True):
                    _settle(waiting, result)

    def _results(self, batch: Sequence[_QueuedJob]) -> Sequence[Any]:
        try:
            return self._run([waiting.job for waiting in batch])
        except Exception as error:
            if len(batch) == 1:
                return [error]
        # one job failed: each is run alone, so that the others get their results
        return [self._results([waiting])[0] for waiting in batch]


def _settle(waiting: _QueuedJob, result: Any) -> None:
    def settle() -> None:
        if waiting.future.done():
            return
        if isinstance(result, BaseException):
            waiting.future.set_exception(result)
        else:
            waiting.future.set_result(result)

    try:
        waiting.loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed, and nobody waits
        return
