"""What both kinds of ONNX models share: sessions, tokenizer, encoding in batches, fingerprint."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer as Engine

from r2d2.config import EvaluationConfig
from r2d2.data.preprocessing import Pixels, Preprocessing
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.hf_tokenizer import unknown_id
from r2d2.images.decode import to_rgb
from r2d2.model.encoded_states import EncodedStates
from r2d2.pretrained import Use
from r2d2.tokenizer import Tokenizer

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

CHUNK = 1 << 22  # bytes of a file in memory at a time


def open_session(path: Path, threads: int) -> Any:
    """A graph that ONNX Runtime runs on the CPU. R2D2Error where it cannot."""
    onnxruntime = require("onnx", "onnxruntime", "running an ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises errors of its own kinds
        raise R2D2Error(
            f"{path} is no ONNX model that runs here ({error}): export it again"
        ) from error


class GraphTokenizer(Tokenizer):
    """The tokenizer.json beside the graphs; it cuts and pads as they were made for."""

    def __init__(self, engine: Engine, max_length: int) -> None:
        self._engine = engine
        self.max_length = max_length
        vocab: dict[str, int] = engine.get_vocab()
        self.vocab_size = 1 + max(vocab.values(), default=0)
        self.unk_id = unknown_id(vocab)

    def encodings(self, texts: Sequence[str]) -> list[Any]:
        """Ids and masks of texts, cut and padded as tokenizer.json says."""
        return self._encode(texts, offsets=True)


class GraphEncoders(ABC):
    """An image graph and a text graph of a folder; see `r2d2.models.ImageTextModel`."""

    kind = "onnx"
    preprocessing: Preprocessing
    tokenizer: GraphTokenizer
    has_match: bool

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.batch_size = EvaluationConfig.batch_size  # items, or pairs, a forward pass

    @abstractmethod
    def encode_pixel_batch(self, pixels: Bytes) -> EncodedStates:
        """Encode pixels (n, S, S, 3)."""

    @abstractmethod
    def encode_token_batch(self, ids: Ints, mask: Ints) -> EncodedStates:
        """Encode ids (n, L) under mask (n, L), 1 where real."""

    def why_not(self, use: Use) -> str | None:
        """Why it cannot be used so; None: it can."""
        if use == "match" and self.has_match:
            return None
        reasons: dict[Use, str] = {
            "match": "has no pair scorer: use the embeddings",
            "export": "is in ONNX already: give the model that it was exported from",
            "fine-tune": "holds ONNX graphs, which cannot be trained: give the model that they "
            "were exported from",
        }
        return f"{self.folder} {reasons[use]}"

    def prepare(self, picture: Image.Image, name: str = "picture") -> Pixels:
        """A picture of any mode and size as the pixels (S, S, 3) that the model looks at."""
        return self.preprocessing(picture, name)

    def shrink(self, picture: Image.Image) -> Image.Image:
        """A picture as small as it can be while the model sees the same."""
        return self.preprocessing.shrink(to_rgb(picture))

    def read(self, file: bytes, name: str = "image") -> Pixels:
        """The pixels of an encoded picture. BadImage where it cannot be used."""
        return self.preprocessing.read(file, name)

    def encode_pixels(self, pixels: Sequence[Pixels]) -> EncodedStates:
        """Encode what `prepare` or `read` gave, at least one."""
        size = self.batch_size
        return EncodedStates.cat(
            [
                self.encode_pixel_batch(np.stack(pixels[start : start + size]))
                for start in range(0, len(pixels), size)
            ]
        )

    def encode_texts(self, texts: Iterable[str]) -> EncodedStates:
        """Encode sentences, cut at the text length."""
        sentences, size = list(texts), self.batch_size
        parts = []
        for start in range(0, len(sentences), size):
            encodings = self.tokenizer.encodings(sentences[start : start + size])
            ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
            parts.append(self.encode_token_batch(ids, mask))
        return EncodedStates.cat(parts)


def folder_fingerprint(files: Iterable[Path], *settings: object) -> str:
    """16 hex digits of the graphs, of weights beside them, and of the tokenizer."""
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
    for file in files:
        beside = file.with_name(f"{file.name}.data")  # of a graph past 2 GB
        for path in (file, beside) if beside.is_file() else (file,):
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                while block := stream.read(CHUNK):
                    digest.update(block)
    return digest.hexdigest()


def one_of_graphs(folder: Path, name: str) -> Path:
    """A file within the folder. R2D2Error where it is missing, or outside of it."""
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise R2D2Error(f"{folder} has no file {name!r}: export the encoders again")
    return path
