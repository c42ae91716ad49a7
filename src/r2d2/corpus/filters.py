"""Filters of one's own as stages: a function that gives None, or the reason to drop a row.

A filter is a function over a batch of rows, each a mapping of columns to values. It may be a frozen
dataclass with `__call__`, whose fields are then its settings.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from r2d2.corpus.funnel import StageCount
from r2d2.corpus.images.image_filter import MEASURED
from r2d2.corpus.keep import ImageVerdict, PruneWork, keep_images, keep_texts
from r2d2.corpus.rows import IMAGES, PAIRS, part_file, read_images, read_pairs
from r2d2.corpus.stages import Stage, StageContext, digest
from r2d2.corpus.texts.classifier import ask, importable
from r2d2.errors import R2D2Error

Row = Mapping[str, Any]
RowJudge = Callable[[Sequence[Row]], Sequence[str | None]]
BATCH_TEXTS, BATCH_IMAGES = 10_000, 64  # rows judged at once


def text_filter(name: str, judge: RowJudge) -> Stage:
    """A stage that follows the text filter and drops texts, and images that lose all.

    Args:
        name: of the stage, in the funnel too.
        judge: takes rows with image_id, text, source (query, title, ...), clicks, impressions,
            examined and ctr, and gives for each row None or why it is dropped.
    """
    both = (PAIRS, IMAGES)
    own = OwnFilter(name, judge)
    return Stage(name, both, both, own, _filter_texts, check=_check, after="text")


def image_filter(name: str, judge: RowJudge) -> Stage:
    """A stage that follows the image filter and drops images.

    Args:
        name: of the stage, in the funnel too.
        judge: takes rows with the columns of `MEASURED`, among them the encoded file (`image`), and
            gives for each row None or why it is dropped.
    """
    own = OwnFilter(name, judge)
    return Stage(name, (IMAGES,), (IMAGES,), own, _filter_images, check=_check, after="image")


@dataclass(frozen=True)
class StageFile:
    """A file with a stage of one's own, as it was read."""

    path: str
    source: str

    def stage(self) -> Stage:
        """What the file calls STAGE.

        Raises:
            R2D2Error: the file cannot be run, or has none.
        """
        stage = getattr(_run_file(self), "STAGE", None)
        if not isinstance(stage, Stage):
            raise R2D2Error(
                f"{self.path} has no STAGE: write STAGE = text_filter(...), image_filter(...) or "
                "Stage(...) of r2d2.corpus"
            )
        if isinstance(stage.settings, OwnFilter):
            beside = _digest_beside(Path(self.path))
            return replace(stage, settings=replace(stage.settings, file=self, beside=beside))
        return stage


@dataclass(frozen=True)
class OwnFilter:
    """A filter of one's own, with the file that it was read from, if any."""

    name: str
    judge: RowJudge
    file: StageFile | None = None
    beside: str = ""  # digest of the modules that the file imports from its own folder

    def rules(self, rows: Iterable[Row], noun: str) -> Iterator[tuple[Row, str | None]]:
        """Every row, and why it is dropped; `noun` is text or image."""
        rows = iter(rows)
        while batch := list(islice(rows, BATCH_TEXTS if noun == "text" else BATCH_IMAGES)):
            rules = ask(self.judge, f"stage {self.name}", batch, _shown, noun)
            yield from zip(batch, rules, strict=True)

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker runs the file itself, for it has no module of this name to import."""
        if self.file is None:
            return OwnFilter, (self.name, self.judge)
        return _filter_of, (self.file,)


@dataclass(frozen=True)
class TextFilterWork:
    """The texts of a part that a filter of one's own keeps."""

    own: OwnFilter

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        rows = read_pairs(part_file(Path(job[PAIRS]), PAIRS, int(job["part"])))
        judged = self.own.rules(_rows(rows), "text")
        return keep_texts(job, rows, [rule for _, rule in judged], self.own.name)


@dataclass(frozen=True)
class ImageFilterWork:
    """The images of a part that a filter of one's own keeps."""

    own: OwnFilter

    def __call__(self, job: dict[str, str]) -> StageCount:
        """See `map_jobs`."""
        images = read_images(part_file(Path(job[IMAGES]), IMAGES, int(job["part"])))
        verdicts = (
            ImageVerdict(dict(row), rule, _shown(row))
            for row, rule in self.own.rules(images, "image")
        )
        return keep_images(job, verdicts, MEASURED, self.own.name)


def load_stage(file: Path) -> Stage:
    """The stage in a Python file, which is run: name only files that you trust.

    Raises:
        R2D2Error: the file cannot be read or run, or has no STAGE.
    """
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise R2D2Error(f"--stage {file} cannot be read: {reason}; give a Python file") from error
    return StageFile(str(file.resolve()), source).stage()


def _filter_of(file: StageFile) -> OwnFilter:
    own = file.stage().settings
    assert isinstance(own, OwnFilter)
    return own


@cache
def _run_file(file: StageFile) -> ModuleType:
    """The module that a file makes; it has a name that no other file and no package has."""
    mark = hashlib.sha256(f"{file.path}\0{file.source}".encode()).hexdigest()[:12]
    module = ModuleType(f"_r2d2_stage_{Path(file.path).stem}_{mark}")
    module.__file__ = file.path
    sys.modules[module.__name__] = module  # dataclasses look for it there
    try:
        with importable(str(Path(file.path).parent)):
            exec(compile(file.source, file.path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever code of the user's own may raise
        line = (str(error).splitlines() or [""])[0]
        raise R2D2Error(
            f"{file.path} cannot be run as a stage: {type(error).__name__}: {line}; mend it"
        ) from error
    return module


def _digest_beside(file: Path) -> str:
    """A digest of the loaded modules that lie in the folder of a file."""
    files = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
    here = sorted(one for one in map(Path, files) if one.parent == file.parent and one.is_file())
    return digest([[str(one), hashlib.sha256(one.read_bytes()).hexdigest()] for one in here])


def _check(own: OwnFilter, context: StageContext) -> None:
    if not callable(own.judge):
        raise R2D2Error(
            f"stage {own.name} has a {type(own.judge).__name__} as its filter: give a function"
        )
    if context.runner.workers > 1 and not context.runner.cluster:
        try:
            ForkingPickler.dumps(own)
        except Exception as error:  # the errors of serialization have no base of their own
            raise R2D2Error(
                f"the filter of stage {own.name} cannot go to several workers ({error}): define it "
                "by its name in a module, or give --workers 1"
            ) from error


def _filter_texts(own: OwnFilter, context: StageContext) -> list[StageCount]:
    texts = context.each_part(TextFilterWork(own), f"stage {own.name}")
    prune = PruneWork(stage=own.name)
    return [texts, context.each_part(prune, "leaving out images", pairs=context.out)]


def _filter_images(own: OwnFilter, context: StageContext) -> list[StageCount]:
    return [context.each_part(ImageFilterWork(own), f"stage {own.name}")]


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=BATCH_TEXTS):
        yield from batch.to_pylist()


def _shown(row: Row) -> str:
    """A row in words, for examples and errors."""
    return str(row.get("text") or f"{row['image_id']} {row.get('url') or ''}".strip())
