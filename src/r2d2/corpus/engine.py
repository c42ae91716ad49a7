"""Work on whole columns, and the memory that it holds."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from r2d2.corpus.funnel import StageCount
from r2d2.corpus.parts import Places, Work, map_parts
from r2d2.errors import R2D2Error
from r2d2.progress import Update

# glibc's mallopt: freed memory up to this much is kept, and blocks up to this size come from it.
# Columns of some megabytes come and go all the time in the work on a log: to have them mapped and
# cleared anew each time took a third of it.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
HELD_BYTES, USUAL_BYTES = 1 << 30, 64 << 20


def import_daft() -> Any:
    """The module; R2D2Error where the extra is missing."""
    try:
        import daft
    except ImportError as error:
        raise R2D2Error('building a corpus needs Daft: pip install "zero-r2d2[corpus]"') from error
    return daft


def map_columns(
    work: Work, jobs: Sequence[dict[str, str]], places: Places, what: str, update: Update
) -> list[StageCount]:
    """`map_parts` for work on whole columns: Arrow and numpy let go of Python's lock meanwhile.

    On one machine threads then do as much as processes, which take a second or two to start.
    """
    if places.cluster or places.workers == 1 or len(jobs) < 2:
        return map_parts(work, jobs, places, what, update)
    update(what, 0, len(jobs))
    with ThreadPoolExecutor(places.workers) as pool:
        running = [pool.submit(work, job) for job in jobs]
        try:
            for done, future in enumerate(as_completed(running), 1):
                future.result()
                update(what, done, len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
    return [future.result() for future in running]


@contextmanager
def held_memory() -> Iterator[None]:
    """Arrow and numpy share one store of freed memory meanwhile; afterwards it is given back."""
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):  # glibc alone has both
        yield
        return
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    libc.mallopt(M_MMAP_THRESHOLD, HELD_BYTES)
    libc.mallopt(M_TRIM_THRESHOLD, HELD_BYTES)
    try:
        yield
    finally:
        libc.mallopt(M_TRIM_THRESHOLD, USUAL_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, USUAL_BYTES // 2)
        libc.malloc_trim(0)
        pa.set_memory_pool(before)
