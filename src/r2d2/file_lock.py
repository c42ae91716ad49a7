"""Lock an open file for one process; this module imports no package of others."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


def take_lock(stream: TextIO) -> None:
    """Lock an open file for this process, whose number becomes its content.

    Raises:
        OSError: another process has the lock, or the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with contextlib.suppress(OSError):  # a full disk; the lock holds without the number
        os.truncate(stream.fileno(), 0)
        os.write(stream.fileno(), str(os.getpid()).encode())


def holder_of(stream: TextIO) -> str:
    """The number of the process that has locked a file, or `?`."""
    stream.seek(0)
    return stream.read(20).strip() or "?"
