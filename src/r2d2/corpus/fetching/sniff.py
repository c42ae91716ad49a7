"""Whether bytes are a whole image of bearable size, by their beginning, header and end alone."""

from __future__ import annotations

import functools
import io
import struct
import warnings

from PIL import Image, UnidentifiedImageError

from r2d2.corpus.fetching.outcome import Cause, FetchFailed
from r2d2.images.decode import HEIF_EXTRA, is_heif, readable_formats

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "HEIF")
_PNG_END = b"IEND\xaeB`\x82"


def image_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height of an encoded image, in pixels.

    No pixel is decoded, so an image that is broken in the middle passes.

    Raises:
        FetchFailed: NOT_IMAGE, TOO_LARGE (in pixels) or TRUNCATED.
    """
    if not data:
        raise FetchFailed(Cause.NOT_IMAGE, "0 bytes")
    try:
        width, height = _webp_size(data) if _is_webp(data) else _header_size(data)
    except struct.error as error:
        raise FetchFailed(Cause.TRUNCATED, f"cut off in its header, {len(data)} bytes") from error
    if width * height <= 0:
        raise FetchFailed(Cause.NOT_IMAGE, f"{width}x{height} pixels")
    if width * height > max_pixels:
        raise FetchFailed(
            Cause.TOO_LARGE,
            f"{width}x{height} pixels, more than {max_pixels} in all",
            settings=("max_pixels",),
        )
    if not _whole(data):
        raise FetchFailed(Cause.TRUNCATED, f"its end is missing, {len(data)} bytes")
    return width, height


def _header_size(data: bytes) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limit of pixels is ours
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                return image.size
    except Image.DecompressionBombError as error:
        raise FetchFailed(Cause.TOO_LARGE, str(error), settings=("max_pixels",)) from error
    except UnidentifiedImageError as error:
        if _starts_as_image(data):
            raise FetchFailed(Cause.TRUNCATED, f"its header is broken, {len(data)} bytes") from (
                error
            )
        raise FetchFailed(Cause.NOT_IMAGE, _looks_like(data)) from error
    except Exception as error:  # a parser stumbles on a broken header in ways of its own
        raise FetchFailed(Cause.TRUNCATED, f"its header is broken: {error}") from error


@functools.cache
def _formats() -> list[str]:
    return [name for name in FORMATS if name in readable_formats()]  # and WebP, by hand


def _starts_as_image(data: bytes) -> bool:
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF" in _formats()
    if is_heif(data):
        return "HEIF" in _formats()
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _webp_size(data: bytes) -> tuple[int, int]:
    """By hand, for Pillow makes room for all the pixels as it opens one (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        low, mid, high = struct.unpack_from("<HHH", data, 24)
        return (low | (mid & 0xFF) << 16) + 1, (mid >> 8 | high << 8) + 1
    if len(data) < 16:
        raise struct.error
    raise FetchFailed(Cause.NOT_IMAGE, f"WebP with {kind!r}")


def _whole(data: bytes) -> bool:
    """False where the end is missing that the format has; what follows it is let pass."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_whole(data)
    if data.startswith(b"\x89PNG"):
        return _PNG_END in data
    if data.startswith(b"GIF"):
        return data.rstrip(b"\0\r\n ").endswith(b";")
    if _is_webp(data):
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    if data[4:8] == b"ftyp":
        return _boxes_whole(data)
    return True


def _jpeg_whole(data: bytes) -> bool:
    """An end-of-image marker after the pixels began; that of a preview within a header is none."""
    offset = 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            return b"\xff\xd9" in data[offset:]
        marker = data[offset + 1]
        if marker == 0xFF:  # padding
            offset += 1
        elif marker == 0xDA:  # pixels
            return data.find(b"\xff\xd9", offset) >= 0
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a length
            offset += 2
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return False


def _boxes_whole(data: bytes) -> bool:
    """AVIF: a row of boxes, each with its length (ISO 14496-12); 0 reaches to the end."""
    offset = 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        if size == 1:
            size = int.from_bytes(data[offset + 8 : offset + 16], "big")
        if size == 0:
            return True
        if size < 8:
            return offset > 0  # junk behind the image
        offset += size
    return offset == len(data)


def _looks_like(data: bytes) -> str:
    """What bytes are that are no image, as far as their beginning tells."""
    head = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<"):
        return "SVG" if b"<svg" in head else "HTML or XML"
    if head[:1] in (b"{", b"["):
        return "JSON"
    if is_heif(data) and "HEIF" not in _formats():
        return f"HEIC, {HEIF_EXTRA}"
    if data[4:8] == b"ftyp":
        return f"a file of the kind {data[8:12].decode('latin-1')}"
    try:
        data[:256].decode()
    except UnicodeDecodeError as error:
        if error.start < 250:  # a character may be cut in two at the end
            return f"unknown bytes {data[:8].hex()}"
    return "text"
