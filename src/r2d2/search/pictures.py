"""Pictures of the gallery as the page shows them: small, and kept for the next who looks."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from PIL import Image

from r2d2.data.images import decode_image
from r2d2.search.gallery import Gallery

SIDE = 384  # pixels of the longer side, for dense screens
KEPT_BYTES = 64 << 20


class Pictures:
    """Thumbnails by row; may be asked by several threads."""

    def __init__(self, gallery: Gallery, kept_bytes: int = KEPT_BYTES) -> None:
        self._gallery = gallery
        self._limit = kept_bytes
        self._held: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, row: int) -> tuple[bytes, str]:
        """File and media type; IndexError for a row that there is not, BadImage."""
        if not 0 <= row < len(self._gallery):
            raise IndexError(row)
        with self._lock:
            if row in self._held:
                self._held.move_to_end(row)
                return self._held[row]
        made = _small(decode_image(self._gallery.files([row])[0], name=f"the picture of row {row}"))
        with self._lock:
            if row not in self._held:
                self._held[row] = made
                self._bytes += len(made[0])
            while self._bytes > self._limit and self._held:
                self._bytes -= len(self._held.popitem(last=False)[1][0])
        return made


def _small(picture: Image.Image) -> tuple[bytes, str]:
    photo = max(picture.size) > SIDE
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    if photo:
        picture.save(file, "JPEG", quality=85)
        return file.getvalue(), "image/jpeg"
    picture.save(file, "PNG")
    return file.getvalue(), "image/png"
