"""Folders of saved models: where their files are, and reading them without or with the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from r2d2.arguments import default_device, usable_device
from r2d2.config import ModelConfig, from_dict
from r2d2.data.preprocessing import Preprocessing
from r2d2.errors import R2D2Error
from r2d2.hf_tokenizer import load_tokenizer
from r2d2.model.r2d2 import R2D2
from r2d2.pretrained import CONFIG, TOKENIZER, WEIGHTS, Pretrained
from r2d2.tensor_files import load_weights

SHIPPED = "emoji"  # the model that comes with the package, r2d2/shipped/emoji


class _NoDraws(TorchFunctionMode):
    """Passes over random draws, for weights that are read from a file.

    The meta device would do so too, but it loads a part of torch's compiler: a second of time.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "trunc_normal_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def shipped_folder() -> Path:
    """Where the model that comes with the package lies, with its card (README.md)."""
    return Path(str(resources.files("r2d2"))) / "shipped" / SHIPPED


def saved_folder(folder: Path) -> Path | None:
    """The folder itself or its model/, whichever holds a saved model; None if neither does."""
    for candidate in (folder / "model", folder):
        if all((candidate / name).is_file() for name in (CONFIG, WEIGHTS)):
            return candidate
    return None


def saved_config(folder: Path) -> ModelConfig:
    """The shape of a saved model, without reading its weights."""
    return _read_config(folder / CONFIG).model


def saved_widths(folder: Path) -> tuple[int, ...]:
    """The widths to which a saved model's embeddings may be cut, without reading its weights."""
    return _read_config(folder / CONFIG).widths


def read_saved(folder: Path, device: str | int | torch.device | None = None) -> Pretrained:
    """The model in a folder that `Pretrained.save` wrote.

    Args:
        folder: as `saved_folder` gives it.
        device: of the model; None: the GPU where there is one.

    Raises:
        R2D2Error: files that are damaged or do not fit one another, or no such device here.
    """
    saved = _read_config(folder / CONFIG)
    target_device = default_device() if device is None else usable_device(device)
    if saved.model.hf_towers is None:
        with target_device, _NoDraws():
            model = R2D2(saved.model)
    else:  # others' classes hold buffers that no file has
        model = R2D2(saved.model).to(target_device)
    load_weights(model, folder / WEIGHTS)
    tokenizer, text = load_tokenizer(folder / TOKENIZER, saved.model), saved.model.text
    if tokenizer.vocab_size > text.vocab_size or tokenizer.max_length > text.max_length:
        raise R2D2Error(
            f"{folder / TOKENIZER} is another model's: {tokenizer.vocab_size} tokens and texts of "
            f"{tokenizer.max_length}, where the model has {text.vocab_size} and "
            f"{text.max_length}; save the model again"
        )
    return Pretrained(
        model, tokenizer, saved.match_weight, saved.top_k, preprocessing=saved.preprocessing,
        widths=saved.widths,
    )  # fmt: skip


@dataclass(frozen=True)
class _SavedSettings:
    """A config.json of ours."""

    model: ModelConfig
    match_weight: float
    top_k: int
    preprocessing: Preprocessing
    widths: tuple[int, ...]


def _read_config(path: Path) -> _SavedSettings:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        model = from_dict(ModelConfig, config["model"], "model")
        side = model.vision.image_size
        preprocessing_settings = config.get("preprocessing", {"side": side})
        preprocessing = from_dict(Preprocessing, preprocessing_settings, "preprocessing")
        if preprocessing.side != side:
            raise R2D2Error(f"pictures of {preprocessing.side} pixels, and the model takes {side}")
        widths = tuple(int(width) for width in config.get("widths", ()))
        return _SavedSettings(
            model, float(config["match_weight"]), int(config["top_k"]), preprocessing, widths
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, R2D2Error) as error:
        raise R2D2Error(
            f"{path} is damaged, or of a newer version of r2d2 ({error}): save the model again, "
            "or update r2d2"
        ) from error
