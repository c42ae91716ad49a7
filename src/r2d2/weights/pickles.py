"""Read files of torch.save as tensors and plain values, without running any code in them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from r2d2.errors import R2D2Error, first_line

_WEIGHTS_KEYS = ("model", "state_dict", "module")  # where checkpoints keep their weights
_REMEDY = "convert it to safetensors in an environment that you trust, and import that"


def load_pickled(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and what else the file holds: its name to what it is.

    Args:
        path: a file of torch.save, of any age.

    Raises:
        R2D2Error: it asks for more than tensors and plain values, which is where a file could
            run code; or it is damaged, compressed, or holds no weights.
    """
    zipped = _starts_with(path, b"PK\x03\x04")  # which is how torch tells, too
    if zipped:
        _check_archive(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        global_name = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        description = f"asks to load {global_name[1]}" if global_name else "holds more than tensors"
        raise R2D2Error(
            f"{path} {description}, which is not read since it could run code: {_REMEDY}"
        ) from error
    except (RuntimeError, ValueError, TypeError, EOFError, KeyError, OSError) as error:
        reason = first_line(error)
        raise R2D2Error(f"{path} is not a readable torch file ({reason}): {_REMEDY}") from error
    except Exception as error:  # a damaged pickle can end in any way
        raise R2D2Error(f"{path} is damaged ({type(error).__name__}): fetch it again") from error
    weights, others = _weights(content)
    if not weights:
        raise R2D2Error(f"{path} holds no weights: give a checkpoint, a dict of tensors by name")
    size = path.stat().st_size
    for name, tensor in weights.items():
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise R2D2Error(f"{path}: {name} is sparse or quantised: give the plain weights")
        if tensor.numel() * tensor.element_size() > size:  # a small storage, repeated by strides
            raise R2D2Error(f"{path}: {name} {tuple(tensor.shape)} is larger than the whole file")
    return weights, others


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise R2D2Error(f"cannot read {path}: {error.strerror}; check its rights") from error


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # BadZipFile, and what a damaged directory can raise besides
        raise R2D2Error(f"{path} is a damaged archive: fetch it again") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise R2D2Error(f"{path} is a compressed archive: torch.save writes none; unpack it first")
    if any(entry.filename.endswith("constants.pkl") for entry in entries):
        raise R2D2Error(f"{path} is a TorchScript program, not weights: {_REMEDY}")


def _weights(content: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of a checkpoint, and the names and kinds of all that stands beside them."""
    if not isinstance(content, Mapping):
        return {}, {}
    for key in _WEIGHTS_KEYS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(v, Tensor) for v in inner.values()):
            beside = {str(k): _kind(v) for k, v in content.items() if k != key}
            tensors, others = _split(inner)
            return tensors, {**beside, **{f"{key}.{k}": v for k, v in others.items()}}
    return _split(content)


def _split(content: Mapping[Any, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {str(k): v.detach() for k, v in content.items() if isinstance(v, Tensor)}
    others = {str(k): _kind(v) for k, v in content.items() if not isinstance(v, Tensor)}
    return tensors, others


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {len(value)}"
    return f"{value!r:.40}" if isinstance(value, (int, float, str)) else type(value).__name__
