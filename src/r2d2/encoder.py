"""A saved model for packages without torch: files and texts to numpy embeddings."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.images.decode import BadImage, decode_image
from r2d2.models import ImageTextModel, lasting_name, load
from r2d2.vectors import refuse_without_direction


@dataclass(frozen=True)
class Encoder:
    """Embeddings of unit length."""

    model: ImageTextModel
    name: str  # by which another process loads it

    @classmethod
    def load(cls, path: str | Path) -> Encoder:
        """A model of any kind; see `r2d2.load`."""
        return cls(load(path), lasting_name(path))

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets only the name, and loads the model itself."""
        return NamedEncoder, (self.name, self.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """Of what the embeddings depend on; see `r2d2.fingerprint`."""
        return self.model.fingerprint

    def encode_images(self, files: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """(n, d) of encoded files; one that cannot be read counts as a white picture."""
        pictures = [_picture(file) for file in files]
        vectors: npt.NDArray[np.float32] = (
            self.model.encode_images(pictures).embedding.float().cpu().numpy()
        )
        refuse_without_direction(vectors, "images", [f"number {n}" for n in range(len(files))])
        return vectors

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d)."""
        vectors: npt.NDArray[np.float32] = (
            self.model.encode_texts(list(texts)).embedding.float().cpu().numpy()
        )
        refuse_without_direction(vectors, "texts", texts)
        return vectors


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder by its name, which each process loads once, at the first call."""

    name: str
    fingerprint: str  # that it must have

    def encode_images(self, files: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """See `Encoder.encode_images`."""
        return self._loaded().encode_images(files)

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Encoder.encode_texts`."""
        return self._loaded().encode_texts(texts)

    def _loaded(self) -> Encoder:
        encoder = _encoder(self.name)
        if encoder.fingerprint != self.fingerprint:
            raise R2D2Error(
                f"the model {self.name} on {socket.gethostname()} is another one "
                f"({encoder.fingerprint}, not {self.fingerprint}): put it where all nodes read it"
            )
        return encoder


@lru_cache(maxsize=1)
def _encoder(name: str) -> Encoder:
    return Encoder.load(name)


def _picture(file: bytes) -> Image.Image:
    try:
        return decode_image(file)
    except BadImage:
        return Image.new("RGB", (1, 1), (255, 255, 255))
