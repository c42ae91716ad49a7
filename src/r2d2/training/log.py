"""Write the scalars of a run to history.jsonl and to TensorBoard."""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.files import disk_errors, write_text

HISTORY, BOARD = "history.jsonl", "tensorboard"

_serial = itertools.count()  # of the event files of one process


class RunLog:
    """Writes the scalars of steps as lines of JSON and to TensorBoard; a resumed run appends.

    TensorBoard's records are written in this thread. `SummaryWriter` uses another one, which ends
    with a traceback when the disk is full, and the run would not notice.
    """

    def __init__(self, out: Path, first_step: int = 0) -> None:
        self._out = out
        use = "the log of a training run"
        self._events = require("train", "tensorboard.compat.proto.event_pb2", use)
        self._summaries = require("train", "tensorboard.compat.proto.summary_pb2", use)
        records = require("train", "tensorboard.summary.writer.record_writer", use)
        kept = [row for row in read_history(out) if row["step"] < first_step]
        write_text(out / HISTORY, "".join(json.dumps(row) + "\n" for row in kept))
        # Files are read in the order of their names.
        name = (
            f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
            f".{next(_serial)}"
        )
        with disk_errors(out):
            self._file = (out / HISTORY).open("a", encoding="utf-8")
            (out / BOARD).mkdir(exist_ok=True)
            self._board = records.RecordWriter((out / BOARD / name).open("wb"))
            self._record(file_version="brain.Event:2")
            session = self._events.SessionLog(status=self._events.SessionLog.START)
            # A resumed run repeats the steps from this one on: TensorBoard drops earlier records.
            self._record(step=first_step, session_log=session)
            self._board.flush()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one line, and flush it to disk.

        Raises:
            R2D2Error: the disk is full, or the folder gone.
        """
        self.check()
        with disk_errors(self._out):
            self._file.write(json.dumps({"step": step, **scalars}) + "\n")
            self._file.flush()
            for name, value in scalars.items():
                value_of_name = self._summaries.Summary.Value(tag=name, simple_value=value)
                self._record(step=step, summary=self._summaries.Summary(value=[value_of_name]))
            self._board.flush()

    def check(self) -> None:
        """Check that the run's folder still exists, because writing to an open file does not fail.

        Raises:
            R2D2Error: it is not.
        """
        if not (self._out / HISTORY).exists():
            raise R2D2Error(
                f"{self._out} is gone, or its {HISTORY} is: put the run's folder back and go on "
                "with --resume, or start anew"
            )

    def close(self) -> None:
        """Close both files."""
        with disk_errors(self._out):
            self._file.close()
            self._board.close()

    def _record(self, **fields: object) -> None:
        self._board.write(self._events.Event(wall_time=time.time(), **fields).SerializeToString())


def read_history(out: Path) -> list[dict[str, float]]:
    """Return the lines of a run's history, without a last line that a crash has cut off."""
    path = out / HISTORY
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows
