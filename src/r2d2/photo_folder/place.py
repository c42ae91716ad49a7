"""Where the table of a folder of pictures is stored, and the settings that it was made with."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from r2d2.errors import R2D2Error
from r2d2.files import disk_errors, write_text
from r2d2.inputs.folders import absolute

SUFFIX = ".r2d2"  # of the table's folder, after the name of the pictures' folder
SETTINGS = "folder.json"  # in the table's folder; by it such a folder is known
TABLE = "pictures.lance"
LOCK = ".lock"
VERSION = 1  # of the settings and of the table's columns


@dataclass(frozen=True)
class FolderSettings:
    """How the table of a folder is made; kept beside it, so that a later start needs no options."""

    folder: str  # of the pictures, absolute
    model: str | None = None  # as it was given
    captions: str | None = None  # a file, absolute; None: what stands beside the pictures
    follow_links: bool = False  # out of the folder
    copies: bool = False  # the table holds the files themselves, not thumbnails
    version: int = VERSION


@dataclass(frozen=True)
class FolderOptions:
    """What a command asks for; None: as the table was made before."""

    model: str | None = None
    captions: Path | None = None
    follow_links: bool | None = None
    copies: bool | None = None
    out: Path | None = None  # the table's folder; None: see `table_folder`
    overwrite: bool = False  # make the table anew

    def apply(self, settings: FolderSettings) -> FolderSettings:
        """The settings with what is asked for."""
        captions = settings.captions if self.captions is None else absolute(self.captions)
        links = settings.follow_links if self.follow_links is None else self.follow_links
        return replace(
            settings,
            model=self.model or settings.model,
            captions=captions,
            follow_links=links,
            copies=settings.copies if self.copies is None else self.copies,
        )


def is_picture_folder(path: str | Path) -> bool:
    """Whether a path is a folder of pictures, or the folder of its table; no table of pairs."""
    text = str(path)
    if "://" in text or text.rstrip("/").endswith(".lance"):
        return False
    folder = Path(path)
    try:
        return folder.is_dir() and not (folder / "_versions").is_dir()
    except OSError:  # such as a name that is too long
        return False


def is_table_folder(path: Path) -> bool:
    """Whether a folder is one that holds the table of a folder of pictures."""
    try:
        return (path / SETTINGS).is_file()
    except OSError:  # such as a name that is too long
        return False


def table_folder(folder: Path, out: Path | None = None) -> Path:
    """The folder of the table: the one asked for, else beside the pictures, else in the cache.

    Nothing is ever written into the folder of the pictures unless it is asked for.

    Raises:
        R2D2Error: `out` is something else already.
    """
    if out is not None:
        if os.path.lexists(out) and not is_table_folder(out) and not _is_free(out):
            raise R2D2Error(f"{out} exists and is no table of pictures: choose another --out")
        return Path(absolute(out))
    home = Path(absolute(folder))
    beside = home.with_name(home.name + SUFFIX) if home.name else home
    short = os.fsencode(home.name)[:120].decode("utf-8", "ignore")
    cached = cache_folder() / f"{short}-{_digest(home)}{SUFFIX}"
    for place in (beside, cached):
        if is_table_folder(place):
            return place
    if home.name and _is_free(beside) and _can_make(beside):
        return beside
    return cached


def cache_folder() -> Path:
    """Where the system keeps what programs can make anew for this user, `r2d2/folders` in it."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = str(Path.home() / "Library" / "Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME") or ""
        root = root if Path(root).is_absolute() else str(Path.home() / ".cache")
    return Path(root) / "r2d2" / "folders"


def read_settings(place: Path) -> FolderSettings | None:
    """The settings in a table's folder; None where there are none.

    Raises:
        R2D2Error: they are damaged, or of another version.
    """
    file = place / SETTINGS
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        if settings.get("version") != VERSION:
            raise ValueError(f"version {settings.get('version')}, this is {VERSION}")
        return FolderSettings(**settings)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise R2D2Error(
            f"{file} is damaged ({error}): remove {place}, then run the same command again"
        ) from error


def write_settings(place: Path, settings: FolderSettings) -> None:
    """Keep them, in one step."""
    write_text(place / SETTINGS, json.dumps(asdict(settings), indent=1))


def _is_free(path: Path) -> bool:
    """Whether a path is nothing yet, an empty folder, or what a stop at the start left."""
    if not os.path.lexists(path):
        return True
    return path.is_dir() and all(entry.name == LOCK for entry in path.iterdir())


def _can_make(path: Path) -> bool:
    """Whether a folder can be made at a path; nothing stays there."""
    if os.path.lexists(path):
        return os.access(path, os.W_OK | os.X_OK)
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")  # not the place itself: see locks
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def make_folder(place: Path) -> None:
    """Make the table's folder; R2D2Error where that cannot be done."""
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
