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
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from r2d2.data.augment import MEAN, STD
from r2d2.data.preprocessing import Preprocessing
from r2d2.errors import R2D2Error
from r2d2.model.encoded_states import EncodedStates, embedded
from r2d2.onnx_models.folder import (
    Bytes,
    GraphEncoders,
    GraphTokenizer,
    Ints,
    folder_fingerprint,
    one_of_graphs,
    open_session,
)
from r2d2.tokenizer import check_length, read_engine

LAYOUT = "encoders.json"
PIXELS = ("normalised", "uint8")
TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
         "tensor(float)": np.float32, "tensor(float16)": np.float16}  # fmt: skip


class OnnxPair(GraphEncoders):
    """The two encoders that encoders.json describes."""

    has_match = False
    match_weight, top_k = 0.0, 1  # nothing is ranked again

    def __init__(self, folder: Path, layout: Mapping[str, Any], text_length: int | None) -> None:
        super().__init__(folder)
        image, text = layout["image"], layout["text"]
        self.preprocessing = Preprocessing(int(image["size"]))
        self.pixels = image["pixels"]
        if self.pixels not in PIXELS:
            raise R2D2Error(f"{folder / LAYOUT}: pixels are {self.pixels!r}, not one of {PIXELS}")
        self.mean = np.array(image.get("mean", MEAN), dtype=np.float32)
        self.std = np.array(image.get("std", STD), dtype=np.float32)
        longest = int(text["max_length"])
        check_length(folder, longest, text_length)
        length = text_length or longest
        self._files = [
            one_of_graphs(folder, part.get(key, name))
            for part, key, name in (
                (image, "file", "image.onnx"),
                (text, "file", "text.onnx"),
                (text, "tokenizer", "tokenizer.json"),
            )
        ]
        threads = torch.get_num_threads()
        self._image, self._text = (open_session(file, threads) for file in self._files[:2])
        engine = read_engine(self._files[2])
        pad = int(text.get("pad_id", (engine.padding or {}).get("pad_id", 0)))
        engine.enable_truncation(length)
        whole = None if text.get("pad_to_longest", True) else longest
        engine.enable_padding(pad_id=pad, pad_token=engine.id_to_token(pad) or "", length=whole)
        self.tokenizer = GraphTokenizer(engine, length)

    @cached_property
    def embed_dim(self) -> int:
        """Numbers of an embedding."""
        return int(self.encode_texts(["一"]).embedding.shape[1])

    @property
    def fingerprint(self) -> str:
        """Of the files and of how pictures and texts are put in."""
        settings = (self.preprocessing, self.pixels, self.mean.tolist(), self.std.tolist())
        return folder_fingerprint(self._files, settings, self.tokenizer.max_length)

    def encode_images(self, images: Iterable[Image.Image]) -> EncodedStates:
        """Encode pictures of any mode and size, squeezed to a square (bicubic)."""
        return self.encode_pixels([self.prepare(image) for image in images])

    def encode_pixel_batch(self, pixels: Bytes) -> EncodedStates:
        """Encode pixels (n, S, S, 3), normalised where encoders.json says so."""
        array: np.ndarray[Any, Any] = pixels
        if self.pixels == "normalised":
            scaled = (pixels.astype(np.float32) / 255 - self.mean) / self.std
            array = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        return _embed(self._image, [array])

    def encode_token_batch(self, ids: Ints, mask: Ints) -> EncodedStates:
        """Encode ids (n, L) under mask (n, L)."""
        return _embed(self._text, [ids, mask])

    def match(self, images: EncodedStates, texts: EncodedStates) -> Tensor:
        """It has no match head."""
        raise R2D2Error("a pair of ONNX encoders has no match head: use the embeddings")


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


def _embed(session: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> EncodedStates:
    """Arrays to the inputs in their order, in the types they ask for."""
    inputs = session.get_inputs()[: len(arrays)]
    feed = {
        node.name: array.astype(TYPES.get(node.type, array.dtype), copy=False)
        for node, array in zip(inputs, arrays, strict=False)
    }
    embedding = session.run(None, feed)[0]
    if embedding.ndim != 2:
        raise R2D2Error(f"an ONNX encoder gives {embedding.shape}: its first output must be (n, d)")
    return embedded(torch.from_numpy(np.asarray(embedding, dtype=np.float32)))
