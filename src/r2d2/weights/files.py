"""Find the files of a checkpoint that hold the weights, and read the JSON files beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from r2d2.errors import R2D2Error

CONFIG, VOCAB, TOKENIZER = "config.json", "vocab.txt", "tokenizer.json"
WEIGHTS = "model.safetensors"
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
MAX_JSON = 64 << 20  # bytes


def choose_weights(names: Iterable[str], where: object) -> str:
    """The file that holds the weights, or the index of its parts; safetensors come first.

    Raises:
        R2D2Error: there is none, or there are several of one kind.
    """
    names = list(names)
    for stem in (WEIGHTS, "pytorch_model.bin"):
        for name in (stem, f"{stem}.index.json"):
            if name in names:
                return name
    for ends in ((".safetensors",), PICKLED):
        files = [name for name in names if name.endswith(ends) and name != "training_args.bin"]
        if len(files) > 1:
            raise R2D2Error(f"{where} holds {', '.join(files[:5])}: give one of these files")
        if files:
            return files[0]
    raise R2D2Error(f"{where} holds no weights: .safetensors, .bin, .pt or .pth are read")


def shards(folder: Path, name: str) -> list[str]:
    """The files of an index, or the one file."""
    if not name.endswith(".index.json"):
        return [name]
    file_of_tensor = read_json(folder / name).get("weight_map")
    if not isinstance(file_of_tensor, dict) or not file_of_tensor:
        raise R2D2Error(f"{folder / name} has no weight_map: fetch it again")
    files = sorted({str(file) for file in file_of_tensor.values()})
    for file in files:
        if file != PurePosixPath(file).name or "\\" in file:
            raise R2D2Error(f"{folder / name} names {file}, outside of its folder: not read")
    return files


def check_preprocessor(settings: Mapping[str, Any], path: Path) -> None:
    """Check the numbers of a preprocessor_config.json that are read here.

    Raises:
        R2D2Error: a mean or deviation that is not three numbers, or a size that is no pixels.
    """
    for name in ("image_mean", "image_std"):
        value = settings.get(name)
        if value is None:
            continue
        numbers = value if isinstance(value, list) else []
        good = [n for n in numbers if type(n) in (int, float) and math.isfinite(n)]
        if len(good) != len(numbers) or len(numbers) != 3:
            raise R2D2Error(
                f"{path}: {name} is {value!r}, not three numbers: give the file as it was saved"
            )
        if name == "image_std" and min(good) <= 0:
            raise R2D2Error(
                f"{path}: {name} is {value!r}, not above 0: give the file as it was saved"
            )
    for name in ("size", "crop_size"):
        value = settings.get(name)
        sizes = list(value.values()) if isinstance(value, dict) else [value]
        if any(s is not None and (type(s) is not int or s < 1) for s in sizes):
            raise R2D2Error(
                f"{path}: {name} is {value!r}, not pixels: give the file as it was saved"
            )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is no file; raise R2D2Error where it is damaged."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON:
        raise R2D2Error(f"{path} is larger than {MAX_JSON >> 20} MiB: fetch it again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise R2D2Error(f"{path} is no JSON ({error}): give the file as it was saved") from error
    if not isinstance(content, dict):
        raise R2D2Error(f"{path} is no JSON object: give the file as it was saved")
    return content
