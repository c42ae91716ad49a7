"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from r2d2.errors import R2D2Error
from r2d2.file_lock import holder_of, take_lock
from r2d2.written import note_written


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system says into one line that names the file and the remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if full:
            raise R2D2Error(f"the disk is full: cannot write {path}; free some space") from error
        reason = getattr(error, "strerror", None) or error
        raise R2D2Error(f"cannot write {path}: {reason}; check the path and its rights") from error


def try_place(path: Path) -> None:
    """R2D2Error where nothing can be written at a path; asked before the work it takes."""
    with disk_errors(path):
        home = next((folder for folder in path.parents if os.path.lexists(folder)), path.parent)
        probe = home / f".{path.name}.probe"
        probe.touch()
        probe.unlink()


def remove_folder(path: Path) -> None:
    """Remove what can be removed; a signal on the way does not leave the rest."""
    try:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def replace_folder(fresh: Path, path: Path) -> None:
    """Put a folder in its place, and remove what was there; an exception leaves the old one.

    A file system has no call that replaces a folder that is not empty. So the old one steps aside
    for a moment, under a hidden name beside it.
    """
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    moved = False
    try:
        if os.path.lexists(path):
            path.rename(old)
            moved = True
        fresh.rename(path)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(path):
            old.rename(path)
        raise
    note_written(path)
    if moved:
        remove_folder(old)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into: renamed to `path` when all is on disk, removed on failure."""
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir()
            yield work
            for file in work.rglob("*"):
                if file.is_file():
                    with file.open("rb") as stream:
                        os.fsync(stream.fileno())
            replace_folder(work, path)
    finally:
        remove_folder(work)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write a file: renamed to `path` when it is done, removed on failure."""
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield work
            work.replace(path)
            note_written(path)
    finally:
        with contextlib.suppress(OSError):
            work.unlink()


@contextmanager
def sole_process(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the lock ends with the process, however it ends.

    Args:
        path: the lock file; it stays there, with the number of the process that had it last.
        busy: what another process is doing, and what to do: follows "process N ".

    Raises:
        R2D2Error: another process holds it.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="ascii")
    with stream:
        try:
            take_lock(stream)
        except OSError as error:
            raise R2D2Error(f"process {holder_of(stream)} {busy}") from error
        yield


def link_or_copy(source: Path, path: Path) -> None:
    """A file under a second name, without a second copy where the file system has links."""
    with whole_file(path) as work:
        try:
            os.link(source, work)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, work)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    with whole_file(path) as work:
        work.write_bytes(data)
