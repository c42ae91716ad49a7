"""A build's working folder: a stage that is done is not done again, one that was cut off goes on.

Every stage has a folder of its own. What it depends on - its settings, and all before it with what
that counted - is hashed into `stage.json`: where the hash is another one, the stage starts anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d2.corpus.funnel import StageCount
from r2d2.files import disk_errors, sole_process, write_text

RECORD = "stage.json"


@dataclass(frozen=True)
class Stage:
    """A stage that is done: its folder, what it counted, and how long it took."""

    name: str
    folder: Path
    counts: tuple[StageCount, ...]
    seconds: float


class Workspace:
    """The stages of one build, in order."""

    def __init__(self, root: Path, inputs: Any) -> None:
        """`inputs` is what the whole build starts from, as plain data."""
        self.root = root
        self.stages: list[Stage] = []
        self._fingerprint = digest(inputs)

    def run(self, name: str, settings: Any, work: Callable[[Path], Sequence[StageCount]]) -> Stage:
        """Do a stage, or take it as done.

        `work` writes into the folder it is given, each file whole or not at all; files that an
        earlier attempt left there are its own, made with the same settings.
        """
        self._fingerprint = digest([self._fingerprint, name, settings])
        folder = self.next_folder(name)
        record = _read(folder / RECORD)
        if record.get("fingerprint") != self._fingerprint:
            with disk_errors(folder):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
            record = {"fingerprint": self._fingerprint, "seconds": 0.0}
            write_text(folder / RECORD, json.dumps(record))
        if "counts" not in record:
            start = time.monotonic()
            try:
                counts = work(folder)
            except BaseException:
                record["seconds"] += time.monotonic() - start
                write_text(folder / RECORD, json.dumps(record))
                raise
            record["counts"] = [count.to_dict() for count in counts]
            record["seconds"] += time.monotonic() - start
            write_text(folder / RECORD, json.dumps(record, ensure_ascii=False))
        counted = tuple(StageCount.from_dict(count) for count in record["counts"])
        self._fingerprint = digest([self._fingerprint, record["counts"]])
        stage = Stage(name, folder, counted, float(record["seconds"]))
        self.stages.append(stage)
        return stage

    def next_folder(self, name: str) -> Path:
        """Where the stage after those so far is, if it has this name."""
        return self.root / f"{len(self.stages) + 1:02d}-{name}"

    def reopen(self, name: str) -> None:
        """Let a finished stage run again over its files; those after it notice by its counts."""
        for folder in self.root.glob(f"[0-9][0-9]-{name}"):
            record = _read(folder / RECORD)
            record.pop("counts", None)
            write_text(folder / RECORD, json.dumps(record))

    def folder(self, name: str) -> Path | None:
        """Where a stage of this build is; None where it had none of that name."""
        return next((stage.folder for stage in self.stages if stage.name == name), None)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second build out of the folder; the lock ends with the process."""
        busy = f"builds in {self.root}: wait for it, or give another --work"
        with sole_process(self.root / ".lock", busy):
            yield


def digest(data: Any) -> str:
    """A short hash of plain data."""
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """A record; nothing where there is none, or it is from a version that wrote it otherwise."""
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return dict(found)
    except (OSError, ValueError, TypeError):
        return {}
