"""Daft: which of its runners does the work, this machine's or Ray's; and files at a URL."""

from __future__ import annotations

import ctypes
import importlib.util
import io
import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from r2d2.corpus.funnel import StageCount
from r2d2.corpus.parts import Places, Work, map_parts
from r2d2.errors import R2D2Error
from r2d2.progress import Update
from r2d2.settings import one_of

RUNNERS = ("native", "ray")
PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}  # endings of compressed text
BUFFER = 1 << 20  # bytes read at a time

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


def start(runner: str = "native", workers: int = 1) -> Places:
    """Set the runner for the whole process, and say where the jobs may run.

    Ray starts on this machine, or is the cluster that RAY_ADDRESS names. Daft takes one runner a
    process; setting the same again does nothing.

    Raises:
        R2D2Error: the runner is unknown, not installed, or another one is at work already.
    """
    one_of("--runner", runner, RUNNERS)
    if runner == "native":
        return Places(workers)
    daft = import_daft()
    if importlib.util.find_spec("ray") is None:
        raise R2D2Error('--runner ray needs Ray: pip install "zero-r2d2[ray]"')
    try:
        daft.set_runner_ray(noop_if_initialized=True)
    except Exception as error:
        raise R2D2Error(f"cannot use Ray: {error}; start a new process for another runner") from (
            error
        )
    return Places(workers, cluster=True)


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


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Turn what a reader says of a file into one line."""
    try:
        yield
    except R2D2Error:
        raise
    except Exception as error:  # Arrow's, Lance's and Daft's errors have no base of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise R2D2Error(f"cannot read the log {file}: {reason}; mend or leave out the file") from (
            error
        )


@contextmanager
def open_file(file: str) -> Iterator[IO[bytes]]:
    """A file of a log, also by URL, for random access."""
    if "://" not in file:
        with Path(file).open("rb") as stream:
            yield stream
    else:
        daft = import_daft()
        with daft.File(file).open() as remote, io.BufferedReader(_Remote(remote), BUFFER) as both:
            yield both


@contextmanager
def open_parquet(file: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file; a local one is read past Python."""
    if "://" not in file:
        with pq.ParquetFile(file) as parquet:
            yield parquet
    else:
        with open_file(file) as stream, pq.ParquetFile(stream) as parquet:
            yield parquet


class _Remote(io.RawIOBase):
    """Daft's file by URL as Python's readers expect one."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def unpacked(stream: IO[bytes], file: str) -> IO[bytes]:
    """The text of a file whose name ends as compressed ones do."""
    packed = PACKED.get(posixpath.splitext(file)[1])
    if packed is None:
        return stream
    return io.BufferedReader(pa.CompressedInputStream(stream, packed), BUFFER)
