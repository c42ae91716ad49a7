"""What a command will write, looked at before its work: nothing of the user's is replaced unasked.

Each command names all that it will write, files beside its main output included, and all that it
reads. What is wrong with any of it is told here, before the minutes or hours that the work takes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from r2d2.errors import R2D2Error
from r2d2.files import try_place

# What is a file by its name: no folder and no table is called so.
FILES = frozenset(
    (
        ".bin", ".csv", ".gif", ".htm", ".html", ".jpeg", ".jpg", ".json", ".jsonl", ".md",
        ".npy", ".npz", ".onnx", ".parquet", ".pdf", ".png", ".pt", ".pth", ".py", ".safetensors",
        ".sqlite", ".tar", ".tsv", ".txt", ".webp", ".xls", ".xlsx", ".xml", ".yaml", ".yml",
        ".zip",
    )
)  # fmt: skip
URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")  # also where a Path has folded its slashes


@dataclass(frozen=True)
class Output:
    """A path that a command will write.

    Args:
        path: of a file, a folder or a table; a table may be a URL.
        option: by which the user chose it.
        suffixes: of a file, in small letters; empty for a folder or a table.
        table: whether it is a pairs table.
        ours: whether a folder that is there was written by this command; None: no folder.
    """

    path: str | Path
    option: str
    suffixes: tuple[str, ...] = ()
    table: bool = False
    ours: Callable[[Path], bool] | None = None


def a_table(path: str | Path, option: str = "--out") -> Output:
    """A pairs table."""
    return Output(path, option, table=True)


def a_file(path: str | Path, *suffixes: str, option: str = "--out") -> Output:
    """A file whose name ends in one of `suffixes`."""
    return Output(path, option, suffixes)


def a_folder(path: str | Path, ours: Callable[[Path], bool], option: str = "--out") -> Output:
    """A folder that is replaced as a whole; one that is empty counts as free."""
    return Output(path, option, ours=ours)


def check_outputs(
    outputs: Sequence[Output],
    *,
    inputs: Iterable[str | Path | None] = (),
    overwrite: bool = False,
    remedy: str = "--overwrite",
) -> None:
    """Refuse outputs that would cost the user something, or that cannot be written.

    Args:
        outputs: all that will be written.
        inputs: all that is read; None where an option is not given.
        overwrite: whether what is there may be replaced, each by its own kind.
        remedy: the option by which a command is asked to go on with what is there, or replace it.

    Raises:
        R2D2Error: a name does not fit its content, two outputs are one path, an output is or holds
            an input, something is there, or nothing can be written.
    """
    read = {_resolved(path): path for path in inputs if path is not None}
    taken: dict[str, Output] = {}
    for output in outputs:
        _check_name(output)
        target = _resolved(output.path)
        if target in taken:
            both = " and ".join(dict.fromkeys((taken[target].option, output.option)))
            raise R2D2Error(f"{both} would write {output.path} twice: give two names")
        taken[target] = output
        whole = output.table or output.ours is not None
        for source, name in read.items():
            if source == target or (
                whole and source.startswith(f"{target}/") and _is_there(output)
            ):
                raise R2D2Error(
                    f"{output.path} is read from ({name}): give another {output.option}"
                )
    for output in outputs:
        if not output.suffixes and os.path.ismount(output.path):  # Path.is_mount raises at nothing
            raise R2D2Error(
                f"{output.path} is a mount point, which no folder can replace: give one within it"
            )
        if _is_there(output):
            _check_taken(output, overwrite, remedy)
        if "://" in str(output.path):
            _probe_url(str(output.path))
        else:
            try_place(Path(output.path))


def _check_name(output: Output) -> None:
    """R2D2Error where the name tells another kind of content."""
    path, option = str(output.path), output.option
    if URL.match(path) and not (output.table and "://" in path):
        raise R2D2Error(f"{option} {path} is a URL: give a path on this machine")
    suffix = Path(path).suffix.lower()
    if output.suffixes and suffix not in output.suffixes:
        raise R2D2Error(
            f"{option} {path}: give the name of a file that ends in {' or '.join(output.suffixes)}"
        )
    if not output.suffixes and suffix in FILES and not Path(path).is_dir():
        kind = "table, which is a folder, such as pairs.lance" if output.table else "folder"
        raise R2D2Error(f"{option} {path} is the name of a file: give the name of a {kind}")


def table_is_there(path: str | Path) -> bool:
    """Whether anything is at a path, or a table at a URL: folders of an object store are none."""
    return _is_table(path) if "://" in str(path) else os.path.lexists(path)


def _is_there(output: Output) -> bool:
    path = Path(output.path)
    if output.ours is not None and path.is_dir() and not any(path.iterdir()):
        return False
    return table_is_there(output.path)


def _check_taken(output: Output, overwrite: bool, remedy: str) -> None:
    """R2D2Error where what is there stays: it was not to be replaced, or is of another kind."""
    path, option = output.path, output.option
    if not overwrite:
        raise R2D2Error(f"{path} exists: give another {option}, or {remedy}")
    target = Path(path)
    if output.table:
        if not _is_table(path) and not (target.is_dir() and not any(target.iterdir())):
            raise R2D2Error(f"{path} is no table, so it is not overwritten: give another {option}")
    elif output.ours is None:
        if not target.is_file():
            raise R2D2Error(f"{path} is no file, so it is not overwritten: give another {option}")
    elif not target.is_dir() or not output.ours(target):
        raise R2D2Error(
            f"{path} was not written by this command, so it is not overwritten: give another "
            f"{option}"
        )


def _is_table(path: str | Path) -> bool:
    from r2d2.table import is_dataset

    return is_dataset(str(path))


def _resolved(path: str | Path) -> str:
    """One name for each place, however it is spelled."""
    text = str(path)
    return text.rstrip("/") if "://" in text else str(Path(text).resolve())


def _probe_url(out: str) -> None:
    """Write an empty table below `out`, by the library that will write the real one."""
    import lance

    from r2d2.table import write_table

    probe = f"{out.rstrip('/')}/.probe-{uuid.uuid4().hex[:8]}"
    try:
        write_table(probe, [])
    except R2D2Error as error:
        raise R2D2Error(str(error).replace(probe, out)) from error
    with contextlib.suppress(Exception):  # one may write but not delete: some hundred bytes stay
        lance.LanceDataset.drop(probe, {})
    parts = urlsplit(out)
    if parts.scheme == "file":  # folders, which object stores have none of
        folder = Path(url2pathname(parts.path))
        shutil.rmtree(folder / probe.rsplit("/", 1)[-1], ignore_errors=True)
        with contextlib.suppress(OSError):  # there is something in it
            folder.rmdir()
