"""A 64-bit perceptual hash: pictures that look the same differ in few bits.

The signs of the 64 lowest frequencies of a 32x32 grey picture, about their median (Zauner,
Implementation and benchmarking of perceptual image hash functions, 2010).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE, KEPT = 32, 8
_PLACES = (2 * np.arange(SIDE) + 1)[None, :] * np.arange(KEPT)[:, None]
_COSINES = np.cos(np.pi * _PLACES / (2 * SIDE))  # (8, 32): the lowest rows of a DCT
_WEIGHTS = np.uint64(1) << np.arange(KEPT * KEPT, dtype=np.uint64)


def perceptual_hashes(pictures: Sequence[Image.Image]) -> npt.NDArray[np.uint64]:
    """(n,) of pictures of any mode and size."""
    size = (SIDE, SIDE)
    grey = [np.asarray(p.convert("L").resize(size, Image.Resampling.BOX)) for p in pictures]
    pixels = np.array(grey, dtype=np.float64).reshape(len(grey), SIDE, SIDE)
    low = (_COSINES @ pixels @ _COSINES.T).reshape(len(grey), KEPT * KEPT)
    low[:, 0] = 0.0  # brightness as a whole tells nothing
    # Rounded: what is zero but for rounding, as in a picture of one colour, must not be noise.
    low = low.round(6)
    bits = low > np.median(low, axis=1, keepdims=True)
    hashes: npt.NDArray[np.uint64] = (bits * _WEIGHTS).sum(axis=1, dtype=np.uint64)
    return hashes
