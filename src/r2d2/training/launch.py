"""Start the processes of a run on one machine; for several machines there is `torchrun`.

Each process runs the same command with its place in the environment, as under `torchrun`. A signal
is passed on, so that all of them write one checkpoint; when one process dies, the others are ended,
and so they are when this one dies. They meet at a socket that is opened here and inherited: a port
that was only looked up could be taken by another run before the first process listens there.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from r2d2.errors import R2D2Error, TerminatedError

log = logging.getLogger(__name__)

GRACE = 30.0  # seconds that processes get to end by themselves after one of them died
LISTENER = "R2D2_LISTENER"  # the first process's number of the socket that all meet at; others: -1
PARENT = "R2D2_PARENT"  # number of a pipe that ends when the process that started them does
LOOPBACK = "127.0.0.1"
LOST = 3  # exit code of a process that ends since another one did
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FAULTS = (signal.SIGABRT, signal.SIGSEGV)  # after which faulthandler prints all threads


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m r2d2 ARGUMENTS` in several processes; return the first failure's code.

    If a signal stops the run, all processes exit with the same code, and it is returned.

    Raises:
        TerminatedError: SIGTERM was received before the processes could handle it.
    """
    children: list[subprocess.Popen[bytes]] = []
    received: list[int] = []  # signals that this process received

    def pass_on(signum: int, _frame: object) -> None:
        received.append(signum)
        for child in children:
            if child.poll() is None:
                child.send_signal(signum)

    old = {number: signal.signal(number, pass_on) for number in _SIGNALS}
    ours, theirs = os.pipe()  # the pipe ends when the last process that could write to it has ended
    try:
        with socket.create_server((LOOPBACK, 0)) as listener:
            for rank in range(processes):
                children.append(_start(rank, processes, arguments, listener, ours))
                if received:  # before this process was started
                    children[-1].send_signal(received[-1])
        code = _wait(children, received)
        if signal.SIGTERM in received and code == 128 + signal.SIGTERM:
            raise TerminatedError
        return code
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for child in children:
            if child.poll() is None:
                child.kill()
        os.close(ours)
        os.close(theirs)


def ensure_processes(processes: int, arguments: Sequence[str]) -> None:
    """Start the processes and exit with their code; in one of them, do nothing.

    Raises:
        R2D2Error: torchrun has started another number of them.
        TerminatedError: see `launch`.
    """
    if "RANK" not in os.environ:
        if processes > 1:
            sys.exit(launch(processes, arguments))
        return
    started = os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1"))
    if LISTENER not in os.environ and processes > 1 and str(processes) != started:
        raise R2D2Error(
            f"--processes {processes}: torchrun has started {started} on this machine; leave it out"
        )


def leave(code: int) -> NoReturn:
    """End this process immediately, without the interpreter's cleanup.

    FSDP's caches keep gloo's threads beyond the end of the process group. One of them that wants
    the interpreter's lock during the teardown aborts the process (pytorch/pytorch#179291): a run
    that is whole would be told as one that failed. What is to be written must be written by now.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or its reader has ended
            stream.flush()
    os._exit(code)


def _start(
    rank: int, processes: int, arguments: Sequence[str], listener: socket.socket, parent: int
) -> subprocess.Popen[bytes]:
    """Start one process; the first one inherits the socket that all processes connect to."""
    variables = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes,
        "MASTER_ADDR": LOOPBACK, "MASTER_PORT": listener.getsockname()[1],
        LISTENER: listener.fileno() if rank == 0 else -1, PARENT: parent,
    }  # fmt: skip
    # Processes of as many threads as there are cores fight over them.
    cores = max(1, (os.cpu_count() or 1) // processes)
    # One that dies of a fault in native code leaves at least the lines that its threads were at.
    environment = {"OMP_NUM_THREADS": str(cores), "PYTHONFAULTHANDLER": "1"}
    # A name that the machine has on the network may not lead back to it.
    own = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    environment |= {"GLOO_SOCKET_IFNAME": own[0]} if own else {}
    environment |= os.environ | {name: str(value) for name, value in variables.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "r2d2", *arguments],
        env=environment,
        pass_fds=[parent, *([listener.fileno()] if rank == 0 else [])],
        # A separate group: the terminal's Ctrl-C would arrive twice, from there and from here.
        start_new_session=True,
    )


def _wait(children: Sequence[subprocess.Popen[bytes]], received: Sequence[int]) -> int:
    """Return the exit code of the run when all processes have ended."""
    failed_at: float | None = None
    late: set[int] = set()  # killed here
    while any(child.poll() is None for child in children):
        if failed_at is None and any(child.poll() for child in children):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > GRACE:
            for rank, child in enumerate(children):
                if child.poll() is None:
                    late.add(rank)
                    child.kill()
        time.sleep(0.05)
    codes = {rank: child.wait() for rank, child in enumerate(children) if rank not in late}
    rank, code = min(codes.items(), key=lambda item: (item[1] in (0, LOST), item[1] == 0, item[1]))
    if code < 0 and not received:  # it could not print an error itself
        number = signal.Signals(-code)
        why = ""
        if number == signal.SIGKILL:
            why = " (by the system, where memory ran out)"
        elif number in _FAULTS:
            why = " (a fault in native code: the lines above say where)"
        log.error(
            "process %d was killed by %s%s: go on from the last checkpoint with --resume",
            rank, number.name, why,
        )  # fmt: skip
    return 128 - code if code < 0 else code  # the code of a shell for a killed process
