"""Find the files under the user's paths: pictures by name, other files by pattern."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.formats.record import SourceRow
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import suffix_of
from r2d2.inputs.pictures import MissingPicture, PictureIndex, add_missing, load_picture
from r2d2.inputs.splits import split_of_folders, split_of_path
from r2d2.pair import Pair

SHOWN = 6  # of the names found, in a message
NOT_READ = "a file that is not read beside the ones that are (give it by name to read it)"


class SourceTree:
    """The files under the user's paths, with a name and a number in memory for each."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.pictures = PictureIndex([p for p in paths if p.is_dir()], suffix_optional=True)
        self._given = {path: path for path in paths if not path.is_dir()}
        for path, root in self.pictures.others():
            self._given.setdefault(path, root)

    @property
    def others(self) -> list[Path]:
        """Files that are no pictures: those that were given, then those in the folders in order."""
        return list(self._given)

    def find(self, patterns: Sequence[str], expects: str) -> list[Path]:
        """The files that were given by name, or else those of the first pattern that has any.

        R2D2Error says what was looked for and what was found.
        """
        named = [path for path in self.paths if not path.is_dir()]
        files = named or next(filter(None, map(self._matches, patterns)), [])
        if not files:
            raise self.nothing(expects)
        return files

    def count_unread(
        self, patterns: Sequence[str], used: Collection[Path], dropped: DroppedRows
    ) -> None:
        """Count files of all patterns that are not used; none where files were given by name."""
        if all(path.is_dir() for path in self.paths):
            fitting = {file for pattern in patterns for file in self._matches(pattern)}
            for file in sorted(fitting.difference(used)):
                dropped.add(NOT_READ, str(file))

    def _matches(self, pattern: str) -> list[Path]:
        return [path for path in self._given if fnmatch.fnmatch(path.name.lower(), pattern)]

    def nothing(self, expects: str) -> R2D2Error:
        """The error that says what was looked for and what was found."""
        where = ", ".join(map(str, self.paths))
        names = [path.name for path in self._given]
        names += [name + "/" for name in self.pictures.folder_names()]
        names += islice(self.pictures.names(), SHOWN)
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        return R2D2Error(f"{where}: looked for {expects}; found {shown or 'nothing'}")

    def need_pictures(self, expects: str) -> None:
        """Raise R2D2Error where there is no picture."""
        if not self.pictures.count:
            where = ", ".join(map(str, self.paths))
            raise R2D2Error(f"{where}: no picture there; give its folder as well: {expects}")

    def read(
        self, name: str, where: str, dropped: DroppedRows, near: Path | None = None, rows: int = 1
    ) -> tuple[str, bytes] | None:
        """The id and the file of the picture that a row means, with or without its suffix.

        Args:
            name: as the row has it; see `PictureIndex.find`.
            where: the row stands, for what is told of it.
            dropped: counts the row by reason where the picture cannot be had.
            near: the file that the row stands in.
            rows: that mean the picture: so many are counted.
        """
        picture = self.pictures.find(name, near)
        if isinstance(picture, MissingPicture):
            add_missing(picture, name, where, dropped, rows)
            return None
        image = load_picture(picture.path, where, dropped, rows)
        return None if image is None else (picture.name, image)

    def pairs(self, row: SourceRow, name: str, near: Path, dropped: DroppedRows) -> Iterator[Pair]:
        """The row of the table with the picture that a row names, or none; see `read`.

        A row without an image id gets that of the picture: its path under the folder given.
        """
        picture = self.read(name, row.where, dropped, near, row.rows)
        if picture is not None:
            image_id, image = picture
            yield from replace(row, image_id=row.image_id or image_id).pairs(image, dropped)

    def id_of(self, name: str, near: Path | None = None) -> str | None:
        """The id of the picture of a name, the same for all its spellings; None: there is none."""
        picture = self.pictures.find(name, near)
        return None if isinstance(picture, MissingPicture) else picture.name

    def split_of(self, file: Path) -> str | None:
        """The split that a file's name, or a folder's between it and the path given, tells."""
        return split_of_path(file, self._given.get(file, file))

    def split_of_picture(self, name: str, near: Path | None = None) -> str | None:
        """The split that the folders of a picture tell.

        The name of the folder given counts where there are several: `train` and `val`.
        """
        picture = self.pictures.find(name, near)
        if isinstance(picture, MissingPicture):
            return None
        top = picture.root.name if len(self.pictures.roots) > 1 else ""
        return split_of_folders(f"{top}/{picture.folder}")


def stem_of(name: str) -> str:
    """A picture's name without folders and suffix."""
    base = name.strip().replace("\\", "/").rpartition("/")[2]
    return base[: len(base) - len(suffix_of(base))]
