"""The files under the folders given: each folder once, links and loops included, in fixed order."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.images.decode import picture_suffixes
from r2d2.inputs.dropped_rows import DroppedRows

HIDDEN = "hidden file passed over"  # see `count_hidden`
NO_SUFFIX = "file without the suffix of a picture"  # where all files should be pictures
# What systems and tools leave beside one's files: macOS, Synology and QNAP, Windows.
_LITTER = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information",
    "thumbs.db", "ehthumbs.db", "desktop.ini",
}  # fmt: skip
# The same under names with a dot: copies of one's pictures, thumbnails, histories.
_DOTTED_LITTER = {
    ".git", ".hg", ".svn", ".ipynb_checkpoints", ".cache", ".thumbnails", ".thumb", ".thumbs",
    ".picasaoriginals", ".trash", ".trashes", ".spotlight-v100", ".fseventsd", ".dtrash",
    ".stversions", ".stfolder", ".sync", ".dropbox.cache", ".venv", ".tox",
}  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A folder and its files, folders not among them."""

    path: str  # absolute, as it was reached
    root: Path  # the folder given that it is under
    relative: str  # its path from there; `.` for the root itself
    hidden: bool  # it, or a folder between it and the root, is hidden
    names: tuple[str, ...]  # in order
    links: frozenset[str]  # those of the names that are links
    inode: tuple[int, int]  # device and number
    folder_links: tuple[str, ...] = ()  # names of links to folders
    dead_links: tuple[str, ...] = ()  # names of links that lead nowhere or in circles


def is_hidden(name: str) -> bool:
    """Whether a file's or a folder's name is one that is passed over: `._a.jpg`, `__MACOSX`."""
    return name.startswith(".") or name.casefold() in _LITTER


def is_hidden_path(path: str) -> bool:
    """Return whether any part of a path is hidden."""
    return any(is_hidden(part) for part in path.split("/") if part not in ("", ".", ".."))


def count_hidden(dropped: DroppedRows, path: str, where: str) -> None:
    """Count a hidden picture, and name it; of those that a system or a tool leaves, one at most.

    Args:
        dropped: counts it.
        path: of the picture, with `/`, under the folder or in the archive given.
        where: its name for people.
    """
    parts = [part.casefold() for part in path.split("/")]
    left = any(
        part in _LITTER | _DOTTED_LITTER or part.startswith((".trash-", "._")) for part in parts
    )
    dropped.add(HIDDEN, "" if left and dropped.examples.get(HIDDEN) else where)


def is_picture(name: str) -> bool:
    """Whether a name has a suffix of pictures, in upper or lower case."""
    return name.lower().endswith(picture_suffixes())


def suffix_of(name: str) -> str:
    """The suffix by which a name is one of a picture, as it is written; empty where it is none."""
    return os.path.splitext(name)[1] if is_picture(name) else ""  # noqa: PTH122  # no file is meant


def readable(name: str) -> str:
    """A name as text: one that is not UTF-8 is GB18030, as Windows in China packs archives.

    Bytes that are neither are written in hexadecimal.
    """
    if name.isascii():
        return name
    data = os.fsencode(name)
    for encoding in ("utf-8", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "backslashreplace")


def walk(
    roots: Sequence[Path],
    *,
    follow_links: bool = True,
    unreadable: Callable[[str, OSError], None] | None = None,
) -> Iterator[Folder]:
    """Yield every folder under the roots once, however many links lead to it.

    Folders come in order of their names. Those that only links lead to come last, so that a file
    is known by its own path and not by a link's.

    Args:
        roots: folders.
        follow_links: go into folders that links lead to.
        unreadable: is told the path of a folder below the roots that cannot be read, which is then
            left out; None: such a folder raises.

    Raises:
        R2D2Error: a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [(absolute(root), root, False) for root in roots]
    while waiting:
        links: list[tuple[str, Path, bool]] = []
        stack = waiting[::-1]
        while stack:
            path, root, hidden = stack.pop()
            listed = _list(path, root, hidden, seen, unreadable)
            if listed is None:
                continue
            folder, inner, linked = listed
            yield folder
            stack += [(p, root, h) for p, h in reversed(inner)]
            if follow_links:
                links += [(p, root, h) for p, h in linked]
        waiting = links


def files_under(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """A file itself, or those of a folder with one of the suffixes, in order of their paths.

    Hidden files are left out; links are followed.
    """
    if path.is_file():
        return [path]
    return sorted(
        path / folder.relative / name
        for folder in walk([path])
        for name in folder.names
        if name.lower().endswith(suffixes) and not (folder.hidden or is_hidden(name))
    )


def files_of(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of `files_under`; raise R2D2Error where there are none."""
    files = files_under(path, suffixes)
    if not files:
        raise R2D2Error(f"{path} holds no {suffixes[0]} file: give one, or a folder of them")
    return files


def _list(
    path: str,
    root: Path,
    hidden: bool,
    seen: set[tuple[int, int]],
    unreadable: Callable[[str, OSError], None] | None,
) -> tuple[Folder, list[tuple[str, bool]], list[tuple[str, bool]]] | None:
    """A folder, the folders in it, and the links to folders in it; None where it was seen."""
    names: list[str] = []
    links: list[str] = []
    inner: list[tuple[str, bool]] = []
    linked: list[tuple[str, bool]] = []
    dead: list[str] = []
    try:
        about = os.stat(path)  # noqa: PTH116  # many: no Path for each
        inode = (about.st_dev, about.st_ino)
        if inode in seen:
            return None
        seen.add(inode)
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                is_link = entry.is_symlink()
                kind = _kind(entry)
                if kind == "folder":
                    child = (entry.path, hidden or is_hidden(entry.name))
                    (linked if is_link else inner).append(child)
                elif kind == "file":
                    names.append(entry.name)
                    if is_link:
                        links.append(entry.name)
                elif is_link and not kind:
                    dead.append(entry.name)
    except OSError as error:
        if hidden:
            return None  # such as lost+found: it would be passed over
        if unreadable is not None and path != absolute(root):
            unreadable(path, error)
            return None
        raise R2D2Error(
            f"cannot read the folder {readable(path)}: {error.strerror}; check its rights"
        ) from error
    relative = os.path.relpath(path, absolute(root))
    folder = Folder(
        path, root, relative, hidden, tuple(names), frozenset(links), inode,
        tuple(os.path.basename(path) for path, _ in linked), tuple(dead),  # noqa: PTH119
    )  # fmt: skip
    return folder, inner, linked


def _kind(entry: os.DirEntry[str]) -> str:
    """`file`, `folder`, or nothing for pipes, devices and links that lead nowhere or in circles."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return ""
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else ""


def absolute(path: Path) -> str:
    """An absolute path; links in it stay, unless there is a `..`, which goes back from a target."""
    if ".." in path.parts:
        return os.path.realpath(path)
    return os.path.abspath(path)  # noqa: PTH100  # a Path would keep doubled slashes


def composed(text: str) -> str:
    """A name in NFC: macOS hands out names in NFD, and lists are typed in NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
