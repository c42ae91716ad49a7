"""Find the picture that a row names; all readers of files use this resolver.

A row names a picture by its path, relative to the folder given or to the file that the row stands
in, or absolute. A base name alone may stand for a picture anywhere under the folders, where only
one has it. A path is never cut to its base name: `2019/a.jpg` is not `2020/a.jpg`. What is not
under the folders given is not found, whatever `..` or absolute paths a row has; links that stand in
the folders are followed.
"""

from __future__ import annotations

import os
import posixpath
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from r2d2.images.decode import BadImage, decode_image, image_bytes, picture_suffixes
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import Folder, absolute, composed, is_hidden, is_picture, readable, walk
from r2d2.inputs.ids import same_id
from r2d2.inputs.spellings import base_names, spellings
from r2d2.inputs.values import name_value, shown

FileEntry = tuple[int, str]  # number of a folder, name of a file in it


NOT_FOUND = "image not found"


class MissingPicture(Enum):
    """The reason why a name gives no picture, by which its row is counted."""

    UNKNOWN = NOT_FOUND
    AMBIGUOUS = f"{NOT_FOUND}: several have this name, write the path as well"
    ELSEWHERE = (
        f"{NOT_FOUND}: an absolute path that is not under the folder given, write it relative to "
        "that folder"
    )
    ADDRESS = f"{NOT_FOUND}: an address, fetch it first by `r2d2 corpus fetch`"


_ABSOLUTE = re.compile(r"/|\\\\|[a-z]:[\\/]|file:", re.IGNORECASE)  # of Windows, too
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class PictureFile:
    """A picture under the user's folders; there is one for each file, however rows spell it."""

    path: Path
    name: str  # its path relative to the folder given, with / and in NFC
    folder: str  # that of the name; empty for a picture in the folder given itself
    root: Path  # the folder given


class PictureIndex:
    """The pictures under the user's folders, with a name and a number in memory for each."""

    def __init__(self, roots: Sequence[Path], *, suffix_optional: bool = False) -> None:
        """Walk the folders.

        Args:
            roots: folders.
            suffix_optional: rows may leave out the suffix, as COCO-CN's do.

        Raises:
            R2D2Error: a folder cannot be read.
        """
        self.roots = tuple(roots)
        self.count = 0  # pictures that are not hidden
        self.most_spaces = 0  # in the name of a picture, with its path
        self._with_pictures: set[int] = set()  # folders, as far as the second
        self._suffixes = picture_suffixes() if suffix_optional else ()
        self._absolute = [absolute(root) for root in roots]
        self._names = [_names_to(root) for root in self._absolute]
        self._folders: list[str] = []
        self._root_of: list[Path] = []
        self._relative: list[str] = []
        self._hidden: set[int] = set()
        self._by_path: dict[str, int] = {}
        self._by_inode: dict[tuple[int, int], int] = {}
        self._by_composed: dict[str, list[int]] = {}  # folders whose path is not in NFC
        self._single: dict[str, int] = {}  # base name: the one folder that has it
        self._several: dict[str, array[int]] = {}  # base name: folders, in ascending order
        self._odd: dict[str, list[str]] = {}  # names not in NFC or UTF-8, by what they read as
        self._others: list[FileEntry] = []  # files that are no pictures and not hidden
        links: list[FileEntry] = []
        for folder in walk(roots):
            links += self._add(folder)
        self._targets = self._resolve(links)
        self._number_at = lru_cache(4096)(self._number_by_inode)

    def find(self, name: str, near: Path | None = None) -> PictureFile | MissingPicture:
        """Find the picture that a row names.

        Args:
            name: as the row has it; `inputs.spellings` says what is understood.
            near: the file that the row stands in; a path may be relative to its folder.
        """
        for spelling in spellings(name):
            matches = self._by_whole_path(spelling, near) or self._by_base_name(spelling)
            entries = {self._targets.get(match, match) for match in matches}
            if len(entries) > 1:
                return MissingPicture.AMBIGUOUS
            if entries:
                return self._file(entries.pop())
        if _ABSOLUTE.match(name.strip()):
            return MissingPicture.ELSEWHERE
        return MissingPicture.ADDRESS if _ADDRESS.match(name.strip()) else MissingPicture.UNKNOWN

    @property
    def is_flat(self) -> bool:
        """Return whether all pictures that are not hidden are in one folder."""
        return len(self._with_pictures) <= 1

    def check_ids(self) -> None:
        """R2D2Error where pictures of two folders given have one path, and so would have one id.

        An id of another form for one of them would depend on what else is given.
        """
        for name, numbers in self._several.items():
            if not is_picture(name) or is_hidden(name):
                continue
            entries: dict[str, FileEntry] = {}  # by path under the folder given
            for number in numbers:
                entry = self._targets.get((number, name), (number, name))
                first = entries.setdefault(self._relative[number], entry)
                if first != entry and number not in self._hidden:
                    raise same_id(self._path(first), self._path(entry))

    def others(self) -> Iterator[tuple[Path, Path]]:
        """The files that are no pictures, and the folder given of each; hidden ones left out."""
        for entry in self._others:
            yield self._path(entry), self._root_of[entry[0]]

    def names(self) -> Iterator[str]:
        """Base names of pictures, hidden ones left out."""
        for name in [*self._single, *self._several]:
            if is_picture(name) and not is_hidden(name):
                yield name

    def folder_names(self) -> list[str]:
        """Names of the folders under those that were given."""
        given = set(self._absolute)
        return [readable(posixpath.basename(f)) for f in self._folders if f not in given]

    def _add(self, folder: Folder) -> list[FileEntry]:
        """Note a folder and its files; gives those that are links."""
        number = len(self._folders)
        self._folders.append(folder.path)
        self._root_of.append(folder.root)
        self._relative.append(folder.relative)
        self._by_path[folder.path] = number
        self._by_inode[folder.inode] = number
        read_as = composed(readable(folder.path))
        if read_as != folder.path:
            self._by_composed.setdefault(read_as, []).append(number)
        if folder.hidden:
            self._hidden.add(number)
        links = []
        spaces = len(folder.path.split())
        for name in folder.names:
            picture = is_picture(name)
            passed = folder.hidden or is_hidden(name)
            if not picture and not passed:
                self._others.append((number, name))
            if not picture and "." in name:
                continue
            if picture and not passed:
                self.count += 1
                self.most_spaces = max(self.most_spaces, spaces + len(name.split()) - 2)
                if len(self._with_pictures) < 2:
                    self._with_pictures.add(number)
            self._note(name, number)
            if name in folder.links:
                links.append((number, name))
        return links

    def _note(self, name: str, number: int) -> None:
        first = self._single.pop(name, None)
        if first is not None:
            self._several[name] = array("L", (first, number))
        elif name in self._several:
            self._several[name].append(number)
        else:
            self._single[name] = number
            read_as = composed(readable(name))
            if read_as != name:
                self._odd.setdefault(read_as, []).append(name)

    def _resolve(self, links: list[FileEntry]) -> dict[FileEntry, FileEntry]:
        """For links to files, the file itself where it is here, else the first link to it."""
        targets: dict[FileEntry, FileEntry] = {}
        outside: dict[str, FileEntry] = {}
        for number, name in links:
            real = os.path.realpath(posixpath.join(self._folders[number], name))
            folder, base = posixpath.split(real)
            home = self._number_by_inode(folder)
            if home is not None and self._has(base, home):
                targets[number, name] = (home, base)
            elif outside.setdefault(real, (number, name)) != (number, name):
                targets[number, name] = outside[real]
        return targets

    def _file(self, entry: FileEntry) -> PictureFile:
        number, base = entry
        name = posixpath.normpath(posixpath.join(self._relative[number], base))
        name = composed(readable(name))
        root = self._root_of[number]
        return PictureFile(self._path(entry), name, posixpath.dirname(name), root)

    def _path(self, entry: FileEntry) -> Path:
        """A file by a path that begins as the folder was given."""
        number, name = entry
        return self._root_of[number] / self._relative[number] / name

    def _by_whole_path(self, name: str, near: Path | None) -> set[FileEntry]:
        """Files at a path: the nearest reading of it that has any."""
        if posixpath.isabs(name):
            name = re.sub("^/+", "/", name)
            matches = self._at(name)
            if matches or os.path.lexists(name):
                return matches or self._at(os.path.realpath(name))
            return self._under(self._absolute, name.lstrip("/"))  # as addresses of a site are
        starts = list(self._absolute)
        if near is not None:
            starts.append(absolute(near.parent))
        return self._under(starts, name) or self._by_overlap(name)

    def _under(self, starts: Iterable[str], name: str) -> set[FileEntry]:
        return {hit for start in starts for hit in self._at(posixpath.join(start, name))}

    def _by_overlap(self, name: str) -> set[FileEntry]:
        """Files at a path that repeats the end of a folder's: `photos/a.jpg` under `photos`."""
        parts = posixpath.normpath(name).split("/")
        matches: set[FileEntry] = set()
        for root, names in zip(self._absolute, self._names, strict=True):
            for end in names:
                for count in range(1, min(len(end), len(parts) - 1) + 1):
                    if [composed(part) for part in parts[:count]] == end[-count:]:
                        matches |= self._at(posixpath.join(root, *parts[count:]))
        return matches

    def _at(self, path: str) -> set[FileEntry]:
        """The files at an absolute path."""
        folder, base = posixpath.split(path)
        if base in ("", ".", ".."):
            return set()
        numbers: list[int] = []
        if ".." in folder.split("/"):  # what `..` is of a link only the system can say
            number = self._number_at(folder)
            numbers = [] if number is None else [number]
        numbers = numbers or self._numbers(posixpath.normpath(folder))
        return {(number, candidate) for number in numbers for candidate in self._in(number, base)}

    def _numbers(self, folder: str) -> list[int]:
        """The folders at an absolute path, also by another link, or in NFC and NFD."""
        number = self._by_path.get(folder)
        if number is None:
            number = self._number_at(folder)
        if number is not None:
            return [number]
        nfc = composed(folder)
        same = [self._by_path[nfc]] if nfc in self._by_path else []
        return same + self._by_composed.get(nfc, [])

    def _number_by_inode(self, folder: str) -> int | None:
        try:
            about = os.stat(folder)  # noqa: PTH116  # once a row
        except (OSError, ValueError):  # not there, or no path: too long, half of a surrogate pair
            return None
        return self._by_inode.get((about.st_dev, about.st_ino))

    def _in(self, number: int, base: str) -> list[str]:
        """The files of a folder that a base name may mean; the nearest of them."""
        for names in base_names(base, self._odd, self._suffixes):
            candidates = [name for name in dict.fromkeys(names) if self._has(name, number)]
            if candidates:
                return candidates
        try:  # a name that says it is no picture: its content may tell otherwise
            there = os.path.isfile(posixpath.join(self._folders[number], base))  # noqa: PTH113
        except ValueError:
            return []
        return [base] if there else []

    def _has(self, name: str, number: int) -> bool:
        if self._single.get(name) == number:
            return True
        several = self._several.get(name)
        if several is None:
            return False
        index = bisect_left(several, number)
        return index < len(several) and several[index] == number

    def _by_base_name(self, name: str) -> set[FileEntry]:
        """Files of a base name anywhere under the folders; of a hidden one none."""
        if "/" in name:
            return set()
        for names in base_names(name, self._odd, self._suffixes):
            matches: set[FileEntry] = set()
            for candidate in names:
                if is_hidden(candidate):
                    continue
                for number in self._everywhere(candidate):
                    if number not in self._hidden:
                        matches.add(self._targets.get((number, candidate), (number, candidate)))
                    if len(matches) > 1:  # there may be as many as folders, a row each
                        return matches
            if matches:
                return matches
        return set()

    def _everywhere(self, name: str) -> Sequence[int]:
        number = self._single.get(name)
        return self._several.get(name, ()) if number is None else (number,)


