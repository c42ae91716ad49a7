"""A dual encoder of Hugging Face's classes, its pictures resized as by its own processor.

No code of a checkpoint is run: the classes are those of the `transformers` package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from r2d2.data.augment import normalize
from r2d2.data.images import to_rgb
from r2d2.errors import R2D2Error
from r2d2.model.side import Side
from r2d2.pretrained import Pretrained, default_device
from r2d2.weights.source import open_source
from r2d2.weights.towers import read_towers

CHINESE_CLIP_LENGTH = 52  # tokens, at which its own code cuts


@dataclass(frozen=True)
class Resizing:
    """From a picture to a square of pixels, as a preprocessor_config.json says."""

    side: int  # pixels of the square
    shortest: int | None  # resize the shorter edge to this, then cut the middle out; None: squeeze
    filter: Image.Resampling

    @staticmethod
    def of(config: Mapping[str, Any], side: int, *, crops: bool) -> Resizing:
        """`crops`: what the family does where the file says nothing.

        Raises:
            R2D2Error: the file asks for another size than the model has.
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
        known = {f.value for f in Image.Resampling}
        chosen = config.get("resample", Image.Resampling.BICUBIC.value)
        if chosen not in known:
            raise R2D2Error(f"preprocessor_config.json: resample {chosen!r} is none of Pillow's")
        return Resizing(
            side, int(shortest) if shortest and crops else None, Image.Resampling(chosen)
        )

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """(side, side, 3)."""
        image = to_rgb(image)
        if self.shortest is None:
            return np.array(image.resize((self.side, self.side), self.filter), dtype=np.uint8)
        short, long = sorted(image.size)
        longer = int(self.shortest * long / short)
        upright = image.width <= image.height
        size = (self.shortest, longer) if upright else (longer, self.shortest)
        image = image.resize(size, self.filter)
        left, top = (image.width - self.side) // 2, (image.height - self.side) // 2
        cut = image.crop((left, top, left + self.side, top + self.side))
        return np.array(cut, dtype=np.uint8)


class HuggingFace:
    """See `DualEncoder`."""

    has_match = False

    def __init__(self, model: Pretrained, resizing: Resizing) -> None:
        self.model = model
        self.resizing = resizing

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Side:
        """As its own processor and model do."""
        pixels = torch.from_numpy(np.stack([self.resizing(image) for image in images]))
        network = self.model.model
        return network.encode_images(normalize(pixels.to(network.towers.device)))

    def encode_texts(self, texts: Sequence[str]) -> Side:
        """Cut at the text length."""
        return self.model.encode_texts(texts)

    def match(self, images: Side, texts: Side) -> Tensor:
        """It has no match head."""
        raise R2D2Error("this model has no match head: use the embeddings")


def read(source: str | Path, text_length: int | None = None) -> HuggingFace:
    """A folder or hub id.

    Raises:
        R2D2Error: another kind of model, missing files, tensors that do not fit, or a length that
            the text tower cannot take.
    """
    opened = open_source(source)
    kind = str(opened.config.get("model_type"))
    length = CHINESE_CLIP_LENGTH if kind == "chinese_clip" and not text_length else text_length
    model, _, _ = read_towers(opened, cross_layers=0, max_length=length, masks=False)
    longest = model.tokenizer.max_length
    if text_length is not None and text_length > longest:
        raise R2D2Error(
            f"{source} has places for {longest} tokens, not {text_length}: give at most that"
        )
    model.model.to(default_device())
    side = model.model.config.vision.image_size
    resizing = Resizing.of(opened.preprocessor, side, crops=kind == "clip")
    return HuggingFace(model, resizing)
