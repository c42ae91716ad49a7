"""The exceptions that the command line turns into exit codes."""

from __future__ import annotations

from pathlib import Path

NEEDS_CAPTIONS = (
    "give its pictures captions, as by `r2d2 data import own FOLDER CAPTIONS.csv --out TABLE`"
)


class R2D2Error(Exception):
    """Something the user can mend: the message names the thing and the remedy, in one line.

    `r2d2.entry` alone turns it into exit code 2; all else lets it pass. `code` is the kind of
    mistake in a word, for the server's clients: they may have words of their own for it.
    """

    code: str = "invalid"

    def __init__(self, *args: object, code: str | None = None) -> None:
        super().__init__(*args)
        if code is not None:
            self.code = code


def taken(place: object) -> R2D2Error:
    """What to raise where something is that was not asked to be replaced."""
    return R2D2Error(f"{place} exists: choose another place or ask to overwrite it")


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class TerminatedError(BaseException):
    """SIGTERM came where no step is in hand; no Exception, so that nothing on its way holds it."""


class RunStoppedError(Exception):
    """A signal stopped a run after its checkpoint was written."""

    def __init__(
        self, signum: int, checkpoint: Path, remedy: str = "run the same command with --resume"
    ) -> None:
        super().__init__(f"stopped; {checkpoint} is written: {remedy}")
        self.checkpoint = checkpoint
        self.signum = signum
