"""Any model behind one protocol: ours, Hugging Face's, an ONNX pair, embeddings made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from r2d2.errors import R2D2Error
from r2d2.evaluation.protocol import DualEncoder

if TYPE_CHECKING:
    from r2d2.pretrained import Pretrained

KINDS = (
    "a run's folder or a saved model's",
    "a Hugging Face folder or hub id of a ChineseCLIP, CLIP, SigLIP or SigLIP 2 model",
    "a folder of `r2d2 export onnx`, or one with encoders.json, image.onnx and text.onnx",
    "a folder with images.npy or images.parquet, and the same of texts",
)
CONFIG = "config.json"
TOP_K = 32  # for models that say nothing of it


@dataclass(frozen=True)
class Opened:
    """A model, and what a report says of it."""

    encoder: DualEncoder
    kind: str  # r2d2, hugging face, onnx or embeddings
    name: str
    text_length: int | None  # tokens at which texts are cut; None: not known here
    cut: Callable[[Sequence[str]], int] | None  # how many texts are cut
    pretrained: Pretrained | None = None  # where it is ours
    match_weight: float = 1.0  # as saved with the model
    candidates: int = TOP_K  # of the second stage, as saved with the model


def open_model(source: str | Path, *, text_length: int | None = None) -> Opened:
    """Tell the kind of a source by its files, and load it.

    Args:
        source: see `KINDS`.
        text_length: tokens at which texts are cut; None: as the model is used.

    Raises:
        R2D2Error: nothing that is known lies there, it is damaged, or cannot take such a length.
    """
    from r2d2.evaluation import onnx_pair, precomputed

    folder = Path(source)
    if not folder.exists() and str(source).count("/") == 1 and not str(source).startswith("."):
        return _hugging_face(source, text_length)
    if (folder / onnx_pair.LAYOUT).is_file():
        return _onnx(folder, text_length)
    if precomputed.is_there(folder):
        if text_length is not None:
            raise R2D2Error(
                f"{source} holds embeddings: leave --text-length out, the texts were cut elsewhere"
            )
        return Opened(precomputed.read(folder), "embeddings", folder.name, None, None)
    config = _config(folder)
    if "graphs" in config:
        return _exported(folder, config, text_length)
    if "model_type" in config:
        return _hugging_face(source, text_length)
    return _ours(source, text_length)


def _config(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _ours(source: str | Path, text_length: int | None) -> Opened:
    from r2d2.pretrained import load

    try:
        model = load(source)
    except R2D2Error as error:
        if "no model at" not in str(error):
            raise
        kinds = "; ".join(KINDS)
        raise R2D2Error(f"there is no model at {source}: give {kinds}; or 'emoji'") from error
    tokenizer = model.tokenizer
    if text_length is not None:
        longest = model.model.config.text.max_length
        if text_length > longest:
            raise R2D2Error(
                f"{source} has places for {longest} tokens, not {text_length}: give at most that"
            )
        tokenizer.limit(text_length)
    return Opened(
        model,
        "r2d2",
        _name(source),
        tokenizer.max_length,
        tokenizer.cut,
        model,
        model.match_weight,
        model.top_k,
    )


def _hugging_face(source: str | Path, text_length: int | None) -> Opened:
    from r2d2.evaluation.hugging_face import read

    encoder = read(source, text_length)
    tokenizer = encoder.model.tokenizer
    return Opened(encoder, "hugging face", _name(source), tokenizer.max_length, tokenizer.cut)


def _exported(folder: Path, config: Mapping[str, object], text_length: int | None) -> Opened:
    """What `r2d2 export onnx` wrote; with its pair scorer, where there is one."""
    from r2d2.deploy.runtime import OnnxModel

    longest = int(str(config.get("max_length", 64)))
    if text_length is not None and text_length != longest:
        raise R2D2Error(
            f"{folder} was exported for texts of {longest} tokens: leave --text-length out"
        )
    model = OnnxModel(folder)

    def cut(texts: Sequence[str]) -> int:
        return sum(bool(one.overflowing) for one in model.tokenizer.encode_batch(list(texts)))

    weight, top_k = float(str(config["match_weight"])), int(str(config["top_k"]))
    return Opened(model, "onnx", folder.name, longest, cut, match_weight=weight, candidates=top_k)


def _onnx(folder: Path, text_length: int | None) -> Opened:
    from r2d2.evaluation.onnx_pair import read

    encoder = read(folder, text_length)
    return Opened(encoder, "onnx", folder.name, encoder.text_length, encoder.cut)


def _name(source: str | Path) -> str:
    """The last part of a path that says something."""
    path = Path(source)
    while path.name in ("model", "run") and path.parent.name:
        path = path.parent
    return path.name
