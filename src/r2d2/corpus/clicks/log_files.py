"""Files of a log, local or by URL: found, opened, unpacked.

S3, Google Cloud Storage, Azure and HDFS are read by pyarrow's file systems, all other schemes
(http, https, ...) by fsspec.
"""

from __future__ import annotations

import glob
import io
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from r2d2.errors import R2D2Error, first_line

PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}  # endings of compressed text
BUFFER = 1 << 20  # bytes read at a time
ARROW_SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Turn what a reader says of a file into one line."""
    try:
        yield
    except R2D2Error:
        raise
    except Exception as error:  # the errors of Arrow, Lance and fsspec have no base of their own
        raise R2D2Error(
            f"cannot read the log {file}: {first_line(error)}; mend or leave out the file"
        ) from error


@contextmanager
def open_file(file: str) -> Iterator[IO[bytes]]:
    """A file of a log, also by URL, for random access."""
    if "://" not in file:
        with Path(file).open("rb") as stream:
            yield stream
    else:
        system, path = file_system(file)
        with system.open_input_file(path) as remote, io.BufferedReader(remote, BUFFER) as buffered:
            yield buffered


@contextmanager
def open_parquet(file: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file; a local one is read past Python."""
    if "://" not in file:
        with pq.ParquetFile(file) as parquet:
            yield parquet
    else:
        system, path = file_system(file)
        with system.open_input_file(path) as stream, pq.ParquetFile(stream) as parquet:
            yield parquet


def unpacked(stream: IO[bytes], file: str) -> IO[bytes]:
    """The text of a file whose name ends as compressed ones do."""
    packed = PACKED.get(posixpath.splitext(file)[1])
    if packed is None:
        return stream
    return io.BufferedReader(pa.CompressedInputStream(stream, packed), BUFFER)


def list_urls(url: str) -> list[str]:
    """The URLs of the files that a URL names: a file, a folder with all below it, or a glob.

    Raises:
        R2D2Error: nothing can be listed there.
    """
    try:
        system, path = _glob_system(url)
        if glob.has_magic(path):
            names = system.glob(path)
        elif system.isdir(path):
            names = system.find(path)
        else:
            names = [path] if system.exists(path) else []
        files = [name for name in names if not system.isdir(name)]
    except Exception as error:
        raise R2D2Error(
            f"cannot list {url}: {first_line(error)}; check the address and its rights"
        ) from error
    scheme = url.split("://", 1)[0]
    return [name if "://" in name else f"{scheme}://{name}" for name in files]


def file_system(url: str) -> tuple[Any, str]:
    """The pyarrow file system of a URL, and the path in it."""
    if url.split("://", 1)[0] in ARROW_SCHEMES:
        found: tuple[Any, str] = fs.FileSystem.from_uri(url)
        return found
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def _glob_system(url: str) -> tuple[Any, str]:
    """A file system that lists by globs, and the path or glob in it."""
    import fsspec
    from fsspec.implementations.arrow import ArrowFSWrapper

    if url.split("://", 1)[0] not in ARROW_SCHEMES:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        return found
    # a glob is no URI: the file system is that of what stands before its first special character
    base = re.split(r"[*?[]", url, maxsplit=1)[0].rpartition("/")[0] if glob.has_magic(url) else url
    system, path = file_system(base)
    return ArrowFSWrapper(system), path + url[len(base) :]
