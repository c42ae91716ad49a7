"""Turn a picture into the pixels that a model reads, in the way that the model was trained with.

The result is a square of a fixed size, or, for towers of flexible resolution, a rectangle of whole
patches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from r2d2.errors import R2D2Error
from r2d2.images.decode import decode_image, decode_resized, resize, to_rgb

LONGEST = 4  # longer sides, in multiples of the short side, are cut before the middle is cut out
ROUGHLY = 1e-5  # the precision to which the scale of a picture is computed
Pixels = npt.NDArray[np.uint8]  # (side, side, 3); (h, w, 3) where the aspect is kept


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are resized; by default a whole picture is resized to a square, bicubic."""

    side: int  # pixels of a side of the square
    # The shorter edge is resized to so many pixels, and the middle is cut out; None: the whole
    # picture is resized to the square.
    shortest: int | None = None
    resample: int = Image.Resampling.BICUBIC.value  # Pillow's number of the filter
    # Pixels of a side of a patch, for models that keep the aspect ratio; None: they do not.
    patch: int | None = None
    # The largest numbers of patches that are possible. The smallest of them that is enough for a
    # picture at its own size is used, or else the largest.
    patches: tuple[int, ...] = ()

    @staticmethod
    def of(config: Mapping[str, Any], side: int, *, crops: bool) -> Preprocessing:
        """Read the settings from a preprocessor_config.json.

        Args:
            config: the content of the file; may be empty.
            side: pixels of a side of the square that the model reads.
            crops: whether the model family cuts the middle out where the file does not say it.

        Raises:
            R2D2Error: the size in the file is not that of the model, or the filter is unknown.
        """
        size, crop = config.get("size"), config.get("crop_size")
        crops = bool(config.get("do_center_crop", crops))
        shortest = size.get("shortest_edge") if isinstance(size, Mapping) else size
        if isinstance(size, Mapping) and "height" in size:
            shortest = None
        if crops and shortest is None and not isinstance(size, Mapping):
            shortest = side
        result = crop if crops and crop is not None else size
        pixels = result.get("height", side) if isinstance(result, Mapping) else result or side
        if pixels != side:
            raise R2D2Error(
                f"preprocessor_config.json makes pictures of {pixels} pixels, and the model takes "
                f"{side}: give the file that belongs to it"
            )
        chosen = _filter(config, Image.Resampling.BICUBIC)
        return Preprocessing(side, int(shortest) if shortest and crops else None, chosen)

    @staticmethod
    def flexible(
        config: Mapping[str, Any], side: int, patch: int, patches: tuple[int, ...] = ()
    ) -> Preprocessing:
        """Return the settings of SigLIP 2 with flexible resolution, as its own processor has them.

        Args:
            config: the content of a preprocessor_config.json; may be empty.
            side: pixels of a side of the square of all positions that the model has learnt.
            patch: pixels of a side of a patch.
            patches: see `Preprocessing.patches`; empty: the number in `config`.

        Raises:
            R2D2Error: the patch size in the file is not that of the model, or the filter is
                unknown.
        """
        patch_size = config.get("patch_size", patch)
        if patch_size != patch:
            raise R2D2Error(
                f"preprocessor_config.json has patches of {patch_size} pixels, and the model takes "
                f"{patch}: give the file that belongs to it"
            )
        most = config.get("max_num_patches", (side // patch) ** 2)
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise R2D2Error(f"preprocessor_config.json: max_num_patches {most!r} is no count")
        chosen = _filter(config, Image.Resampling.BILINEAR)
        return Preprocessing(side, None, chosen, patch, patches or (most,))

    @property
    def usual(self) -> bool:
        """Whether these are the default settings, for which a file can be decoded faster."""
        return self == Preprocessing(self.side)

    def region(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the region of a picture of `size` that the model sees, in shares from 0 to 1.

        The shares are those of the left, top, right and bottom edges.
        """
        if self.shortest is None:
            return 0.0, 0.0, 1.0, 1.0
        seen = min(size) * self.side / self.shortest  # pixels of the square, before resizing
        across, down = (min(1.0, seen / length) for length in size)
        return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2

    def differs(self) -> str:
        """Return in words how the settings differ from the default; empty where they do not."""
        parts = []
        if self.patch is not None:
            parts.append("keeps the aspect of pictures")
        if self.shortest is not None:
            parts.append(f"cuts the middle out of {self.shortest} pixels")
        if self.resample != Image.Resampling.BICUBIC:
            parts.append(f"resizes by {Image.Resampling(self.resample).name.lower()}")
        return " and ".join(parts)

    def shrink(self, image: Image.Image) -> Image.Image:
        """Resize an RGB picture without cutting it; a picture from `shrink` stays unchanged."""
        if self.usual:
            return Image.fromarray(resize(image, self.side))
        if self.patch is not None:
            return image  # the number of its patches depends on its size
        if self.shortest is None:
            return image.resize((self.side, self.side), Image.Resampling(self.resample))
        image = _middle(image)
        short, long = sorted(image.size)
        longer = int(self.shortest * long / short)
        upright = image.width <= image.height
        size = (self.shortest, longer) if upright else (longer, self.shortest)
        return image.resize(size, Image.Resampling(self.resample))

    def __call__(self, image: Image.Image, name: str = "image") -> Pixels:
        """Return the pixels of a picture of any mode and size; raise BadImage if it is broken."""
        return self._pixels(to_rgb(image, name=name))

    def _pixels(self, image: Image.Image) -> Pixels:
        """Return the pixels of an upright RGB picture."""
        if self.usual:
            return resize(image, self.side)
        if self.patch is not None:
            size = self._whole_patches(image.size, self.patch)
            return np.array(image.resize(size, Image.Resampling(self.resample)), dtype=np.uint8)
        image = self.shrink(image)
        left, top = (image.width - self.side) // 2, (image.height - self.side) // 2
        cut = image.crop((left, top, left + self.side, top + self.side))
        return np.array(cut, dtype=np.uint8)

    def read(self, file: bytes, name: str = "image") -> Pixels:
        """Return the pixels of an encoded picture; raise BadImage where it cannot be used."""
        if self.usual:
            return decode_resized(file, self.side, name=name)
        return self._pixels(decode_image(file, name=name))

    def square(self) -> Preprocessing:
        """Return the same settings for pictures that are resized to the square of all positions."""
        return Preprocessing(self.side, self.shortest, self.resample)

    def _whole_patches(self, size: tuple[int, int], patch: int) -> tuple[int, int]:
        """Return the largest width and height in whole patches that the number of patches allows.

        The scale is found by the same bisection as in SigLIP 2's processor, because its rounding
        decides where a side is near a whole number of patches.
        """
        count = (size[0] // patch) * (size[1] // patch)
        most = next((limit for limit in sorted(self.patches) if limit >= count), max(self.patches))

        def patches(scale: float) -> tuple[int, int]:
            across, down = (max(1, math.ceil(length * scale / patch)) for length in size)
            return across, down

        low, high = ROUGHLY / 10, 100.0
        while high - low >= ROUGHLY:
            middle = (low + high) / 2
            across, down = patches(middle)
            low, high = (middle, high) if across * down <= most else (low, middle)
        across, down = patches(low)
        return across * patch, down * patch

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for config.json."""
        return asdict(self)


def _filter(config: Mapping[str, Any], usual: Image.Resampling) -> int:
    """Return Pillow's number of the filter that a preprocessor_config.json names."""
    chosen = config.get("resample", usual.value)
    if chosen not in {f.value for f in Image.Resampling}:
        raise R2D2Error(f"preprocessor_config.json: resample {chosen!r} is none of Pillow's")
    return int(chosen)


def _middle(image: Image.Image) -> Image.Image:
    """Cut a picture so that its longer side is at most LONGEST times the shorter.

    Otherwise a strip that is one pixel wide would become huge when it is resized. What is cut off
    is far from the square in the middle.
    """
    longest = LONGEST * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = (max(0, (length - longest) // 2) for length in image.size)
    width, height = (min(length, longest) for length in image.size)
    return image.crop((left, top, left + width, top + height))
