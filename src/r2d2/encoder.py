"""A saved model as rooms without torch may ask it: files and texts to numpy embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.data.images import BadImage, decode_image
from r2d2.models import Model, load
from r2d2.vectors import refuse_without_direction


@dataclass(frozen=True)
class Encoder:
    """Embeddings of unit length."""

    model: Model

    @classmethod
    def load(cls, path: str | Path) -> Encoder:
        """A model of any kind; see `r2d2.load`."""
        return cls(load(path))

    @cached_property
    def fingerprint(self) -> str:
        """Of what the embeddings depend on; see `r2d2.fingerprint`."""
        return self.model.fingerprint

    def encode_images(self, files: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """(n, d) of encoded files; one that cannot be read counts as a white picture."""
        pictures = [_picture(file) for file in files]
        found: npt.NDArray[np.float32] = (
            self.model.encode_images(pictures).embedding.float().cpu().numpy()
        )
        refuse_without_direction(found, "images", [f"number {n}" for n in range(len(files))])
        return found

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, d)."""
        found: npt.NDArray[np.float32] = (
            self.model.encode_texts(list(texts)).embedding.float().cpu().numpy()
        )
        refuse_without_direction(found, "texts", texts)
        return found


def _picture(file: bytes) -> Image.Image:
    try:
        return decode_image(file)
    except BadImage:
        return Image.new("RGB", (1, 1), (255, 255, 255))
