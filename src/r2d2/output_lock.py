"""One process at a time writes an output: a second one is refused before it does any harm.

The lock is a hidden file beside the output, `.NAME.lock`, on which the operating system holds a
lock of the process. It ends with the process, however that ends; a file that a killed process left
is taken over. On a network file system it works between machines where the system passes locks on
(NFS 4, SMB); where it has none, that is told once and two writers are not told apart. An output in
an object store has its lock where the command runs.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Concatenate, ParamSpec, TextIO, TypeVar

from r2d2.errors import R2D2Error
from r2d2.file_lock import holder_of, take_lock

P = ParamSpec("P")
R = TypeVar("R")

INHERITED = "R2D2_OUTPUT_LOCKS"  # what a process holds, for those that it starts
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())
log = logging.getLogger(__name__)


@contextmanager
def sole_writer(out: str | Path) -> Iterator[None]:
    """Keep every other process from writing an output while the block runs.

    Within the block, and in processes that it starts, the same output may be locked again.

    Args:
        out: path or URL of a table, folder or file, which need not exist.

    Raises:
        R2D2Error: another process writes it.
    """
    path = lock_file(out)
    key = str(path)
    outer = os.environ.get(INHERITED, "")
    if key in _held.get() or key in outer.split(os.pathsep):
        yield
        return
    with ExitStack() as stack:
        made = _make_folder(path.parent)
        stack.callback(_remove_empty, made)
        stream = _locked(path, str(out))
        if stream is not None:
            stack.callback(_release, path, stream)
        token = _held.set(_held.get() | {key})
        stack.callback(_held.reset, token)
        os.environ[INHERITED] = os.pathsep.join(filter(None, (outer, key)))
        stack.callback(_restore, outer)
        yield


def locks_output(
    write: Callable[Concatenate[str | Path, P], R],
) -> Callable[Concatenate[str | Path, P], R]:
    """A function whose first argument is its output, which no other process may write meanwhile."""

    @functools.wraps(write)
    def locked(out: str | Path, /, *arguments: P.args, **options: P.kwargs) -> R:
        with sole_writer(out):
            return write(out, *arguments, **options)

    return locked


def lock_file(out: str | Path) -> Path:
    """Where the lock of an output is, however the output is spelled."""
    text = str(out)
    if "://" in text:
        text = text.rstrip("/").rsplit("/", 1)[-1]
    path = Path(text).resolve()
    return path.with_name(f".{path.name}.lock")


def _locked(path: Path, out: str) -> TextIO | None:
    """The lock file, open and locked; None where nothing can be locked there."""
    while True:
        try:
            stream = path.open("a+", encoding="ascii")
        except OSError as error:
            # the command itself says what is wrong with the place, where it matters: it may be a
            # folder that can be written into although nothing can be put beside it
            log.debug("%s is not locked: %s", out, error)
            return None
        try:
            take_lock(stream)
        except OSError as error:
            holder = holder_of(stream)
            stream.close()
            if error.errno in _BUSY:
                raise R2D2Error(
                    f"process {holder} writes {out}: wait for it, or give another --out"
                ) from error
            log.warning(
                "%s is on a file system without locks (%s): do not start a second command that "
                "writes it",
                out, error.strerror,
            )  # fmt: skip
            return None
        if _is_at(stream, path):
            return stream
        stream.close()  # who had it has removed it meanwhile: begin again


def _is_at(stream: TextIO, path: Path) -> bool:
    """Whether an open file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _release(path: Path, stream: TextIO) -> None:
    with contextlib.suppress(OSError):
        path.unlink()  # while it is locked, so that nobody locks a file that is then removed
    stream.close()


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; gives those that were made, the innermost first."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    with contextlib.suppress(OSError):  # the command says what is wrong with the place
        folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # not empty: something was written
        for folder in folders:
            folder.rmdir()


def _restore(outer: str) -> None:
    os.environ.pop(INHERITED, None)
    if outer:
        os.environ[INHERITED] = outer
