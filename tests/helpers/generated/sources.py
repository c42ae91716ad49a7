"""The generator of each format: a new format without one fails the test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from helpers.generated import lines, listed, logs, others, packed, web
from helpers.generated.case import Case
from helpers.generated.values import Values


class Input(Protocol):
    """A generated input."""

    def check(self) -> int:
        """Read it and compare; gives the number of rows."""

    def survive(self) -> None:
        """Read it after its files were damaged."""


Source = Callable[[Values, Path], Input]
SLOW = ("cldr-annotations",)  # each of them goes over the whole corpus of emoji


def _web(kind: str, values: Values, folder: Path) -> Case:
    """Pictures in a folder, or fetched."""
    return (web.web_urls if values.one_in(2) else listed.web_files)(kind, values, folder)


SOURCES: dict[str, Source] = {
    "own": listed.own,
    "finetune --captions": listed.finetune,
    **{kind: partial(listed.zero_set, kind) for kind in ("icr", "iqr", "icm", "iqm")},
    "aic-icc": listed.aic_icc,
    **{kind: partial(_web, kind) for kind in ("wukong", "danqing", "taisu")},
    **{kind: partial(lines.caption_files, kind) for kind in lines.NAMES},
    "webdataset": packed.webdataset,
    "parquet": packed.parquet,
    "img2dataset": packed.img2dataset,
    "corpus build": logs.log,
    "search --queries": logs.queries,
    "zero-corpus": web.zero_corpus,
    "cldr-annotations": others.annotations,
    "class-folders": others.class_folders,
    "boxclass-cn": others.boxes,
    "muge": partial(others.query_set, "muge"),
    "chinese-clip": partial(others.query_set, "chinese-clip"),
}
