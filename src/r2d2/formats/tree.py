"""What lies under the paths given: pictures by name, other files by pattern; walked once."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path

from r2d2.data.held_out import SPLIT_NAMES
from r2d2.data.images import MAX_BYTES
from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.ids import path_id

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif")
_BOTH_CASES = (*ENDINGS, *(ending.upper() for ending in ENDINGS))
SHOWN = 6  # of the names found, in a message
AMBIGUOUS = -1
_RUN_ON = re.compile(r"(?<!la)(train|val|test)$")  # flickr8ktrain, but not latest


class Tree:
    """Files under the paths given. Memory: a name and a number for each picture."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.others: list[Path] = []  # that are no pictures, in order of their names
        self._roots: dict[Path, Path] = {}  # of each of them
        self._folders: list[str] = []
        self._root_of: dict[str, Path] = {}  # of each of them
        self._pictures: dict[str, int] = {}  # base name: the number of its folder
        for path in self.paths:
            if path.is_dir():
                self._walk(path)
            else:
                self.others.append(path)
                self._roots[path] = path.parent.parent  # the folder that it stands in counts, too

    def find(self, patterns: Sequence[str], expects: str) -> list[Path]:
        """The files that were given by name, or else those of the first pattern that has any.

        R2D2Error says what was looked for and what was found.
        """
        given = [path for path in self.paths if not path.is_dir()]
        if given:
            return given
        for pattern in patterns:
            found = [path for path in self.others if fnmatch.fnmatch(path.name.lower(), pattern)]
            if found:
                return found
        raise self.nothing(expects)

    def nothing(self, expects: str) -> R2D2Error:
        """The error that says what was looked for and what was found."""
        where = ", ".join(map(str, self.paths))
        names = [path.name for path in self.others] + [n + "/" for n in self._names_of_folders()]
        names += list(self._pictures)[:SHOWN]
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        return R2D2Error(f"{where}: looked for {expects}; found {shown or 'nothing'}")

    def need_pictures(self, expects: str) -> None:
        """R2D2Error where there is not one picture."""
        if not self._pictures:
            where = ", ".join(map(str, self.paths))
            raise R2D2Error(f"{where}: no picture there; give its folder as well: {expects}")

    def read(self, name: str, where: str, dropped: DroppedRows) -> tuple[str, bytes] | None:
        """The id and the file of a picture, by its name with or without folders and ending.

        None is counted by reason.
        """
        path = self._path(name)
        if path is None:
            dropped.add("image not found", f"{where}: {name[:200]}")
            return None
        try:
            if path.stat().st_size > MAX_BYTES:
                dropped.add("image too large", str(path))
                return None
            return path_id(path, self._root_of[str(path.parent)]), path.read_bytes()
        except OSError:
            dropped.add("image cannot be read", str(path))
            return None

    def id_of(self, name: str) -> str | None:
        """The id of the picture of a name, the same for all its spellings; None: there is none."""
        path = self._path(name)
        return None if path is None else path_id(path, self._root_of[str(path.parent)])

    def split_of(self, file: Path) -> str | None:
        """The split that a file's name, or a folder's between it and the path given, tells."""
        found = split_in(file.name.split(".")[0]) or split_in(file.stem)
        root = self._roots.get(file)
        for folder in file.parents if found is None and root is not None else ():
            if folder == root:
                break
            found = SPLIT_NAMES.get(folder.name.lower())
            if found is not None:
                break
        return found

    def _walk(self, root: Path) -> None:
        seen: set[tuple[int, int]] = set()  # links to folders are followed, once
        for folder, folders, names in os.walk(root, followlinks=True):
            about = os.stat(folder)  # noqa: PTH116  # many: no Path for each
            if (about.st_dev, about.st_ino) in seen:
                folders.clear()
                continue
            seen.add((about.st_dev, about.st_ino))
            folders.sort()
            number = len(self._folders)
            self._folders.append(folder)
            self._root_of[folder] = root
            for name in sorted(names):
                if name.startswith("."):
                    continue
                if name.lower().endswith(ENDINGS):
                    known = self._pictures.setdefault(name, number)
                    if known != number:
                        self._pictures[name] = AMBIGUOUS
                else:
                    path = Path(folder, name)
                    self.others.append(path)
                    self._roots[path] = root

    def _path(self, name: str) -> Path | None:
        name = name.strip().replace("\\", "/")
        base = name.rpartition("/")[2]
        if not base:
            return None
        folder = self._pictures.get(base)
        if folder is None:
            ending = next((e for e in _BOTH_CASES if base + e in self._pictures), None)
            if ending is None:
                return None
            name, base = name + ending, base + ending
            folder = self._pictures[base]
        if folder != AMBIGUOUS:
            return Path(self._folders[folder], base)
        tail = "/" + name.lstrip("/")  # two folders have it: the path must tell which
        fits = [
            f for f in self._folders if f"{f}/{base}".endswith(tail) and Path(f, base).is_file()
        ]
        return Path(fits[0], base) if len(fits) == 1 else None

    def _names_of_folders(self) -> list[str]:
        roots = {str(path) for path in self.paths}
        return [Path(folder).name for folder in self._folders if folder not in roots]


def stem_of(name: str) -> str:
    """A picture's name without folders and ending."""
    base = name.strip().replace("\\", "/").rpartition("/")[2]
    lower = base.lower()
    ending = next((e for e in ENDINGS if lower.endswith(e)), "")
    return base[: len(base) - len(ending)]


def split_in(name: str) -> str | None:
    """The split that a name tells, if any: `valid`, `test2`, `flickr8ktrain`."""
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in SPLIT_NAMES:
            return SPLIT_NAMES[word]
    run_on = _RUN_ON.search(name.lower())
    return run_on[1] if run_on else None
