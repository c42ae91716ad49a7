"""Lance writes in a thread of its own, which always ends before the interpreter does.

Lance reads the rows that it writes from threads of its own. On the main thread it returns at
Ctrl-C while they are still at work; the interpreter then ends under a thread that holds Python
objects, and aborts ("PyGILState_Release"). Here the calling thread makes the rows and hands them
over, so a signal reaches it there, and the write is brought to its end before the signal goes on.
"""

from __future__ import annotations

import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")

AHEAD = 2  # batches that are held while Lance writes
RELEASE_S = 10.0  # seconds that Lance may take to let go of a stream that has ended


class _StreamAbandonedError(Exception):
    """What Lance reads where its rows end before their time."""


def write_whole(write: Callable[[], T]) -> T:
    """Run a write of data that is at hand; a signal goes on when the write has ended."""
    with ThreadPoolExecutor(1, "lance-write") as pool:
        return pool.submit(write).result()


def write_batches(
    write: Callable[[pa.RecordBatchReader], None],
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> None:
    """Run a write of batches that the calling thread makes, in their order.

    What `batches` raises, and what a signal raises meanwhile, goes on when the write has ended.
    """
    # Both queues are C code: the exception of a signal leaves no lock of theirs held.
    ready: SimpleQueue[pa.RecordBatch | _StreamAbandonedError | None] = SimpleQueue()
    free: SimpleQueue[None] = SimpleQueue()
    released = threading.Event()
    released.set()
    for _ in range(AHEAD):
        free.put(None)

    def stream() -> Iterator[pa.RecordBatch]:
        while (batch := ready.get()) is not None:
            if isinstance(batch, _StreamAbandonedError):
                raise batch
            yield batch
            free.put(None)

    def run() -> None:
        released.clear()
        rows = stream()
        weakref.finalize(rows, released.set)
        reader = pa.RecordBatchReader.from_batches(schema, rows)
        del rows
        try:
            write(reader)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # they hold the stream
            raise
        finally:
            del reader

    end: _StreamAbandonedError | None = _StreamAbandonedError()
    try:
        with ThreadPoolExecutor(1, "lance-write") as pool:
            try:
                written = pool.submit(run)
                written.add_done_callback(lambda _: free.put(None))  # who waits sees that it ended
                for batch in batches:
                    free.get()
                    if written.done():
                        break
                    ready.put(batch)
                else:
                    end = None
            finally:
                ready.put(end)
            written.result()
    finally:
        released.wait(RELEASE_S)
