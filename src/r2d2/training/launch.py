"""Start the processes of a run on one machine; across machines, `torchrun` does it.

Each process runs the same command with its place in the environment, as under `torchrun`. A signal
is passed on, so that all of them write one checkpoint; when one process dies, the others are ended.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

GRACE = 30.0  # seconds that processes get to end by themselves after one of them died
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m r2d2 ARGUMENTS` so many times; gives the exit code of the first that failed.

    Stopped by a signal, all leave with the same code, which is then this one's too.
    """
    with socket.socket() as found:  # a port that is free now
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    cores = max(1, (os.cpu_count() or 1) // processes)
    children = []
    for rank in range(processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {name: str(value) for name, value in (place | address).items()}
        # Processes of as many threads as there are cores fight over them.
        environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(cores))
        command = [sys.executable, "-m", "r2d2", *arguments]
        # A group of its own: the terminal's Ctrl-C must not come twice, from there and from here.
        children.append(
            subprocess.Popen(command, env=os.environ | environment, start_new_session=True)
        )

    def pass_on(signum: int, _frame: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(signum)

    old = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    try:
        return _wait(children)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for child in children:
            if child.poll() is None:
                child.kill()


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    failed: int | None = None
    ended_at = 0.0
    while any(child.poll() is None for child in children):
        codes = [child.poll() for child in children]
        bad = [code for code in codes if code]
        if bad and failed is None:
            failed, ended_at = bad[0], time.monotonic()
        if failed is not None and time.monotonic() - ended_at > GRACE:
            for child in children:
                child.kill()
        time.sleep(0.05)
    codes = [child.wait() for child in children]
    first = failed if failed is not None else next((code for code in codes if code), 0)
    return 128 - first if first < 0 else first  # killed by a signal, as a shell says it
