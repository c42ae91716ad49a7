"""List the pictures under a folder with path, size, modification time and sidecar files."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.inputs.dropped_rows import DroppedRows
from r2d2.inputs.folders import (
    Folder,
    absolute,
    count_hidden,
    is_hidden,
    is_picture,
    readable,
    walk,
)
from r2d2.inputs.ids import path_id
from r2d2.inputs.samples import OTHER_PICTURE, SampleNames, key_of, samples_of

OUTWARD = "link out of the folder, not followed without --follow-links"
DEAD_LINK = "link that leads nowhere"
NO_PICTURE = "no picture by its name"
UNREADABLE_FOLDER = "folder cannot be read"
UNREADABLE_FILE = "file cannot be read"
SIDECARS = (".txt", ".json")


@dataclass(frozen=True, slots=True)
class ListedPicture:
    """A picture file, without its content."""

    path: str  # relative to the folder, as the system has it; bytes that are no UTF-8 as surrogates
    image_id: str  # the path with `/`, in NFC
    size: int  # bytes
    modified: int  # nanoseconds since 1970


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The names of the text files beside a picture, with what shows whether they have changed."""

    names: SampleNames
    folder: str  # relative to the folder given
    state: str  # their names, sizes and times


@dataclass
class Listing:
    """The files under a folder, with about 400 bytes of memory per picture."""

    root: Path  # absolute
    pictures: list[ListedPicture] = field(default_factory=list)
    sidecars: dict[str, Sidecar] = field(default_factory=dict)  # by path of the picture
    unreadable: list[str] = field(default_factory=list)  # folders, relative, that may hold more
    dropped: DroppedRows = field(default_factory=DroppedRows)

    def may_exist(self, path: str) -> bool:
        """Return whether a path that is not listed is in a folder that could not be read."""
        return any(path == folder or path.startswith(folder + os.sep) for folder in self.unreadable)


