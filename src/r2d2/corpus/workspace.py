"""A build's working folder: a finished stage is not repeated, an interrupted stage continues.

Every stage has a folder of its own. What it depends on - its key, and the stages whose products it
reads, with what those counted - is hashed into `stage.json`. When the hash changes, the stage
starts from the beginning.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2d2.corpus.funnel import StageCount
from r2d2.corpus.report.dropped import check_dropped
from r2d2.corpus.rows import DROPPED
from r2d2.corpus.stages import Stage, StageContext, digest
from r2d2.errors import R2D2Error
from r2d2.files import disk_errors, sole_process, write_text

RECORD = "stage.json"
FORMAT = 4  # of a working folder; another one is of another version
FOLDERS = "[0-9][0-9]-*"


@dataclass(frozen=True)
class StageResult:
    """A stage that is done: its folder, what it counted, and how long it took."""

    name: str
    folder: Path
    counts: tuple[StageCount, ...]
    seconds: float
    fingerprint: str  # of the stage and of all that its result depends on


class Workspace:
    """The results of one build's stages, in order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results: list[StageResult] = []
        self._writers: dict[str, StageResult] = {}  # of each product, the last so far

    def run(self, number: int, stage: Stage, context: StageContext) -> StageResult | None:
        """Do a stage, or take it as done; None where there is nothing for it to do.

        A stage writes into its folder, each file whole or not at all; files that an earlier attempt
        left there are its own, made with the same settings.

        Args:
            number: of the stage in the build, from 1.
            stage: which.
            context: with the stage's key.
        """
        writers = {name: self._writers[name] for name in stage.reads if name in self._writers}
        context = dataclasses.replace(
            context,
            folders={name: writer.folder for name, writer in writers.items()},
            out=self.folder_of(number, stage.name),
        )
        if not stage.needed(stage.settings, context):
            return None
        inputs = {name: writer.fingerprint for name, writer in writers.items()}
        fingerprint = digest([stage.name, context.key, inputs, context.keep_dropped])
        record = _read(context.out / RECORD)
        if record.get("fingerprint") != fingerprint:
            with disk_errors(context.out):
                shutil.rmtree(context.out, ignore_errors=True)
                context.out.mkdir(parents=True)
                if context.keep_dropped:
                    (context.out / DROPPED).mkdir()
            record = {"format": FORMAT, "fingerprint": fingerprint, "seconds": 0.0}
            write_text(context.out / RECORD, json.dumps(record))
        if "counts" not in record or not stage.stands(stage.settings, context):
            record.pop("counts", None)
            _work(stage, context, record)
        counts = tuple(StageCount.from_dict(count) for count in record["counts"])
        after = digest([fingerprint, record["counts"]])
        result = StageResult(stage.name, context.out, counts, float(record["seconds"]), after)
        self.results.append(result)
        self._writers |= dict.fromkeys(stage.writes, result)
        return result

    def folder_of(self, number: int, name: str) -> Path:
        """Where a stage is, or will be."""
        return self.root / f"{number:02d}-{name}"

    def reopen(self, name: str) -> None:
        """Let a finished stage run again over its files; so will those that read what it wrote."""
        for folder in self.root.glob(f"[0-9][0-9]-{name}"):
            record = _read(folder / RECORD)
            record.pop("counts", None)
            write_text(folder / RECORD, json.dumps(record))

    def folder(self, name: str) -> Path | None:
        """Where a stage of this build is; None where it had none of that name."""
        return next((result.folder for result in self.results if result.name == name), None)

    def tidy(self) -> None:
        """Remove the stages' folders, the last first: cut off there, the build is finished."""
        for folder in sorted(self.root.glob(FOLDERS), reverse=True):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second build out of the folder; the lock ends with the process."""
        busy = f"builds in {self.root}: wait for it, or give another --work"
        with sole_process(self.root / ".lock", busy):
            yield


def refuse_other_format(root: Path) -> None:
    """R2D2Error where a working folder holds stages of another version of this program."""
    for folder in sorted(root.glob(FOLDERS)):
        record = _read(folder / RECORD)
        if record and record.get("format") != FORMAT:
            raise R2D2Error(
                f"{root} was left by another version of r2d2, which this one cannot go on from: "
                f"remove {root}/{FOLDERS} (what was fetched may stay), or give another --work"
            )


def _work(stage: Stage, context: StageContext, record: dict[str, Any]) -> None:
    """Run a stage; the record in its folder tells how long, and at the end what it counted."""
    start = time.monotonic()
    counts: Sequence[StageCount] | None = None
    try:
        done = stage.run(stage.settings, context)
        check_dropped(context.out, done)
        counts = done
    finally:
        record["seconds"] += time.monotonic() - start
        if counts is not None:
            record["counts"] = [count.to_dict() for count in counts]
        write_text(context.out / RECORD, json.dumps(record, ensure_ascii=False))


def _read(path: Path) -> dict[str, Any]:
    """A record; nothing where there is none, or it is damaged."""
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return dict(record)
    except (OSError, ValueError, TypeError):
        return {}
