"""The exceptions that the command line turns into exit codes."""

from __future__ import annotations

from pathlib import Path

NEEDS_CAPTIONS = (
    "give its pictures captions, as by `r2d2 data import own FOLDER CAPTIONS.csv --out TABLE`"
)


class R2D2Error(Exception):
    """An error that the user can correct: its message names the cause and the remedy, in one line.

    What a library says in several lines, as a part of the message, becomes one line too. Only
    `r2d2.entry` catches it for the command line, and exits with code 2. `code` names the kind of
    error for the server's clients, which may translate it.
    """

    code: str = "invalid"

    def __init__(self, *args: object, code: str | None = None) -> None:
        super().__init__(*(_joined(arg) if isinstance(arg, str) else arg for arg in args))
        if code is not None:
            self.code = code


class WrongCallError(R2D2Error):
    """The command line has a command or an option that is not known, or a value that cannot be.

    Its message is the whole line that the user reads, with the name of the command.
    """


def exists_error(path: object) -> R2D2Error:
    """The error for an output that exists and that nobody asked to replace."""
    return R2D2Error(f"{path} exists: choose another place or ask to overwrite it")


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says; its kind where it says nothing.

    A line that ends with a colon only announces what follows, so the next one goes along.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    count = 2 if lines[0].rstrip().endswith(":") else 1
    return _joined("\n".join(lines[:count]))


def _joined(text: str) -> str:
    """The lines of a text as one; the text itself where it has one only."""
    lines = text.splitlines()
    return " ".join(line.strip() for line in lines if line.strip()) if len(lines) > 1 else text


class TerminatedError(BaseException):
    """SIGTERM arrived outside a step. It is no Exception, so that no handler of those stops it."""


class RunStoppedError(Exception):
    """A signal stopped a run after its checkpoint was written."""

    def __init__(
        self, signum: int, checkpoint: Path, remedy: str = "run the same command with --resume"
    ) -> None:
        super().__init__(f"stopped; {checkpoint} is written: {remedy}")
        self.checkpoint = checkpoint
        self.signum = signum