def list_pictures(
    folder: Path,
    *,
    follow_links: bool = False,
    sidecars: bool = True,
    not_counted: Path | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Listing:
    """List a folder.

    Args:
        folder: the folder.
        follow_links: also what links lead to that is not under the folder.
        sidecars: look for texts beside pictures.
        not_counted: a file that is in use otherwise, such as one of captions.
        progress: called with the number of pictures so far.

    Raises:
        R2D2Error: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise R2D2Error(f"there is no folder {folder}: give a folder of pictures")
    root = Path(absolute(folder))
    listing = Listing(root)
    links: list[tuple[str, tuple[int, int], ListedPicture]] = []  # where they lead to
    inodes: set[tuple[int, int]] = set()  # of files that are no links
    seen: set[str] = set()

    def unreadable(path: str, error: OSError) -> None:
        listing.unreadable.append(os.path.relpath(path, root))
        listing.dropped.add(UNREADABLE_FOLDER, f"{readable(path)}: {error.strerror}")

    for part in walk([root], follow_links=follow_links, unreadable=unreadable):
        if not part.hidden:
            _count_links(part, root, follow_links, listing.dropped)
        used: set[str] = set()
        if sidecars and not part.hidden:
            used = _find_sidecars(part, listing)
        for name in part.names:
            where = readable(posixpath.join(part.relative, name)).removeprefix("./")
            if part.hidden or is_hidden(name):
                if is_picture(name):
                    count_hidden(listing.dropped, posixpath.join(part.relative, name), where)
                continue
            if not is_picture(name):
                path = Path(part.path, name)
                if name not in used and path != not_counted:
                    listing.dropped.add(NO_PICTURE, where)
                continue
            file = _stat(part, name, listing.dropped)
            if file is None:
                continue
            picture, inode = file
            if name in part.links:
                links.append((os.path.realpath(posixpath.join(part.path, name)), inode, picture))
            else:
                inodes.add(inode)
                listing.pictures.append(_unlike(picture, seen))
        progress(len(listing.pictures))
    real_root = os.path.realpath(root)
    for target, inode, picture in links:
        inward = os.path.commonpath([real_root, target]) == real_root
        if not (inward or follow_links):
            listing.dropped.add(OUTWARD, picture.image_id)
        elif inode not in inodes:  # else the file itself, or another link to it, is listed
            inodes.add(inode)
            listing.pictures.append(_unlike(picture, seen))
    return listing


def _count_links(part: Folder, root: Path, follow_links: bool, dropped: DroppedRows) -> None:
    """Count links to folders that are not followed, and links that lead nowhere."""
    real_root = os.path.realpath(root)
    for name in part.folder_links if not follow_links else ():
        target = os.path.realpath(posixpath.join(part.path, name))
        if os.path.commonpath([real_root, target]) != real_root and not is_hidden(name):
            dropped.add(OUTWARD, readable(posixpath.join(part.relative, name)).removeprefix("./"))
    for name in part.dead_links:
        if is_picture(name) and not is_hidden(name):
            dropped.add(DEAD_LINK, readable(posixpath.join(part.relative, name)).removeprefix("./"))


def _stat(
    part: Folder, name: str, dropped: DroppedRows
) -> tuple[ListedPicture, tuple[int, int]] | None:
    """Return a picture and its inode; None where it has vanished or is no longer a file."""
    relative = posixpath.normpath(posixpath.join(part.relative, name))
    try:
        status = os.stat(posixpath.join(part.path, name))  # noqa: PTH116  # once a picture
    except OSError as error:
        dropped.add(UNREADABLE_FILE, f"{readable(relative)}: {error.strerror}")
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    image_id = path_id(readable(relative), ".")
    picture = ListedPicture(relative, image_id, status.st_size, status.st_mtime_ns)
    return picture, (status.st_dev, status.st_ino)


def _unlike(picture: ListedPicture, seen: set[str]) -> ListedPicture:
    """The picture, with an id that no other has: two paths may be the same in NFC."""
    image_id = picture.image_id
    if image_id in seen:
        digest = hashlib.sha256(os.fsencode(picture.path)).hexdigest()
        image_id = f"{image_id}-{digest[:8]}"
    seen.add(image_id)
    return ListedPicture(picture.path, image_id, picture.size, picture.modified)


def _find_sidecars(part: Folder, listing: Listing) -> set[str]:
    """Note the texts beside the pictures of a folder; gives the names of the files used."""
    used: set[str] = set()
    if not any(name.lower().endswith(SIDECARS) for name in part.names):
        return used
    groups: dict[str, list[str]] = {}
    for name in part.names:
        if not is_hidden(name) and (is_picture(name) or name.lower().endswith(SIDECARS)):
            groups.setdefault(key_of(name), []).append(name)
    for names in groups.values():
        for sample in samples_of(names):
            texts = [*sample.texts, *([] if sample.json is None else [sample.json])]
            if sample.picture is None or not texts:
                continue
            used.update(texts)
            used.update(name for name in sample.left if not is_picture(name))
            state = "; ".join(_state_of(posixpath.join(part.path, name), name) for name in texts)
            side = Sidecar(sample, part.relative, state)
            for name in _pictures_of(sample):
                path = posixpath.normpath(posixpath.join(part.relative, name))
                listing.sidecars[path] = side
            for name, reason in sample.left.items():
                if not is_picture(name):
                    listing.dropped.add(reason, readable(posixpath.join(part.relative, name)))
    return used


def _pictures_of(sample: SampleNames) -> list[str]:
    """The picture of a sample, and other formats of it under the same name."""
    assert sample.picture is not None
    stem = posixpath.splitext(sample.picture)[0]
    same = [name for name, reason in sample.left.items() if reason == OTHER_PICTURE]
    return [sample.picture, *(name for name in same if posixpath.splitext(name)[0] == stem)]


def _state_of(path: str, name: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116  # once a picture
    except OSError:
        return f"{readable(name)} cannot be read"
    return f"{readable(name)} {status.st_size} {status.st_mtime_ns}"
