"""Embeddings of a stage's images on disk, a file a part: made once, read a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from r2d2.corpus.rows import IMAGES, open_part, part_count, part_file, part_range
from r2d2.errors import R2D2Error
from r2d2.files import whole_file
from r2d2.progress import Update
from r2d2.vectors import without_direction

BATCH = 64  # images encoded at once
Floats = npt.NDArray[np.float32]
Encode = Callable[[Sequence[bytes]], Floats]  # files to embeddings (n, d)


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of unit length, one after the other over several arrays (n_i, d)."""

    parts: tuple[Floats, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def take(self, places: npt.NDArray[np.int64]) -> Floats:
        """Those at `places` (n,), which must ascend: (n, d)."""
        rows = []
        start = 0
        for part in self.parts:
            low, high = np.searchsorted(places, (start, start + len(part)))
            rows.append(part[places[low:high] - start])
            start += len(part)
        return np.concatenate(rows)


def embed_images(
    images: Path, wanted: pa.ChunkedArray, encode: Encode, out: Path, update: Update
) -> Embeddings:
    """Encode the wanted images of a stage's folder; files that `out` has already are taken as done.

    Args:
        images: folder whose parts hold the files, sorted by id.
        wanted: ids, sorted.
        encode: files to embeddings (n, d), of any length but zero.
        out: folder for a file a part.
        update: progress.

    Raises:
        R2D2Error: `encode` gives anything else, or the disk is full.
    """
    parts = part_count(images, IMAGES)
    done = 0
    for part in range(parts):
        ids_of_part = ids_in_part(wanted, part, parts)

        def tell_done(count: int, done: int = done) -> None:
            update("embedding", done + count, len(wanted))

        source, target = part_file(images, IMAGES, part), embedding_file(out, part)
        embed_part(source, ids_of_part, encode, target, tell_done)
        done += len(ids_of_part)
    return open_embeddings(out, parts, len(wanted))


def ids_in_part(wanted: pa.ChunkedArray, part: int, parts: int) -> pa.ChunkedArray:
    """The ids that are of one part."""
    first, last = part_range(part, parts)
    return wanted.filter(pc.and_(pc.greater_equal(wanted, first), pc.less(wanted, last)))


def embedding_file(folder: Path, part: int) -> Path:
    """Where the embeddings of a part are."""
    return folder / f"part-{part:04d}.npy"


def embed_part(
    images: Path,
    wanted: pa.ChunkedArray,
    encode: Encode,
    out: Path,
    tell_done: Callable[[int], None] = lambda done: None,
) -> None:
    """Encode the wanted images of a part into a file, unless it is there; none where none is.

    Raises:
        R2D2Error: `encode` gives no embeddings, or the disk is full.
    """
    if len(wanted) and not out.exists():
        batches: list[Floats] = []
        done = 0
        for batch in _batches(images, wanted):
            batches.append(_encoded(encode, batch))
            done += len(batch)
            tell_done(done)
        _save(out, batches)
    tell_done(len(wanted))


def open_embeddings(folder: Path, parts: int, count: int) -> Embeddings:
    """What `embed_part` has written of all parts, together so many; R2D2Error where it is not."""
    files = [file for part in range(parts) if (file := embedding_file(folder, part)).exists()]
    arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    widths = sorted({part.shape[1] for part in arrays})
    if len(widths) > 1 or sum(len(part) for part in arrays) != count:
        raise R2D2Error(
            f"the embeddings in {folder} are not of these images by one model (their widths are "
            f"{widths}): remove that folder, and they are made anew"
        )
    return Embeddings(tuple(arrays))


def _batches(file: Path, wanted: pa.ChunkedArray) -> Iterator[list[bytes]]:
    """The wanted images of a part, a row group in memory at a time."""
    files: list[bytes] = []
    with open_part(file) as part:
        for group in range(part.num_row_groups):
            rows = part.read_row_group(group, columns=["image_id", "image"])
            mask = pc.is_in(rows["image_id"], value_set=wanted.cast(rows["image_id"].type))
            for data in rows["image"].filter(mask):
                files.append(data.as_py())
                if len(files) == BATCH:
                    yield files
                    files = []
    if files:
        yield files


def _encoded(encode: Encode, batch: list[bytes]) -> Floats:
    """(n, d) of unit length."""
    x = np.asarray(encode(batch), np.float32)
    if x.ndim != 2 or len(x) != len(batch):
        raise R2D2Error(
            f"the model gave embeddings of shape {x.shape} for {len(batch)} images: "
            f"its function must give ({len(batch)}, d)"
        )
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if without_direction(x).any() or not length.all():
        raise R2D2Error(
            "the model gave an embedding without a direction (zero, or not finite): "
            "check its weights"
        )
    unit: Floats = x / length
    return unit


def _save(file: Path, batches: list[Floats]) -> None:
    with whole_file(file) as work, work.open("wb") as stream:
        np.save(stream, np.concatenate(batches), allow_pickle=False)
