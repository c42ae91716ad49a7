"""Images of one meaning: embeddings nearer than a cosine distance, sought in blocks of their like.

As in SemDeDup (arXiv 2303.09540): k-means cuts the embeddings into blocks, within a block all are
compared with all, and of each group the image nearest its centre is kept. Duplicates that fall into
two blocks are missed; the nearer they are, the more seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from r2d2.corpus.clusters import k_means, nearest
from r2d2.corpus.rows import IMAGES, part_count, part_file, read_images
from r2d2.progress import Update

BLOCK = 2_000  # images a block, about
SAMPLE = 50_000  # embeddings that the blocks are found by
BATCH = 64  # images encoded at once
ROWS = 1_024  # compared with their block at a time
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Meanings:
    """Of n images in order."""

    first: npt.NDArray[np.int64]  # (n,) place of the first image of its group
    middle: npt.NDArray[np.int64]  # (n,) place of the image nearest the group's centre


def same_meaning(
    images: Path,
    wanted: pa.ChunkedArray,
    encode: Callable[[Sequence[bytes]], Floats],
    reach: float,
    update: Update,
) -> Meanings:
    """Encode the wanted images of a stage's folder, and group them.

    Args:
        images: folder whose parts hold the files, sorted by id.
        wanted: ids, sorted.
        encode: files to embeddings (n, d) of unit length.
        reach: cosine distance under which two are one.
        update: progress.
    """
    ids = set(wanted.to_pylist())
    found: list[Floats] = []
    held: list[bytes] = []
    done = 0

    def flush() -> None:
        nonlocal done
        if held:
            found.append(np.asarray(encode(held), np.float32))
            done += len(held)
            held.clear()
            update("embedding", done, len(ids))

    for part in range(part_count(images, IMAGES)):
        for row in read_images(part_file(images, IMAGES, part), ["image_id", "image"]):
            if row["image_id"] in ids:
                held.append(row["image"])
                if len(held) == BATCH:
                    flush()
    flush()
    return group_meanings(np.concatenate(found), reach)


def group_meanings(embeddings: Floats, reach: float) -> Meanings:
    """Group embeddings (n, d) of unit length; a link of two joins their groups."""
    n = len(embeddings)
    group = np.arange(n)
    for left, right in _links(embeddings, reach):
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            a, b = _root(group, a), _root(group, b)
            group[max(a, b)] = min(a, b)
    first = np.array([_root(group, i) for i in range(n)], dtype=np.int64)
    sums = np.zeros_like(embeddings)
    np.add.at(sums, first, embeddings)
    closeness = (embeddings * sums[first]).sum(1)
    order = np.lexsort((np.arange(n), -closeness, first))
    starts = np.flatnonzero(np.diff(first[order], prepend=-1))
    middle = np.arange(n)
    middle[first[order[starts]]] = order[starts]
    return Meanings(first, middle[first])


def _links(x: Floats, reach: float) -> Iterator[tuple[npt.NDArray[np.int64], ...]]:
    """Places of all two embeddings of a block within reach."""
    blocks = max(1, round(len(x) / BLOCK))
    place = np.zeros(len(x), np.int64)
    if blocks > 1:
        some = np.random.default_rng(0).permutation(len(x))[:SAMPLE]
        place = nearest(x, k_means(x[np.sort(some)], blocks))
    order = np.argsort(place, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        for start in range(0, len(members), ROWS):
            rows = members[start : start + ROWS]
            near = np.argwhere(x[rows] @ x[members].T >= 1 - reach)
            left, right = rows[near[:, 0]], members[near[:, 1]]
            yield left[left < right], right[left < right]


def _root(group: npt.NDArray[np.int64], i: int) -> int:
    """The smallest place of i's group; paths are halved on the way."""
    while group[i] != i:
        group[i] = group[group[i]]
        i = int(group[i])
    return i
