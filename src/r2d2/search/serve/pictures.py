"""Thumbnails, which are cached, and pictures at full size, as browsers show them."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from r2d2.images.decode import BadImage, decode_image, upright_size
from r2d2.images.thumbnails import QUALITY, media_type, thumbnail_file
from r2d2.index.gallery.protocol import Gallery

KEPT_BYTES = 64 << 20


class Thumbnails:
    """A cache of thumbnails by row, for use by several threads."""

    def __init__(self, gallery: Gallery, kept_bytes: int = KEPT_BYTES) -> None:
        self._gallery = gallery
        self._limit = kept_bytes
        self._held: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, row: int) -> tuple[bytes, str]:
        """The encoded thumbnail and its media type; IndexError without such a row, or BadImage."""
        if not 0 <= row < len(self._gallery):
            raise IndexError(row)
        with self._lock:
            if row in self._held:
                self._held.move_to_end(row)
                return self._held[row]
        small = self._gallery.thumbnail(row)
        if small is None:
            small = thumbnail_file(self._gallery.files([row])[0], name=f"the picture of row {row}")
        made = small, media_type(small) or "image/png"
        with self._lock:
            if row not in self._held:
                self._held[row] = made
                self._bytes += len(made[0])
            while self._bytes > self._limit and self._held:
                self._bytes -= len(self._held.popitem(last=False)[1][0])
        return made

    def whole(self, row: int) -> tuple[bytes, str, bool]:
        """The picture at full size, its media type, and whether it is not just the thumbnail.

        A format that some browsers cannot show is converted to JPEG. Where the file is gone or
        broken, the thumbnail is returned. IndexError where there is no such row, BadImage where
        there is no thumbnail either.
        """
        if not 0 <= row < len(self._gallery):
            raise IndexError(row)
        data = self._gallery.original(row)
        if data is not None:
            try:
                return *_for_browsers(data), True
            except BadImage:  # the file broke after it was indexed: return the thumbnail
                pass
        return *self.get(row), False


def _for_browsers(data: bytes) -> tuple[bytes, str]:
    kind = media_type(data)
    if kind is not None and upright_size(data) is not None:
        return data, kind
    file = io.BytesIO()
    decode_image(data).save(file, "JPEG", quality=QUALITY)
    return file.getvalue(), "image/jpeg"
