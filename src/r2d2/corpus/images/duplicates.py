"""Duplicate images: by their file, by a perceptual hash, and optionally by meaning.

Only the ids and the measures of all images are held in memory, some hundred bytes each.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.clicks.unite import MERGE_COLUMNS
from r2d2.corpus.config import DedupConfig
from r2d2.corpus.funnel import EXAMPLES, StageCount, amounts_of, flows_of
from r2d2.corpus.images.embeddings import Encode, embed_images
from r2d2.corpus.images.meaning import Meanings, group_meanings
from r2d2.corpus.images.near import near_groups
from r2d2.corpus.rows import IMAGES, DroppedFile, open_part, part_count, part_file, write_rows
from r2d2.errors import R2D2Error
from r2d2.progress import Update

# Large strings: the others hold two gigabytes, which are 33 million hashes.
_SCHEMA = pa.schema(
    [
        ("image_id", pa.large_string()),
        ("final_id", pa.large_string()),
        ("sha256", pa.large_string()),
        ("phash", pa.uint64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("bytes", pa.int64()),
        ("clicks", pa.int64()),
        ("impressions", pa.int64()),
    ]
)
COLUMNS = _SCHEMA.names
Places = npt.NDArray[np.int64]


def find_duplicates(
    images: Path, out: Path, config: DedupConfig, update: Update, encode: Encode | None = None
) -> StageCount:
    """Write `out`, a file of MERGE_COLUMNS: one row for each image of a group of two or more.

    Images of one final id are one, whatever the settings: they are one file at several paths. A
    group's ids are its smallest. Its picture is the largest by pixels, then by bytes, then the one
    of the smallest id; of a group found by meaning, so the picture of the one nearest the centre.

    Args:
        images: folder of the image filter.
        out: the file to write; embeddings stand beside it while it is made.
        config: what counts as one.
        update: progress.
        encode: files to embeddings (n, d), for the search by meaning.

    Raises:
        R2D2Error: the search by meaning has no model, or one that gives no embeddings.
    """
    if config.meaning is not None and encode is None:
        raise R2D2Error(
            "dedup.meaning needs a model that gives embeddings: name one, or set it to null"
        )
    update("duplicates", 0, 2)
    rows = read_images_measures(images)
    joined = None
    if config.radius is not None:
        joined = near_groups(rows["phash"].to_numpy(), config.radius)
    groups = group_images(rows, config, joined)
    update("duplicates", 1, 2)
    folder = out.with_name(f"{out.stem}-embeddings")
    if config.meaning is not None and encode is not None:
        heads = np.flatnonzero(groups.first == np.arange(len(rows)))
        wanted = rows["image_id"].take(pa.array(heads))
        x = embed_images(images, wanted, encode, folder, update)
        groups = join_meanings(groups, heads, group_meanings(x, config.meaning))
    merged, count = merge_groups(rows, groups, out.parent, "0")
    write_rows(out, merged)
    shutil.rmtree(folder, ignore_errors=True)
    update("duplicates", 2, 2)
    return count


@dataclass(frozen=True)
class DuplicateGroups:
    """Of n images in the order of their ids."""

    first: Places  # (n,) place of the first image of its group
    picture: Places  # (n,) place of the image whose file stands for the group
    reason: npt.NDArray[np.object_]  # (n,) why it is not the first; nothing for the first


def group_images(rows: pa.Table, config: DedupConfig, joined: Places | None) -> DuplicateGroups:
    """Groups of images that are one by their file or by their hash.

    Args:
        rows: COLUMNS (n rows), sorted by id.
        config: what counts as one.
        joined: place (n,) of the first image of each one's group by hash; None: not asked for.
    """
    places = np.arange(len(rows))
    group = first_of(rows["sha256" if config.exact else "final_id"])
    reason = np.full(len(rows), "", dtype=object)
    reason[group != places] = "the same file"
    if joined is not None:
        reason[(joined != places) & (reason == "")] = f"within {config.radius} bits"
        group = joined  # equal files have equal hashes, and so are in one group
    return DuplicateGroups(group, _largest(rows, group), reason)


def join_meanings(groups: DuplicateGroups, heads: Places, meanings: Meanings) -> DuplicateGroups:
    """The groups whose first images (m,) are of one meaning as one."""
    places = np.arange(len(groups.first))
    head = np.zeros(len(places), np.int64)  # where a group's first image stands among the heads
    head[heads] = np.arange(len(heads))
    head = head[groups.first]
    moved = heads[meanings.first[head]]
    reason = groups.reason.copy()
    reason[(moved != groups.first) & (groups.first == places)] = "the same meaning"
    return DuplicateGroups(moved, groups.picture[heads[meanings.middle[head]]], reason)


def merge_groups(
    rows: pa.Table, groups: DuplicateGroups, folder: Path, part: str
) -> tuple[pa.Table, StageCount]:
    """Groups of two or more as MERGE_COLUMNS, and the count.

    Args:
        rows: COLUMNS (n rows), sorted by id.
        groups: of them.
        folder: of the stage, for what is dropped.
        part: names the file of that.
    """
    n, ids, group = len(rows), rows["image_id"], groups.first
    counts = np.bincount(group, minlength=n)
    members = np.flatnonzero(counts[group] > 1)
    into, picture = (ids.take(pa.array(which[members])) for which in (group, groups.picture))
    final = rows["final_id"].take(pa.array(_least(rows["final_id"], group)[members]))
    columns = [ids.take(pa.array(members)), into, picture, final]
    merged = pa.table(columns, names=MERGE_COLUMNS.names).cast(MERGE_COLUMNS)
    gone = group != np.arange(n)
    with DroppedFile(folder, "de-duplicate", "images", part) as kept_rows:
        for place in np.flatnonzero(gone).tolist() if kept_rows.wanted else ():
            row = rows.slice(place, 1).to_pylist()[0]
            kept_rows.add(groups.reason[place], row, f"= {ids[int(group[place])]}")
    examples, dropped = {}, {}
    for why in sorted(set(groups.reason[gone].tolist())):
        places = np.flatnonzero(gone & (groups.reason == why))
        dropped[why] = len(places)
        examples[why] = tuple(
            f"{ids[int(p)].as_py()} = {ids[int(group[p])].as_py()}" for p in places[:EXAMPLES]
        )
    # what the copies were shown for goes to the image that they are one with
    flows = flows_of(amounts_of(rows), np.zeros(n, dtype=np.int64), [])
    kept = n - int(gone.sum())
    return merged, StageCount("de-duplicate", "images", n, kept, dropped, examples, flows=flows)


def read_measures(part: Path) -> pa.Table:
    """COLUMNS of a part of images."""
    with open_part(part) as file:
        return file.read(columns=COLUMNS).select(COLUMNS).cast(_SCHEMA)


def read_images_measures(images: Path) -> pa.Table:
    """Ids and measures of all images, sorted by id."""
    tables = [pa.table({name: [] for name in COLUMNS}, schema=_SCHEMA)]
    for part in range(part_count(images, IMAGES)):
        tables.append(read_measures(part_file(images, IMAGES, part)))
    return pa.concat_tables(tables).sort_by("image_id").combine_chunks()


def first_of(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The first place (n,) where each value stands."""
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, back = np.unique(codes, return_index=True, return_inverse=True)
    first_of_row: npt.NDArray[np.int64] = first[back.reshape(-1)]
    return first_of_row


def _least(column: pa.ChunkedArray, group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place (n,) of the least value of each image's group."""
    place = np.empty(len(group), np.int64)
    order = pc.sort_indices(column).to_numpy().astype(np.int64)
    place[order] = np.arange(len(order))
    first = np.full(len(group), len(group))
    np.minimum.at(first, group, place)
    largest: npt.NDArray[np.int64] = order[first[group]]
    return largest


def _largest(rows: pa.Table, group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place (n,) of the best picture of each image's group, as told of `find_duplicates`."""
    pixels = pc.multiply(rows["width"], rows["height"]).to_numpy()
    size = rows["bytes"].to_numpy()
    order = np.lexsort((np.arange(len(group)), -size, -pixels, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    best = np.arange(len(group))
    best[group[order[starts]]] = order[starts]
    return best[group]
