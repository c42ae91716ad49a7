"""A cache of the encoded states of images, which the cross encoders read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from r2d2.data.preprocessing import Pixels
from r2d2.images.decode import BadImage
from r2d2.index.gallery.protocol import Gallery
from r2d2.model.encoded_states import EncodedStates
from r2d2.models import ImageTextModel

KEPT_BYTES = 256 << 20
AT_ONCE = 64  # files held in memory at a time


class ImageStates:
    """Encoded images of a gallery, the least recently used ones dropped first."""

    def __init__(
        self, model: ImageTextModel, gallery: Gallery, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._model = model
        self._gallery = gallery
        self._limit = kept_bytes
        self._held: OrderedDict[int, EncodedStates] = OrderedDict()
        self._bytes = 0

    def get(self, rows: Sequence[int]) -> dict[int, EncodedStates]:
        """The images at `rows`, one object each; unreadable images are left out."""
        states: dict[int, EncodedStates] = {}
        missing: list[int] = []
        for row in dict.fromkeys(rows):
            if row in self._held:
                self._held.move_to_end(row)
                states[row] = self._held[row]
            else:
                missing.append(row)
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            readable: list[int] = []
            pixels: list[Pixels] = []
            for row, file in zip(part, self._gallery.files(part), strict=True):
                try:
                    pixels.append(self._model.read(file))
                    readable.append(row)
                except BadImage:  # it was good when it was indexed; its cosine still stands
                    continue
            if not pixels:
                continue
            encoded = self._model.encode_pixels(pixels)
            for number, row in enumerate(readable):
                encoded_image = encoded[number : number + 1]
                # a copy: a view would keep the whole batch alive
                side = EncodedStates(
                    encoded_image.states.clone(),
                    None if encoded_image.mask is None else encoded_image.mask.clone(),
                    encoded_image.embedding.clone(),
                )
                states[row] = side
                self._keep(row, side)
        return states

    def _keep(self, row: int, side: EncodedStates) -> None:
        self._held[row] = side
        self._bytes += _size(side)
        while self._bytes > self._limit and self._held:
            _, old = self._held.popitem(last=False)
            self._bytes -= _size(old)


def _size(side: EncodedStates) -> int:
    return int(side.states.nbytes + side.embedding.nbytes)
