"""What both kinds of ONNX folders share: sessions, tokenizer, fingerprint, what they cannot do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine

from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.hf_tokenizer import unknown_id
from r2d2.pretrained import Use
from r2d2.tokenizer import Tokenizer

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


def why_graphs_cannot(folder: Path, use: Use, has_match: bool) -> str | None:
    """Why a folder of graphs cannot be used so; None: it can."""
    graphs = f"{folder} holds ONNX graphs"
    if use == "match":
        return None if has_match else f"{folder} has no pair scorer: use the embeddings"
    if use == "export":
        return f"{folder} is in ONNX already: give the model that it was exported from"
    return f"{graphs}, which cannot be trained: give the model that they were exported from"


def one_of_graphs(folder: Path, name: str) -> Path:
    """A file within the folder. R2D2Error where it is missing, or outside of it."""
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise R2D2Error(f"{folder} has no file {name!r}: export the encoders again")
    return path
