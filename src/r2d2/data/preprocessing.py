"""From a picture to the pixels that a model reads, as the model was trained to see it.

A square of one size, or for towers of flexible resolution a rectangle of whole patches.
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

LONGEST = 4  # long side over short side of a picture whose middle is cut out
ROUGHLY = 1e-5  # the scale of a picture is found to
Pixels = npt.NDArray[np.uint8]  # (side, side, 3); (h, w, 3) where the aspect is kept


@dataclass(frozen=True)
class Preprocessing:
    """Resizing; the default is ours: the whole picture squeezed to a square, bicubic."""

    side: int  # pixels of the square
    shortest: int | None = None  # the shorter edge gets this, then the middle is cut out
    resample: int = Image.Resampling.BICUBIC.value  # Pillow's number of the filter
    # Pixels of a patch, where the aspect is kept: the picture gets as many as there may be
    patch: int | None = None
    # Of these numbers of patches the smallest that the picture has by itself, else the largest
    patches: tuple[int, ...] = ()

    @staticmethod
    def of(config: Mapping[str, Any], side: int, *, crops: bool) -> Preprocessing:
        """As a preprocessor_config.json says.

        Args:
            config: its content; may be empty.
            side: pixels of the square that the model reads.
            crops: whether the family cuts the middle out where the file says nothing.

        Raises:
            R2D2Error: the file asks for another size than the model has, or an unknown filter.
        """
        size, crop = config.get("size"), config.get("crop_size")
        crops = bool(config.get("do_center_crop", crops))
        shortest = size.get("shortest_edge") if isinstance(size, Mapping) else size
        if isinstance(size, Mapping) and "height" in size:
            shortest = None
        if crops and shortest is None and not isinstance(size, Mapping):
            shortest = side
        made = crop if crops and crop is not None else size
        asked = made.get("height", side) if isinstance(made, Mapping) else made or side
        if asked != side:
            raise R2D2Error(
                f"preprocessor_config.json makes pictures of {asked} pixels, and the model takes "
                f"{side}: give the file that belongs to it"
            )
        chosen = _filter(config, Image.Resampling.BICUBIC)
        return Preprocessing(side, int(shortest) if shortest and crops else None, chosen)

    @staticmethod
    def flexible(
        config: Mapping[str, Any], side: int, patch: int, patches: tuple[int, ...] = ()
    ) -> Preprocessing:
        """Of SigLIP 2's towers of flexible resolution, as their own processor does it.

        Args:
            config: content of a preprocessor_config.json; may be empty.
            side: pixels of the square of all places that the model learned.
            patch: pixels of a patch.
            patches: see `Preprocessing.patches`; empty: the one number that `config` has.

        Raises:
            R2D2Error: the file has patches of another size, or an unknown filter.
        """
        told = config.get("patch_size", patch)
        if told != patch:
            raise R2D2Error(
                f"preprocessor_config.json has patches of {told} pixels, and the model takes "
                f"{patch}: give the file that belongs to it"
            )
        most = config.get("max_num_patches", (side // patch) ** 2)
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise R2D2Error(f"preprocessor_config.json: max_num_patches {most!r} is no count")
        chosen = _filter(config, Image.Resampling.BILINEAR)
        return Preprocessing(side, None, chosen, patch, patches or (most,))

    @property
    def usual(self) -> bool:
        """Whether it is our own, for which there is a faster way from a file."""
        return self == Preprocessing(self.side)

    def region(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """What is seen of a picture of `size`: left, top, right and bottom, 0 to 1 of its own."""
        if self.shortest is None:
            return 0.0, 0.0, 1.0, 1.0
        seen = min(size) * self.side / self.shortest  # pixels of the square, before resizing
        across, down = (min(1.0, seen / length) for length in size)
        return (1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2

    def differs(self) -> str:
        """What it does otherwise than ours, in words; empty where nothing."""
        parts = []
        if self.patch is not None:
            parts.append("keeps the aspect of pictures")
        if self.shortest is not None:
            parts.append(f"cuts the middle out of {self.shortest} pixels")
        if self.resample != Image.Resampling.BICUBIC:
            parts.append(f"resizes by {Image.Resampling(self.resample).name.lower()}")
        return " and ".join(parts)

    def shrink(self, image: Image.Image) -> Image.Image:
        """An RGB picture resized, but not cut; what was shrunk before stays as it is."""
        if self.usual:
            return Image.fromarray(resize(image, self.side))
        if self.patch is not None:
            return image  # its own size decides how many patches it gets
        if self.shortest is None:
            return image.resize((self.side, self.side), Image.Resampling(self.resample))
        image = _middle(image)
        short, long = sorted(image.size)
        longer = int(self.shortest * long / short)
        upright = image.width <= image.height
        size = (self.shortest, longer) if upright else (longer, self.shortest)
        return image.resize(size, Image.Resampling(self.resample))

    def __call__(self, image: Image.Image, name: str = "image") -> Pixels:
        """The pixels of a picture of any mode and size. BadImage where its file is broken."""
        return self._pixels(to_rgb(image, name=name))

    def _pixels(self, image: Image.Image) -> Pixels:
        """The pixels of an upright RGB picture."""
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
        """The pixels of an encoded picture. BadImage where it cannot be used."""
        if self.usual:
            return decode_resized(file, self.side, name=name)
        return self._pixels(decode_image(file, name=name))

    def square(self) -> Preprocessing:
        """The same, with the picture squeezed to the square of all places."""
        return Preprocessing(self.side, self.shortest, self.resample)

    def _whole_patches(self, size: tuple[int, int], patch: int) -> tuple[int, int]:
        """Width and height in whole patches, as large as the number of patches allows.

        The scale is halved in on as SigLIP 2's processor does it, which decides near whole numbers.
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
        """As plain data, for config.json."""
        return asdict(self)


def _filter(config: Mapping[str, Any], usual: Image.Resampling) -> int:
    """Pillow's number of the filter that a preprocessor_config.json names."""
    chosen = config.get("resample", usual.value)
    if chosen not in {f.value for f in Image.Resampling}:
        raise R2D2Error(f"preprocessor_config.json: resample {chosen!r} is none of Pillow's")
    return int(chosen)


def _middle(image: Image.Image) -> Image.Image:
    """At most LONGEST times as long as it is wide: a strip of a pixel's width would grow huge.

    What is cut off is far from the square that is cut out of the middle.
    """
    longest = LONGEST * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = (max(0, (length - longest) // 2) for length in image.size)
    width, height = (min(length, longest) for length in image.size)
    return image.crop((left, top, left + width, top + height))
