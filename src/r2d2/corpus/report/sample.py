"""A share of a corpus by hash of image_id: the same images in any order, from any engine.

Every image has one number in [0, 1), and a share takes those below it: a smaller share lies within
a larger one. A second number chooses the split, so an image has the same split in every share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r2d2.corpus.config import SampleConfig
from r2d2.corpus.funnel import COUNTED
from r2d2.corpus.report.dropped import dropped_folder, is_dropped_folder, remove_dropped
from r2d2.corpus.rows import DroppedFile
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.outputs import Output, a_folder, check_outputs
from r2d2.progress import Update
from r2d2.table import PairsTable
from r2d2.table_queries import table_outputs, write_derived_table

REST = "train"
OUTSIDE = "outside the sample"  # the rule that drops an image
CHUNK = 1024  # rows read at once
IDS = 64 << 10  # ids read at once


def numbers(image_ids: Iterable[str], seed: int, what: str) -> npt.NDArray[np.float64]:
    """(n,) even in [0, 1), by image id; another `what` gives independent ones."""
    keyed = hashlib.blake2b(digest_size=8, key=f"{seed}:{what}".encode())

    def draw(image_id: str) -> bytes:
        hash_ = keyed.copy()  # quicker than to start from the key
        hash_.update(image_id.encode())
        return hash_.digest()

    bits = np.frombuffer(b"".join(map(draw, image_ids)), dtype="<u8") >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def in_sample(image_ids: Iterable[str], config: SampleConfig) -> npt.NDArray[np.bool_]:
    """(n,) whether an image is within the share."""
    return numbers(image_ids, config.seed, "share") < config.share


def sample_table(
    table: PairsTable,
    out: str | Path,
    config: SampleConfig,
    update: Update,
    overwrite: bool = False,
    keep_dropped: bool = False,
) -> int:
    """Write a share of a table, its rows, splits, metadata and queries as they are; gives how many.

    Args:
        table: the whole.
        out: the table to write.
        config: the share and the seed.
        update: progress.
        overwrite: replace what is at `out`.
        keep_dropped: write the images outside the share to a folder beside it.

    Raises:
        R2D2Error: no image is within the share, or the place does not serve.
    """
    check_outputs(sample_outputs(out, keep_dropped), inputs=[table.path], overwrite=overwrite)
    every = table.rows()
    chosen = [np.zeros(0, dtype=bool)]
    for start in range(0, len(every), IDS):
        update("choosing", start, len(every))
        chosen.append(in_sample(table.image_ids(every[start : start + IDS]), config))
    within = np.concatenate(chosen)
    rows = every[within]
    if not len(rows):
        remedy = "give a larger share" if len(every) else "give a table that has images"
        raise R2D2Error(
            f"a share of {config.share:g} keeps none of the {len(every):,} images of {table.path}: "
            f"{remedy}"
        )

    pairs = table.stream(rows, batch_rows=CHUNK, stage="sampling", update=update)
    count = write_derived_table(table, out, pairs, overwrite)
    if keep_dropped:
        write_outside(table, every[~within], dropped_folder(Path(out)))
    elif overwrite and "://" not in str(out):
        remove_dropped(dropped_folder(Path(out)))
    return count


def sample_outputs(out: str | Path, keep_dropped: bool) -> list[Output]:
    """What `sample_table` writes.

    Raises:
        R2D2Error: dropped rows have no place beside a table at a URL.
    """
    outputs = table_outputs(out)
    if keep_dropped:
        if "://" in str(out):
            raise R2D2Error(
                f"--keep-dropped writes beside the table, and {out} is a URL: give a path"
            )
        outputs.append(a_folder(dropped_folder(Path(out)), is_dropped_folder))
    return outputs


def write_outside(table: PairsTable, rows: npt.NDArray[np.int64], folder: Path) -> None:
    """Write the images at some rows as dropped ones."""
    columns = ("image_id", "url", *COUNTED)
    with (
        whole_folder(folder) as work,
        DroppedFile(work, "sample", "images", "0", within="") as dropped,
    ):
        for pair in table.stream(rows, columns, batch_rows=CHUNK):
            dropped.add(OUTSIDE, {name: getattr(pair, name) for name in columns})


def splits(image_ids: Iterable[str], config: SampleConfig) -> list[str]:
    """The split of each image: those of the config in order of their names, the rest train."""
    names = sorted(config.splits)
    edges = np.cumsum([config.splits[name] for name in names])
    places = np.searchsorted(edges, numbers(image_ids, config.seed, "split"), side="right")
    return [names[place] if place < len(names) else REST for place in places]
