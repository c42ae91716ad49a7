"""An estimate of the disk space that an update needs, made before it begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.images.decode import BadImage, image_bytes
from r2d2.images.thumbnails import thumbnail_file
from r2d2.inputs.picture_listing import ListedPicture

SAMPLE = 16  # pictures whose thumbnails are made
ROW_BYTES = 300  # of a row besides picture and vector
LITTLE = 10 << 20  # bytes; an update of a table that needs less is not announced


@dataclass(frozen=True)
class DiskNeed:
    """An estimate of disk space."""

    pictures: int  # to be read
    each: int  # bytes of a picture, as it is kept
    vector: int  # bytes of a vector
    copies: bool

    @property
    def total(self) -> int:
        """The bytes of all pictures."""
        return self.pictures * (self.each + self.vector + ROW_BYTES)

    def line(self, table_dir: Path) -> str:
        """The estimate as a sentence."""
        kept = "copies" if self.copies else "thumbnails"
        return (
            f"{table_dir} will take about {size_in_words(self.total)}: {self.pictures:,} {kept} of "
            f"{size_in_words(self.each)} and vectors of {size_in_words(self.vector)}"
        )


def estimate(root: Path, pictures: Sequence[ListedPicture], width: int, copies: bool) -> DiskNeed:
    """Estimate the space from the sizes of the files, or from the thumbnails of a few of them."""
    if copies:
        each = sum(picture.size for picture in pictures) // max(1, len(pictures))
        return DiskNeed(len(pictures), each, 4 * width, copies)
    step = max(1, len(pictures) // SAMPLE)
    sizes = []
    for picture in pictures[::step][:SAMPLE]:
        try:
            sizes.append(len(thumbnail_file(image_bytes(root / picture.path))))
        except (BadImage, OSError):
            continue
    return DiskNeed(len(pictures), sum(sizes) // max(1, len(sizes)), 4 * width, copies)


def check_room(table_dir: Path, need: DiskNeed) -> None:
    """Raise R2D2Error where the disk has too little free space."""
    existing = table_dir
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        free = shutil.disk_usage(existing).free
    except OSError:
        return
    if need.total > free:
        raise R2D2Error(
            f"{table_dir} needs about {size_in_words(need.total)} and its disk has "
            f"{size_in_words(free)} free: free some space, or choose another --out"
        )


def size_in_words(count: int) -> str:
    """Bytes with a unit: 310 B, 27 kB, 2.9 MB."""
    size, units = float(count), ("B", "kB", "MB", "GB", "TB")
    for unit in units:
        if size < 1000 or unit == units[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def folder_size(table_dir: Path) -> int:
    """Bytes of all files under a folder."""
    total = 0
    for folder, _, names in os.walk(table_dir):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:
                continue
    return total
