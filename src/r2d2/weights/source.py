"""Where weights come from: a folder, a file or a hub id, read as tensors and settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from r2d2.errors import R2D2Error
from r2d2.weights.hub import fetch, is_hub_id
from r2d2.weights.native import load_tensors
from r2d2.weights.pickles import load_pickled

CONFIG, VOCAB, TOKENIZER = "config.json", "vocab.txt", "tokenizer.json"
PREPROCESSOR = "preprocessor_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
BESIDE = (
    CONFIG,
    VOCAB,
    TOKENIZER,
    TOKENIZER_CONFIG,
    PREPROCESSOR,
)  # small files that are read with the weights
PICKLED = (".bin", ".pt", ".pth")
MAX_WEIGHTS = 64 << 30  # bytes a file; the largest published of these kinds has 4 GiB
MAX_JSON = 64 << 20  # bytes
MAX_TENSORS = 100_000


@dataclass(frozen=True)
class Source:
    """One checkpoint, in the names and shapes of whoever wrote it."""

    name: str  # as the user gave it
    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]  # config.json beside the weights; empty where there is none
    others: Mapping[str, str]  # what the file holds beside tensors: name, and what it is
    folder: Path  # where the small files are
    preprocessor: Mapping[str, Any]
    tokenizer_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Path | None:
        """vocab.txt, else tokenizer.json, where there is one."""
        files = (self.folder / name for name in (VOCAB, TOKENIZER))
        return next((file for file in files if file.is_file()), None)


def open_source(where: str | Path) -> Source:
    """Read a checkpoint without running any code in it.

    Args:
        where: a folder, a file (.safetensors, .bin, .pt, .pth), or a hub id, `owner/name` or
            `owner/name@revision`, where no such path exists and the network allows.

    Raises:
        R2D2Error: nothing is there, it is ambiguous, damaged, too large, or wants to run code.
    """
    path = Path(where)
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir() if file.is_file())
        folder, files = path, [path / name for name in _shards(path, choose_weights(names, where))]
    elif path.is_file():
        folder = path.parent
        files = [folder / name for name in _shards(folder, path.name)]
    elif is_hub_id(str(where)):
        folder, files = _from_hub(str(where))
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
    settings = [_read_json(folder / name) for name in (CONFIG, PREPROCESSOR, TOKENIZER_CONFIG)]
    config, preprocessor, tokenizer = settings
    return Source(str(where), tensors, config, others, folder, preprocessor, tokenizer)


def choose_weights(names: Iterable[str], where: object) -> str:
    """The file that holds the weights, or the index of its parts; safetensors come first.

    Raises:
        R2D2Error: there is none, or there are several of one kind.
    """
    names = list(names)
    for stem in ("model.safetensors", "pytorch_model.bin"):
        for name in (stem, f"{stem}.index.json"):
            if name in names:
                return name
    for ends in ((".safetensors",), PICKLED):
        found = [name for name in names if name.endswith(ends) and name != "training_args.bin"]
        if len(found) > 1:
            raise R2D2Error(f"{where} holds {', '.join(found[:5])}: give one of these files")
        if found:
            return found[0]
    raise R2D2Error(f"{where} holds no weights: .safetensors, .bin, .pt or .pth are read")


def _shards(folder: Path, name: str) -> list[str]:
    """The files of an index, or the one file."""
    if not name.endswith(".index.json"):
        return [name]
    places = _read_json(folder / name).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise R2D2Error(f"{folder / name} has no weight_map: fetch it again")
    files = sorted({str(file) for file in places.values()})
    for file in files:
        if file != PurePosixPath(file).name or "\\" in file:
            raise R2D2Error(f"{folder / name} names {file}, outside of its folder: not read")
    return files


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


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON:
        raise R2D2Error(f"{path} is larger than {MAX_JSON >> 20} MiB: fetch it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise R2D2Error(f"{path} is not readable JSON ({error}): fetch it again") from error
    if not isinstance(content, dict):
        raise R2D2Error(f"{path} is no JSON object: fetch it again")
    return content


def _from_hub(where: str) -> tuple[Path, list[Path]]:
    listed, get = fetch(where)
    chosen = choose_weights(listed, where)
    folder = get(chosen).parent
    for name in BESIDE:
        if name in listed:
            get(name)
    return folder, [get(name) for name in _shards(folder, chosen)]
