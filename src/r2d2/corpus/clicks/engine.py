"""DuckDB, which does the relational steps of a build: its memory, its spilling, its errors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from r2d2.errors import R2D2Error, first_line
from r2d2.extras import require
from r2d2.files import disk_errors, whole_file

LEAST_POOL = 64 << 20  # bytes that the database gets at least
THREAD_BYTES = 32 << 20  # outside its pool, of each thread: pages of Parquet, batches of Arrow
SPILL = "spill"
OUT_OF_MEMORY = "memory"  # code of the error
# Written once and read a few times: deltas of lengths and numbers, and no search for a dictionary,
# which texts and addresses seldom have.
STORAGE = "FORMAT parquet, COMPRESSION snappy, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1"


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(column: str) -> str:
    """A column's name in SQL."""
    return '"' + column.replace('"', '""') + '"'


class Database:
    """A database in memory that spills to disk, and statements on it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Do a statement, and give its rows."""
        rows: list[tuple[Any, ...]] = self.connection.execute(statement).fetchall()
        return rows

    def table(self, query: str) -> pa.Table:
        """All rows of a query."""
        return self.connection.sql(query).to_arrow_table()

    def write(self, query: str, path: Path) -> int:
        """Write the rows of a query into a Parquet file, whole or not at all; gives how many."""
        with whole_file(path) as work:
            ((rows,),) = self.run(f"COPY ({query}) TO {quoted(str(work))} ({STORAGE})")
        return int(rows)

    def batches(self, query: str, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a query, at most so many at a time, while other statements may run."""
        with self.connection.cursor() as cursor:
            yield from cursor.sql(query).to_arrow_reader(rows)

    @contextmanager
    def registered(self, name: str, rows: pa.Table) -> Iterator[str]:
        """Rows of Arrow as a relation of this name."""
        self.connection.register(name, rows)
        try:
            yield name
        finally:
            self.connection.unregister(name)


@contextmanager
def open_database(
    folder: Path, memory_bytes: int, threads: int = 1, *, job: str = ""
) -> Iterator[Database]:
    """A database for one step of a build.

    Args:
        folder: of the step; what does not fit into memory spills into a folder in it.
        memory_bytes: for the whole process: what it holds already, and what is allocated outside of
            the database's pool, is taken off.
        threads: of the database.
        job: tells databases apart that are at work in one folder at a time.

    Raises:
        R2D2Error: the extra is missing; a statement fails for want of memory or of disk.
    """
    duckdb = require("corpus", "duckdb", "building a corpus")
    spill = folder / (f"{SPILL}-{job}" if job else SPILL)
    shutil.rmtree(spill, ignore_errors=True)  # of a process that was killed
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)  # the database makes no folder above `spill`
    pool = max(memory_bytes - resident_bytes() - threads * THREAD_BYTES, LEAST_POOL)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{pool >> 10}KiB",
        "threads": threads,
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with database_errors(folder), duckdb.connect(":memory:", config=settings) as connection:
        try:
            yield Database(connection)
        finally:
            shutil.rmtree(spill, ignore_errors=True)


@contextmanager
def database_errors(folder: Path) -> Iterator[None]:
    """Turn what the database says into one line with the remedy."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        reason = first_line(error)
        if "No space left" in str(error) or "max_temp_directory_size" in str(error):
            raise R2D2Error(
                f"the disk is full: cannot write below {folder}; free some space"
            ) from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise R2D2Error(
                f"the memory does not suffice ({reason}): give more by --memory",
                code=OUT_OF_MEMORY,
            ) from error
        raise R2D2Error(f"a step of the build in {folder} failed: {reason}") from error


def resident_bytes() -> int:
    """Bytes that this process holds in memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
