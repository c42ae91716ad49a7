"""Jobs for tests of the runners: importable where they are done."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from r2d2.errors import R2D2Error


@dataclass(frozen=True)
class Square:
    """The square of a number; of `bad` an error, and of `broken` one that nobody expects."""

    bad: int = -1
    broken: int = -1

    def __call__(self, job):
        number = int(job["number"])
        if number == self.bad:
            raise R2D2Error(f"{number} is bad: give another")
        if number == self.broken:
            raise ZeroDivisionError("not foreseen")
        return number * number


@dataclass(frozen=True)
class Whereabouts:
    """The process that does the job, and its working folder."""

    def __call__(self, job):
        return os.getpid(), str(Path.cwd())


@dataclass(frozen=True)
class Begun:
    """Leaves a file when it begins, and ends once a file `go` is there; gives what it was given."""

    folder: str

    def __call__(self, job):
        (Path(self.folder) / f"begun-{job['number']}-{os.getpid()}").touch()
        while not (Path(self.folder) / "go").exists():
            time.sleep(0.01)
        return dict(job)


@dataclass(frozen=True)
class Unwritable:
    """What a full disk raises."""

    def __call__(self, job):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise R2D2Error("the disk is full: cannot write x; free some space") from error


@dataclass(frozen=True)
class Exit:
    """A process that the system ends."""

    def __call__(self, job):
        os._exit(1)


@dataclass(frozen=True)
class KeepsCount:
    """How many jobs this process has done of this work."""

    def __call__(self, job):
        DONE.append(job)
        return os.getpid(), len(DONE)


DONE = []
