"""Small copies of pictures, for pages that show many of them."""

from __future__ import annotations

import io

from r2d2.images.decode import decode_image

SIDE = 384  # pixels of the longer side, for dense screens
QUALITY = 85  # of JPEG
_JPEG = b"\xff\xd8\xff"


def thumbnail_file(data: bytes, *, name: str = "image") -> bytes:
    """The thumbnail of an encoded picture, as an encoded picture. BadImage as `decode_image`.

    What is larger than a thumbnail, and every JPEG, becomes JPEG; the rest loses nothing, as PNG.
    """
    picture = decode_image(data, name=name, at_least=SIDE)
    photo = data.startswith(_JPEG) or max(picture.size) > SIDE
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    if photo:
        picture.save(file, "JPEG", quality=QUALITY)
    else:
        picture.save(file, "PNG")
    return file.getvalue()


def media_type(data: bytes) -> str | None:
    """The media type of an encoded picture that every browser shows; None for all others."""
    if data.startswith(_JPEG):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None
