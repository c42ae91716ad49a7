"""The one thread that owns the models of a server, whatever the number of its tables."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from r2d2.search.batching import Batcher, Busy

if TYPE_CHECKING:
    from r2d2.search.serving import ServeConfig

DECODERS = max(1, min(4, os.cpu_count() or 1))  # pictures at once: one may take 300 MB

Run = Callable[[Sequence[Any]], Sequence[Any]]  # jobs of one table to their results


class ModelThread:
    """The thread, the queue before it, and the places to decode pictures in.

    Tables share them, so that the limits of a server hold however many tables it has.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.batches: list[Callable[[int], None]] = []  # told the size of each batch
        self._timeout_s = config.answer_timeout_s
        self._batcher = Batcher(self._run, config.max_batch, config.max_queue)
        self._decoders = asyncio.Semaphore(DECODERS)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._batcher.waiting

    async def submit(self, run: Run, job: Any) -> Any:
        """What `run` makes of a job, together with others of the same `run`; see `Batcher`."""
        return await self._batcher.submit((run, job), self._timeout_s)

    @contextlib.asynccontextmanager
    async def decoding(self) -> AsyncIterator[None]:
        """A place to decode a picture in; Busy where none comes free in time."""
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
        for told in self.batches:
            told(len(jobs))
        places: dict[Run, list[int]] = {}
        for place, (run, _) in enumerate(jobs):
            places.setdefault(run, []).append(place)
        results: list[Any] = [None] * len(jobs)
        for run, own in places.items():
            for place, result in zip(own, run([jobs[place][1] for place in own]), strict=True):
                results[place] = result
        return results
