"""Whether a table may and can be written where it is to be, asked before the hours it takes."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from r2d2.errors import R2D2Error, taken
from r2d2.files import try_place
from r2d2.table import PairsTable, is_dataset, write_table


def check_place(out: str, overwrite: bool) -> None:
    """Look at the place of a table, by path or URL, and try to write there.

    Args:
        out: the place.
        overwrite: whether a table there may be replaced.

    Raises:
        R2D2Error: something is there that is not to be replaced, or nothing can be written.
    """
    if is_there(out):
        if not overwrite:
            raise taken(out)
        PairsTable.open(out)  # nothing but a table is replaced
    if "://" in out:
        _probe_url(out)
        return
    try_place(Path(out))


def is_there(out: str) -> bool:
    """Whether anything is at a path, or a table at a URL: folders of an object store are none."""
    return is_dataset(out) if "://" in out else os.path.lexists(out)


def _probe_url(out: str) -> None:
    """Write an empty table below `out`, by the library that will write the real one."""
    import lance

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
