"""The entry point of the command: streams, signals and exit codes, around `r2d2.cli`.

Only what Python has loaded anyway is imported here, so that Ctrl-C is answered from the start.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from r2d2.errors import R2D2Error, RunStoppedError, TerminatedError, WrongCallError
from r2d2.language import in_language
from r2d2.processes import first_process
from r2d2.training.signals import raised_signals
from r2d2.written import written

USER_ERROR = 2
TRY_AGAIN = 75  # sysexits' EX_TEMPFAIL: stopped from outside
INTERRUPTED = 130
PIPE_CLOSED = 141  # as a shell says of SIGPIPE

# What a command that keeps what is done goes on by when it was stopped.
RESUMED = {
    **dict.fromkeys(("demo", "pretrain", "finetune"), "run the same command with --resume"),
    **dict.fromkeys(
        ("ablate", "index", "corpus build", "corpus fetch"), "the same command goes on from there"
    ),
}


def run_command() -> int:
    """Run the command line in this process, as `sys.argv` has it; gives the exit code.

    What a user can mend becomes one line and exit code 2.
    """
    _prepare_output()
    with raised_signals() as came:
        return _flushed(_run(came))


def main() -> None:
    """Run the command line, and end the process."""
    # Lance reads it when it is imported. It warns of each empty partition of an index, thousands
    # of lines of a large one; what comes of it is told by the recall that is measured.
    os.environ.setdefault("LANCE_LOG", "error")
    code = run_command()
    # Nothing is under way any more: a signal during the teardown ends the process in silence.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from r2d2.training.launch import leave

        leave(code)
    sys.exit(code)


def _prepare_output() -> None:
    """Let standard output take any text: what its encoding lacks becomes `?`.

    Standard error needs nothing of the kind: Python writes the code of such a character there.
    """
    if sys.stdout is None:  # closed by who started the command
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # to the end
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def _run(came: list[int]) -> int:
    """Run the command; gives the exit code. `came` holds the signals that came meanwhile."""
    try:
        import logging
        import warnings

        from rich.console import Console
        from rich.logging import RichHandler
        from typer.main import get_command

        from r2d2.cli import app
        from r2d2.commands.localised import localised
        from r2d2.commands.output import with_output_locks
        from r2d2.commands.wrong_call import with_one_line_errors

        handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False)
        level = os.environ.get("R2D2_LOG", "INFO" if first_process() else "WARNING")
        logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
        # which tells of its caches at the end of every process
        logging.getLogger("torch").setLevel(logging.WARNING)
        # Pillow's word on large pictures, in two lines of its own; our limit is told in one
        warnings.filterwarnings("ignore", message=".*decompression bomb")
        _check_arguments(sys.argv[1:])
        localised(with_one_line_errors(with_output_locks(get_command(app))))()
    except RunStoppedError as stopped:
        if first_process():
            _say(in_language(str(stopped)))
        return INTERRUPTED if stopped.signum == signal.SIGINT else TRY_AGAIN
    except BaseException as error:
        terminated = came[:1] == [signal.SIGTERM] or isinstance(error, TerminatedError)
        if came or terminated or _comes_of(error, KeyboardInterrupt):
            # `came`: whatever a library made of the exception on its way
            if first_process():
                _say(in_language(_stopped(_command(sys.argv[1:]))))
            return TRY_AGAIN if terminated else INTERRUPTED
        if isinstance(error, WrongCallError):
            _say(str(error), red=True)
            return USER_ERROR
        if isinstance(error, R2D2Error):
            place = "" if first_process() else f" in process {os.environ['RANK']}"
            _say(f"error{place}: {in_language(str(error))}", red=True)
            return USER_ERROR
        if _comes_of(error, BrokenPipeError):
            return PIPE_CLOSED
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return _disk_full(error)
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            return error.code  # typer's way to end, with 0 too
        raise
    return 0


def _comes_of(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an exception, or one that it was raised for, is of a kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    return error is not None


def _command(arguments: list[str]) -> str:
    """The names of a command, such as `corpus build`, as RESUMED has them."""
    return next((" ".join(arguments[:n]) for n in (1, 2) if " ".join(arguments[:n]) in RESUMED), "")


def _stopped(command: str) -> str:
    """What a stopped command leaves, and how to go on."""
    if command:
        return f"stopped: {RESUMED[command]}"
    if not written:
        return "stopped; nothing was written: run the same command again"
    shown = ", ".join(str(path) for path in written)
    return (
        f"stopped; {shown} is written whole, what was to follow is not: run the same command again "
        "with --overwrite"
    )


def _say(text: str, *, red: bool = False) -> None:
    """A line on standard error."""
    if red and sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        text = f"\x1b[31m{text}\x1b[0m"
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _check_arguments(arguments: list[str]) -> None:
    """R2D2Error where one is no text: neither a table nor a report could name such a path."""
    for argument in arguments:
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise R2D2Error(
                f"the argument {argument!r} is not valid UTF-8: rename the file, or write the text "
                "anew"
            )


def _disk_full(error: OSError) -> int:
    _say(f"error: {error.filename or 'standard output'}: {error.strerror}; free some space")
    return USER_ERROR


def _flushed(code: int) -> int:
    """The exit code, when what was said has reached its reader."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the teardown flushes too
        if error.errno == errno.ENOSPC:
            return code or _disk_full(error)
        return code or PIPE_CLOSED
    return code
