"""The rows that a build's stages dropped, put together in one folder beside the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from r2d2.corpus.funnel import StageCount
from r2d2.corpus.rows import DROPPED
from r2d2.files import link_or_copy, remove_folder, whole_folder


def dropped_folder(home: Path) -> Path:
    """Where the dropped rows of a table lie: `zero.lance` has `zero.lance.dropped` beside it."""
    return home.with_name(f"{home.name}.{DROPPED}")


def is_dropped_folder(folder: Path) -> bool:
    """Whether a folder holds dropped rows and nothing else."""
    return all(file.suffix == ".parquet" for file in folder.iterdir())


def remove_dropped(folder: Path) -> None:
    """Remove the dropped rows of a table that was replaced; a folder of anything else stays."""
    if folder.is_dir() and is_dropped_folder(folder):
        remove_folder(folder)


def collect_dropped(stages: Sequence[Path], out: Path) -> None:
    """Put the dropped rows of some stages into one folder, which appears whole.

    Args:
        stages: the stages' folders; a file is named after its stage, its unit and its part.
        out: the folder to write; one that is there is replaced.
    """
    with whole_folder(out) as folder:
        for stage in stages:
            for file in sorted((stage / DROPPED).glob("*.parquet")):
                link_or_copy(file, folder / f"{stage.name}-{file.name}")


def check_dropped(folder: Path, counts: Sequence[StageCount]) -> None:
    """ValueError unless a stage has kept as many dropped rows as it has counted, of each unit."""
    if not (folder / DROPPED).is_dir():
        return
    counted = Counter[str]()
    for count in counts:
        counted[count.unit] += sum(count.dropped.values())
    kept = Counter[str]()
    for file in (folder / DROPPED).glob("*.parquet"):
        kept[file.name.partition("-")[0]] += pq.read_metadata(file).num_rows
    if +counted != +kept:
        raise ValueError(f"{folder} counted {dict(+counted)} as dropped and kept {dict(+kept)}")
