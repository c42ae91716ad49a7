"""The command line, in this process or in one of its own, and what it says of errors."""

import os
import subprocess
import sys
import time

import pytest

from r2d2.errors import R2D2Error


def refused(call, *arguments, **keywords):
    """The one line a user reads."""
    with pytest.raises(R2D2Error) as caught:
        call(*arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message


def start_cli(*arguments, threads=1, files=None):
    """`python -m r2d2 ...` in a process of its own; threads None: as many as it likes.

    files: how many it may open at once, by the shell's `ulimit`.
    """
    limit = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"] if files else []
    environment = os.environ | {"COLUMNS": "200"}
    environment.pop("OMP_NUM_THREADS", None)
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return subprocess.Popen(
        [*limit, sys.executable, "-m", "r2d2", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )


def wait_until(process, reached):
    """Poll until `reached()` is true; a process that ends before that is an error."""
    while not reached():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def call_cli(monkeypatch, capsys, *arguments):
    """The command in this process: exit code, output, lines of its errors."""
    from r2d2.entry import run_command

    monkeypatch.setattr(sys, "argv", ["r2d2", *map(str, arguments)])
    capsys.readouterr()
    code = run_command()
    output = capsys.readouterr()
    return code, output.out, output.err.splitlines()


def sets(*settings):
    """Settings as arguments of a command."""
    return [part for setting in settings for part in ("--set", setting)]
