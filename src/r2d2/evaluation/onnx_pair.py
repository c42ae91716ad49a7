"""Two encoders as ONNX files: pixels to an embedding, tokens to an embedding.

    encoders.json   the layout below
    image.onnx      pixels (n, 3, size, size) float or (n, size, size, 3) uint8 -> (n, d)
    text.onnx       ids (n, L) and mask (n, L) -> (n, d)
    tokenizer.json  of the `tokenizers` package

encoders.json: {"image": {"file", "size", "pixels": "normalised" or "uint8", "mean", "std"},
"text": {"file", "tokenizer", "max_length", "pad_id", "pad_to_longest": true}}. Only `size`,
`pixels` and `max_length` must be there; mean and std are CLIP's where not given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from r2d2.data.augment import MEAN, STD
from r2d2.data.images import resize, to_rgb
from r2d2.errors import R2D2Error
from r2d2.evaluation.protocol import embedded
from r2d2.foreign_tokenizer import read_engine
from r2d2.model.side import Side

LAYOUT = "encoders.json"
PIXELS = ("normalised", "uint8")
TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
         "tensor(float)": np.float32, "tensor(float16)": np.float16}  # fmt: skip


class OnnxPair:
    """See `DualEncoder`."""

    has_match = False

    def __init__(self, folder: Path, layout: Mapping[str, Any], text_length: int | None) -> None:
        image, text = layout["image"], layout["text"]
        self.size, self.pixels = int(image["size"]), image["pixels"]
        if self.pixels not in PIXELS:
            raise R2D2Error(f"{folder / LAYOUT}: pixels are {self.pixels!r}, not one of {PIXELS}")
        self.mean = np.array(image.get("mean", MEAN), dtype=np.float32)
        self.std = np.array(image.get("std", STD), dtype=np.float32)
        longest = int(text["max_length"])
        if text_length is not None and text_length > longest:
            raise R2D2Error(
                f"{folder} takes {longest} tokens, not {text_length}: give at most that"
            )
        self.text_length = text_length or longest
        self._image = _session(_inside(folder, image.get("file", "image.onnx")))
        self._text = _session(_inside(folder, text.get("file", "text.onnx")))
        engine = read_engine(_inside(folder, text.get("tokenizer", "tokenizer.json")))
        pad = int(text.get("pad_id", (engine.padding or {}).get("pad_id", 0)))
        engine.enable_truncation(self.text_length)
        whole = None if text.get("pad_to_longest", True) else longest
        engine.enable_padding(pad_id=pad, pad_token=engine.id_to_token(pad) or "", length=whole)
        self._engine = engine

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts are longer than the text length."""
        return sum(bool(found.overflowing) for found in self._engine.encode_batch(list(texts)))

    def encode_images(self, images: Sequence[Image.Image]) -> Side:
        """The whole picture squeezed to a square, bicubic."""
        pixels = np.stack([resize(to_rgb(image), self.size) for image in images])
        if self.pixels == "normalised":
            scaled = (pixels.astype(np.float32) / 255 - self.mean) / self.std
            pixels = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        return _embed(self._image, [pixels])

    def encode_texts(self, texts: Sequence[str]) -> Side:
        """Cut at the text length."""
        found = self._engine.encode_batch(list(texts))
        ids = np.array([one.ids for one in found])
        mask = np.array([one.attention_mask for one in found])
        return _embed(self._text, [ids, mask])

    def match(self, images: Side, texts: Side) -> Tensor:
        """It has no match head."""
        raise R2D2Error("a pair of ONNX encoders has no match head")


def read(folder: Path, text_length: int | None = None) -> OnnxPair:
    """The encoders of a folder.

    Raises:
        R2D2Error: onnxruntime is not installed, or a file is missing or not as described above.
    """
    try:
        layout = json.loads((folder / LAYOUT).read_text(encoding="utf-8"))
        return OnnxPair(folder, layout, text_length)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise R2D2Error(
            f"{folder / LAYOUT} does not describe two encoders ({type(error).__name__}: {error}): "
            "see docs/evaluation.md"
        ) from error


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise R2D2Error(f"{folder} has no file {name!r}: export the encoders again")
    return path


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise R2D2Error('ONNX encoders need a package: pip install "zero-r2d2[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options)
    except Exception as error:  # the runtime raises errors of its own kinds
        raise R2D2Error(f"{path} is no ONNX model that runs here ({error})") from error


def _embed(session: Any, given: Sequence[np.ndarray[Any, Any]]) -> Side:
    """Arrays to the inputs in their order, in the types they ask for."""
    inputs = session.get_inputs()[: len(given)]
    feed = {
        node.name: array.astype(TYPES.get(node.type, array.dtype), copy=False)
        for node, array in zip(inputs, given, strict=False)
    }
    found = session.run(None, feed)[0]
    if found.ndim != 2:
        raise R2D2Error(f"an ONNX encoder gives {found.shape}: its first output must be (n, d)")
    return embedded(torch.from_numpy(np.asarray(found, dtype=np.float32)))
