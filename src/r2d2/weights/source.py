"""Open a source of weights, a folder, a file or a hub id, as tensors and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.tensor_files import load_tensors
from r2d2.weights.files import (
    CONFIG,
    PICKLED,
    PREPROCESSOR,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCAB,
    check_preprocessor,
    choose_weights,
    read_json,
    shards,
)
from r2d2.weights.hub import fetch, is_hub_id
from r2d2.weights.pickles import load_pickled

MAX_WEIGHTS = 64 << 30  # bytes a file; the largest published of these kinds has 4 GiB
MAX_TENSORS = 100_000


@dataclass(frozen=True)
class RawCheckpoint:
    """A checkpoint with its original names and shapes."""

    name: str  # as the user gave it
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]  # config.json beside the weights; empty where there is none
    others: Mapping[str, str]  # what the file holds beside tensors: name, and what it is
    folder: Path  # where the small files are
    preprocessor: Mapping[str, Any]
    tokenizer_settings: Mapping[str, Any] = field(default_factory=dict)

    def colours(self, statistic: str, usual: tuple[float, ...]) -> tuple[float, float, float]:
        """The "mean" or "std" of pixels by its processor, red, green and blue; else `usual`."""
        red, green, blue = self.preprocessor.get(f"image_{statistic}") or usual
        return red, green, blue

    @property
    def beside(self) -> dict[str, str]:
        """What the file holds beside tensors, with the reason why a report does not count it."""
        return {name: f"beside the weights: {about}" for name, about in self.others.items()}

    def refuse_missing(self, names: Sequence[str]) -> None:
        """Raise R2D2Error where our tensors `names` are not made of those of the checkpoint."""
        if names:
            raise R2D2Error(
                f"{self.name} lacks what makes {names[0]}, and {len(names) - 1} more: give the "
                "whole checkpoint"
            )

    def refuse_not_finite(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise R2D2Error for the first tensor that has values which are not finite."""
        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                raise R2D2Error(f"{self.name}: {name} holds no finite numbers: fetch it again")

    @property
    def tokenizer(self) -> Path | None:
        """vocab.txt, else tokenizer.json, where there is one."""
        files = (self.folder / name for name in (VOCAB, TOKENIZER))
        return next((file for file in files if file.is_file()), None)


def open_source(where: str | Path) -> RawCheckpoint:
    """Read a checkpoint without running any code in it.

    Args:
        where: a folder, a file (.safetensors, .bin, .pt, .pth), or a hub id, `owner/name` or
            `owner/name@revision`, where no such path exists and the network allows.

    Raises:
        R2D2Error: nothing is there, it is ambiguous, damaged, too large, or wants to run code.
    """
    path = Path(where)
    if not path.exists() and is_hub_id(str(where)):
        path = fetch(str(where))
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir() if file.is_file())
        folder, files = path, [path / name for name in shards(path, choose_weights(names, where))]
    elif path.is_file():
        folder = path.parent
        files = [folder / name for name in shards(folder, path.name)]
    else:
        raise R2D2Error(f"there is nothing at {where}: give a folder, a file, or a hub id")
    tensors: dict[str, Tensor] = {}
    others: dict[str, str] = {}
    for file in files:
        more, beside = _read_weights(file)
        twice = tensors.keys() & more.keys()
        if twice:
            raise R2D2Error(f"{file}: {min(twice)} stands in another part too: fetch it again")
        tensors |= more
        others |= beside
    if len(tensors) > MAX_TENSORS:
        raise R2D2Error(f"{where} holds {len(tensors)} tensors: no model read here has so many")
    settings = [read_json(folder / name) for name in (CONFIG, PREPROCESSOR, TOKENIZER_CONFIG)]
    config, preprocessor, tokenizer = settings
    check_preprocessor(preprocessor, folder / PREPROCESSOR)
    return RawCheckpoint(str(where), tensors, config, others, folder, preprocessor, tokenizer)


def _read_weights(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not file.is_file():
        raise R2D2Error(f"{file} is missing: fetch all parts of the checkpoint")
    if file.stat().st_size > MAX_WEIGHTS:
        raise R2D2Error(f"{file} is larger than {MAX_WEIGHTS >> 30} GiB: not a model read here")
    if file.suffix == ".safetensors":
        return load_tensors(file), {}
    if file.suffix in PICKLED:
        return load_pickled(file)
    raise R2D2Error(f"{file} is no weights file: .safetensors, .bin, .pt or .pth are read")
