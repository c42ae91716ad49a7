"""Which images are one: by their file, by a perceptual hash, and by meaning where it is asked for.

Only the ids and the measures of all images are held in memory, some hundred bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.config import DedupConfig
from r2d2.corpus.funnel import EXAMPLES, StageCount
from r2d2.corpus.meaning import same_meaning
from r2d2.corpus.near import near_groups
from r2d2.corpus.rows import IMAGES, open_part, part_count, part_file, write_rows
from r2d2.corpus.unite import MERGE_COLUMNS
from r2d2.progress import Update

Encode = Callable[[Sequence[bytes]], npt.NDArray[np.float32]]  # files to embeddings (n, d)
COLUMNS = ["image_id", "sha256", "phash", "width", "height", "bytes"]


def find_duplicates(
    images: Path, out: Path, config: DedupConfig, update: Update, encode: Encode | None = None
) -> StageCount:
    """Write `out`, a file of MERGE_COLUMNS: one row for each image of a group of two or more.

    A group's id is its smallest. Its picture is the largest by pixels, then by bytes; of a group
    found by meaning, the one nearest the centre.

    Args:
        images: folder of the image filter.
        out: the file to write.
        config: what counts as one.
        update: progress.
        encode: for the search by meaning; see `same_meaning`.
    """
    update("duplicates", 0, 3)
    tables = []
    for part in range(part_count(images, IMAGES)):
        with open_part(part_file(images, IMAGES, part)) as file:
            tables.append(file.read(columns=COLUMNS))
    rows = pa.concat_tables(tables).combine_chunks().sort_by("image_id")
    n = len(rows)
    group = np.arange(n)
    reason = np.full(n, "", dtype=object)
    if config.exact and n:
        group = _first_of(rows["sha256"])
        reason[group != np.arange(n)] = "the same file"
    update("duplicates", 1, 3)
    if config.radius is not None and n:
        near = near_groups(rows["phash"].to_numpy(), config.radius)
        joined = near[group]  # of a file that is there twice, the first one's
        reason[(joined != group) & (reason == "")] = f"within {config.radius} bits"
        group = joined
    update("duplicates", 2, 3)
    keep = _largest(rows, group)
    if config.meaning is not None and encode is not None and n:
        heads = np.flatnonzero(group == np.arange(n))
        centre = same_meaning(images, rows["image_id"].take(pa.array(heads)), encode,
                              config.meaning, update)  # fmt: skip
        moved = {int(head): int(heads[c]) for head, c in zip(heads, centre.middle, strict=True)}
        first = {int(head): int(heads[c]) for head, c in zip(heads, centre.first, strict=True)}
        for head in heads.tolist():
            if first[head] != head:
                reason[head] = "the same meaning"
        size = np.bincount(centre.first, minlength=len(heads))[centre.first]
        by_meaning = {int(h) for h, many in zip(heads, size > 1, strict=True) if many}
        keep = np.array([keep[moved[g]] if g in by_meaning else keep[g] for g in group.tolist()])
        group = np.array([first[g] for g in group.tolist()])
    ids = rows["image_id"]
    counts = np.bincount(group, minlength=n)
    members = np.flatnonzero(counts[group] > 1) if n else np.empty(0, np.int64)
    into, picture = (ids.take(pa.array(which[members])) for which in (group, keep))
    merged = pa.table([ids.take(pa.array(members)), into, picture], schema=MERGE_COLUMNS)
    write_rows(out, merged)
    update("duplicates", 3, 3)
    gone = group != np.arange(n)
    told, dropped = {}, {}
    for why in sorted(set(reason[gone].tolist())):
        places = np.flatnonzero(gone & (reason == why))
        dropped[why] = len(places)
        told[why] = tuple(
            f"{ids[int(p)].as_py()} = {ids[int(group[p])].as_py()}" for p in places[:EXAMPLES]
        )
    return StageCount("de-duplicate", "images", n, n - int(gone.sum()), dropped, told)


def _first_of(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The first place (n,) where each value stands."""
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, back = np.unique(codes, return_index=True, return_inverse=True)
    found: npt.NDArray[np.int64] = first[back.reshape(-1)]
    return found


def _largest(rows: pa.Table, group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place (n,) of the best picture of each image's group, as told of `find_duplicates`."""
    pixels = pc.multiply(rows["width"].cast(pa.int64()), rows["height"]).to_numpy()
    size = rows["bytes"].to_numpy()
    order = np.lexsort((np.arange(len(group)), -size, -pixels, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    best = np.arange(len(group))
    best[group[order[starts]]] = order[starts]
    return best[group]
