"""The command within another program: it leaves the process as it found it."""

import signal
import sys

from helpers.cli import call_cli


def test_a_command_in_this_process_leaves_signals_and_hooks_as_they_were(monkeypatch, capsys):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hook = sys.unraisablehook
    code, out, _ = call_cli(monkeypatch, capsys, "weights", "kinds")
    assert code == 0
    assert "official" in out
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert sys.unraisablehook is hook
