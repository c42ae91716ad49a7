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
    """How the table of a folder is made. They are stored, so that later starts need no options."""

    folder: str  # of the pictures, absolute
    model: str | None = None  # as the user named it
    captions: str | None = None  # an absolute path; None: the files beside the pictures
    follow_links: bool = False  # whether links out of the folder are followed
    copies: bool = False  # the table holds the files themselves, not thumbnails
    version: int = VERSION


@dataclass(frozen=True)
class FolderOptions:
    """The options of a command; None means as the table was made before."""

    model: str | None = None
    captions: Path | None = None
    follow_links: bool | None = None
    copies: bool | None = None
    out: Path | None = None  # the table's folder; None: see `table_folder`
    overwrite: bool = False  # make the table anew

    def apply(self, settings: FolderSettings) -> FolderSettings:
        """The settings, changed by the options."""
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
    """Whether a path is a folder of pictures, or of their table, and no pairs table."""
    text = str(path)
    if "://" in text or text.rstrip("/").endswith(".lance"):
        return False
    folder = Path(path)
    try:
        return folder.is_dir() and not (folder / "_versions").is_dir()
    except OSError:  # such as a name that is too long
        return False


def is_table_folder(path: Path) -> bool:
    """Whether a folder holds the table of a folder of pictures."""
    try:
        return (path / SETTINGS).is_file()
    except OSError:  # such as a name that is too long
        return False


def table_folder(folder: Path, out: Path | None = None) -> Path:
    """The folder of the table: `out`, or beside the pictures, or in the cache.

    Nothing is written into the folder of the pictures unless `out` says so.

    Raises:
        R2D2Error: `out` exists and is no such table.
    """
    if out is not None:
        if os.path.lexists(out) and not is_table_folder(out) and not _is_free(out):
            raise R2D2Error(f"{out} exists and is no table of pictures: choose another --out")
        return Path(absolute(out))
    home = Path(absolute(folder))
    beside = home.with_name(home.name + SUFFIX) if home.name else home
    short = os.fsencode(home.name)[:120].decode("utf-8", "ignore")
    cached = cache_folder() / f"{short}-{_digest(home)}{SUFFIX}"
    for table_dir in (beside, cached):
        if is_table_folder(table_dir):
            return table_dir
    if home.name and _is_free(beside) and _can_make(beside):
        return beside
    return cached


def cache_folder() -> Path:
    """The folder `r2d2/folders` in the system's cache of this user."""
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = str(Path.home() / "Library" / "Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME") or ""
        root = root if Path(root).is_absolute() else str(Path.home() / ".cache")
    return Path(root) / "r2d2" / "folders"


def read_settings(table_dir: Path) -> FolderSettings | None:
    """The settings in a table's folder; None where there are none.

    Raises:
        R2D2Error: they are damaged, or of another version.
    """
    file = table_dir / SETTINGS
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        if settings.get("version") != VERSION:
            raise ValueError(f"version {settings.get('version')}, this is {VERSION}")
        return FolderSettings(**settings)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise R2D2Error(
            f"{file} is damaged ({error}): remove {table_dir}, then run the same command again"
        ) from error


def write_settings(table_dir: Path, settings: FolderSettings) -> None:
    """Store the settings, whole or not at all."""
    write_text(table_dir / SETTINGS, json.dumps(asdict(settings), indent=1))


def _is_free(path: Path) -> bool:
    """Whether a path is free, or a folder that is empty but for the lock of a stopped run."""
    if not os.path.lexists(path):
        return True
    return path.is_dir() and all(entry.name == LOCK for entry in path.iterdir())


def _can_make(path: Path) -> bool:
    """Whether a folder can be made at a path; the test leaves nothing behind."""
    if os.path.lexists(path):
        return os.access(path, os.W_OK | os.X_OK)
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")  # not the path itself: see locks
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def make_folder(table_dir: Path) -> None:
    """Make the table's folder; R2D2Error where that cannot be done."""
    with disk_errors(table_dir):
        table_dir.mkdir(parents=True, exist_ok=True)
