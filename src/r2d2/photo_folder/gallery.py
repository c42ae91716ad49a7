"""The table of a folder as a gallery: thumbnails from the table, pictures from their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from r2d2.images.decode import BadImage, image_bytes
from r2d2.index.gallery.table import TableGallery
from r2d2.photo_folder.open import OpenedFolder
from r2d2.photo_folder.rows import BYTES, FILE, INNER, MODIFIED


class FolderGallery(TableGallery):
    """The gallery of a folder of pictures; see `Gallery`."""

    def __init__(self, opened: OpenedFolder) -> None:
        super().__init__(opened.uri)
        self.name = opened.settings.folder
        self._root = Path(opened.settings.folder)
        self._real_root = os.path.realpath(self._root)
        self._settings = opened.settings
        for name in INNER:  # conditions may not name them
            self._images.columns.pop(name, None)

    def files(self, rows: Sequence[int]) -> list[bytes]:
        """The files that were embedded; the thumbnail where a file has changed or is gone."""
        if self._settings.copies:
            return super().files(rows)
        records = self._take(rows, ["image", FILE, BYTES, MODIFIED])
        return [
            self._read(record[FILE], (record[BYTES], record[MODIFIED])) or record["image"] or b""
            for record in records
        ]

    def thumbnail(self, row: int) -> bytes | None:
        """See `Gallery.thumbnail`."""
        if self._settings.copies:
            return None
        return self._take([row], ["image"])[0]["image"] or None

    def original(self, row: int) -> bytes | None:
        """The file as it is now, or the copy where the table holds copies."""
        if self._settings.copies:
            return super().original(row)
        return self._read(self._take([row], [FILE])[0][FILE])

    def path(self, row: int) -> str | None:
        """See `Gallery.path`."""
        file: bytes = self._take([row], [FILE])[0][FILE]
        return str(self._root / os.fsdecode(file))

    def _read(self, file: bytes, state: tuple[int, int] | None = None) -> bytes | None:
        """The content of a file; None where it is unreadable, or not of size and time `state`."""
        path = self._root / os.fsdecode(file)
        try:
            real = os.path.realpath(path)
            inside = os.path.commonpath([self._real_root, real]) == self._real_root
            if not (inside or self._settings.follow_links):
                return None  # it is a link now
            about = path.stat()
            if state is not None and (about.st_size, about.st_mtime_ns) != state:
                return None
            return image_bytes(path)
        except (OSError, BadImage):
            return None
