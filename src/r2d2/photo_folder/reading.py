"""A picture file read once: its digest, its thumbnail, and its pixels for the model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r2d2.data.preprocessing import Pixels
from r2d2.images.decode import MAX_BYTES, BadImage, upright_size
from r2d2.images.thumbnails import thumbnail_file

ReadPixels = Callable[[bytes, str], Pixels]
TRIES = 3  # attempts to read a file that changes meanwhile
CHANGING = "file changes while it is read"


class ChangingFileError(OSError):
    """A file changed while it was read, at every attempt."""


@dataclass(frozen=True)
class PictureContent:
    """The content of a picture file."""

    size: int  # bytes
    modified: int  # nanoseconds since 1970
    digest: str  # 32 hexadecimal digits
    decoded: bool  # False: the digest was known, and nothing else was read
    thumbnail: bytes = b""
    file: bytes | None = None  # where the table holds copies
    pixels: npt.NDArray[np.uint8] | None = None  # (size, size, 3)
    width: int | None = None
    height: int | None = None
    bad: str | None = None  # why there are no pixels


def read_picture(
    path: Path, read: ReadPixels, *, known: Container[str] = (), copies: bool = False
) -> PictureContent:
    """Read a file.

    Args:
        path: of the file.
        read: a model's, from a file's content to what it looks at.
        known: digests of pictures that need not be decoded.
        copies: keep the file's content.

    Raises:
        OSError: it cannot be read, or it changed at every attempt.
    """
    for _ in range(TRIES):
        with path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            data = stream.read(MAX_BYTES + 1)  # one byte more: too large, which decoding tells
            digest = hashlib.sha256(data)
            while more := stream.read(1 << 20) if len(data) > MAX_BYTES else b"":
                digest.update(more)
            after = os.fstat(stream.fileno())
        if _same(before, after):
            break
    else:
        raise ChangingFileError(f"{CHANGING}: {path}")
    about: dict[str, Any] = {
        "size": after.st_size, "modified": after.st_mtime_ns, "digest": digest.hexdigest()[:32],
    }  # fmt: skip
    if about["digest"] in known:
        return PictureContent(**about, decoded=False)
    name = str(path)
    try:
        pixels = read(data, name)
        thumbnail = thumbnail_file(data, name=name)
    except BadImage as error:
        return PictureContent(**about, decoded=True, bad=error.reason)
    width, height = upright_size(data) or (None, None)
    return PictureContent(
        **about, decoded=True, thumbnail=thumbnail, file=data if copies else None, pixels=pixels,
        width=width, height=height,
    )  # fmt: skip


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