def add_missing(
    picture: MissingPicture, name: str, where: str, dropped: DroppedRows, rows: int = 1
) -> None:
    """Count rows whose name gives no picture."""
    dropped.add(picture.value, f"{where}: {shown(name, 200) or 'no name'}", rows)


def picture_value(value: Any) -> tuple[bytes | None, str | None]:
    """The file and the path of a picture in a column of pictures, None for what is not there.

    A column holds the file, or a path, or a struct of `bytes` and `path` as `datasets` writes it.

    Raises:
        BadValueError: a path that is no text.
    """
    path = None
    if isinstance(value, Mapping):
        value, path = value.get("bytes"), value.get("path")
    if isinstance(value, bytes):
        return value, name_value(path)
    return None, name_value(value if path is None else path)


def _names_to(root: str) -> list[list[str]]:
    """The names of the folders down to a root, as it was given and where links lead."""
    return [composed(readable(path)).split("/")[1:] for path in {root, os.path.realpath(root)}]


def load_picture(path: Path, where: str, dropped: DroppedRows, rows: int = 1) -> bytes | None:
    """Read the file of a picture; None where it is too large or cannot be read.

    Then the rows that mean it are counted.
    """
    try:
        return image_bytes(path)
    except BadImage as error:
        dropped.add(f"image {error.reason}", f"{where}: {path}", rows)
    except OSError as error:
        dropped.add("image cannot be read", f"{where}: {path}: {error.strerror}", rows)
    return None


def decode_picture(
    image: bytes | None, where: str, dropped: DroppedRows, rows: int = 1
) -> Image.Image | None:
    """The pixels of an encoded picture; None where it is unusable: its rows are counted."""
    try:
        return decode_image(image or b"", name=where)
    except BadImage as error:
        dropped.add(f"image {error.reason}", where, rows)
        return None
