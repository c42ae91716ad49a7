"""What a picture's header may ask of a decoder: files can be made to cost far more than they look.

Everything here is known before a pixel is decoded.
"""

from __future__ import annotations

import io
import struct

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import DibImageFile
from PIL.IcoImagePlugin import IcoFile
from PIL.PngImagePlugin import PngImageFile

MAX_SIDE = 65_535  # pixels: what a JPEG can hold. Resizing a row of 31 million takes seconds
# Of Pillow's decoders, those written in Python take a hundred times as long a pixel as others.
SLOW_SHARE = 64  # they may have this part of the pixels
PIECES, BYTES_A_PIECE = 1000, 128  # reads that a file may take: so many, and one for so many bytes
# Scans of a JPEG: ten as encoders write it, and those that a film behind it has by chance (65536).
SCANS, BYTES_A_SCAN = 500, 16384

STRIPS = 4 * (MAX_SIDE + 1)  # of a TIFF: one a row, of each of four channels
_STRIP_TAGS = (273, 279, 324, 325)  # of a TIFF: offsets and lengths of strips, of tiles


class TooManyPieces(Exception):  # noqa: N818  # a state of the data
    """A file has far more pieces than one of its size has use for."""


class PieceReader(io.BytesIO):
    """A file in memory that may be read so many times, by its size.

    Pillow reads a header piece by piece, in Python: a million empty pieces take seconds.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = PIECES + len(data) // BYTES_A_PIECE

    def read(self, size: int | None = -1, /) -> bytes:
        """See io.BytesIO; TooManyPieces."""
        self._left -= 1
        if self._left < 0:
            raise TooManyPieces("far more pieces than a picture of its size has")
        return super().read(size)


def too_large(width: int, height: int, max_pixels: int) -> str | None:
    """What is too large about a picture, as `has ...`; None where nothing is."""
    if max(width, height) > MAX_SIDE:
        return f"{width}x{height} pixels, more than {MAX_SIDE} on a side"
    if width * height > max_pixels:
        return f"{width}x{height} pixels, more than {max_pixels}"
    return None


def too_slow(image: Image.Image, size: int, max_pixels: int) -> bool:
    """Whether a file of `size` bytes is much for a decoder written in Python."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else ()
    if not any(tile[0] in Image.DECODERS for tile in tiles):
        return False
    work = max(image.width * image.height, size // 8)  # a piece of theirs has a few bytes
    return work > max_pixels // SLOW_SHARE


def too_many_scans(data: bytes) -> bool:
    """Whether a JPEG would be decoded over and over: a scan may be short and cover all pixels."""
    return data.startswith(b"\xff\xd8") and (
        data.count(b"\xff\xda") > SCANS + len(data) // BYTES_A_SCAN
    )


def too_many_strips(data: bytes) -> bool:
    """Whether a TIFF lists more strips or tiles than it can use: Pillow visits each on opening."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return False
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43  # 64 bits in place of 32
    wide = "Q" if big else "I"
    (start,) = struct.unpack_from(f"{order}{wide}", data, 8 if big else 4)
    length = struct.Struct(f"{order}{'Q' if big else 'H'}")
    entry = struct.Struct(f"{order}HH{wide}{wide}")
    if start + length.size > len(data):
        return False
    first = start + length.size
    there = min(length.unpack_from(data, start)[0], (len(data) - first) // entry.size, 65535)
    directory = memoryview(data)[first : first + there * entry.size]
    return any(
        tag in _STRIP_TAGS and count > STRIPS for tag, _, count, _ in entry.iter_unpack(directory)
    )


def icon_frame(data: bytes) -> Image.Image | None:
    """The picture in an icon (ICO) that is decoded, by its own header; None for other files.

    Pillow decodes an icon when it is opened, and the icon's header need not tell its true size.
    """
    if not data.startswith(b"\0\0\1\0"):
        return None
    entries = IcoFile(PieceReader(data)).entry
    inner = data[entries[0].offset :] if entries else b""
    if inner.startswith(b"\x89PNG"):
        return PngImageFile(PieceReader(inner))
    return DibImageFile(PieceReader(inner))
