"""Towers as a model of Hugging Face's classes: config.json and model.safetensors.

Towers that came from one of its dual encoders go back into that class; SigLIP 2's, which see a
square here, into SigLIP's, which is the same network on squares. Ours are Chinese-CLIP's where
every setting is one that it has. All others are two models, a BERT and a ViT of CLIP's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from r2d2.config import HfTowersConfig, ModelConfig
from r2d2.model.hf_towers import build_config, family_of
from r2d2.pretrained import Pretrained
from r2d2.weights.exporting import refusals, write_part
from r2d2.weights.files import CONFIG, WEIGHTS
from r2d2.weights.towers import PREFIXES

CHINESE_CLIP, SIGLIP, SIGLIP2 = "chinese_clip", "siglip", "siglip2"
CLASSES = {
    CHINESE_CLIP: "ChineseCLIPModel", "clip": "CLIPModel", SIGLIP: "SiglipModel",
}  # fmt: skip


@dataclass(frozen=True)
class Projection:
    """What follows one of two models: its states to an embedding that has no unit length yet."""

    weight: Tensor  # (d, width)
    bias: Tensor | None  # (d,)
    pooled: bool  # it reads the model's own pooled state; else the state of [CLS]


def dual_class(model: Pretrained) -> str | None:
    """The model_type of Hugging Face's that holds both towers; None: no class does."""
    config = model.model.config
    if config.hf_towers is not None:
        kind = SIGLIP if config.hf_towers.kind == SIGLIP2 else config.hf_towers.kind
        # SigLIP's embeddings are as wide as its heads: those of fewer numbers are another's.
        cut = kind == SIGLIP and config.embed_dim != config.vision.width
        return kind if kind in CLASSES and not cut else None
    return None if refusals(CHINESE_CLIP, config, _state(model)) else CHINESE_CLIP


def splits(model: Pretrained) -> bool:
    """Whether a BertModel and a CLIPVisionModel hold both towers.

    The latter has one last norm, and no convolutional stem.
    """
    config, vision = model.model.config, model.model.config.vision
    one_norm = not (vision.output_norm and vision.pooled_norm)
    return config.hf_towers is None and vision.stem == "patch" and one_norm


def write_dual(model: Pretrained, folder: Path) -> None:
    """Both towers as one model of the class that `dual_class` names."""
    config = model.model.config
    if config.hf_towers is None:
        write_part(CHINESE_CLIP, folder, config, _state(model))
        return
    tensors = {
        theirs + name.removeprefix(ours): tensor
        for name, tensor in _state(model).items()
        for theirs, ours in PREFIXES
        if name.startswith(ours)
    }
    settings: dict[str, Any] = json.loads(config.hf_towers.config)
    scale = -model.model.log_temperature.detach().float().reshape(())
    tensors["logit_scale"] = scale
    kind = config.hf_towers.kind
    if family_of(kind).sigmoid:
        # No embedding passes there; what is trained by a softmax has no bias.
        bias = _state(model).get("logit_bias", torch.zeros(1))
        tensors |= {"logit_scale": scale.reshape(1), "logit_bias": bias.reshape(1)}
    if "projection_dim" in settings:
        settings["projection_dim"] = config.embed_dim
    if kind == SIGLIP2:
        settings = _as_siglip(config.hf_towers, config, tensors)
    settings |= {
        "model_type": dual_class(model),
        "architectures": [CLASSES[str(dual_class(model))]],
    }
    _write(folder, settings, tensors)


def write_text_tower(model: Pretrained, folder: Path) -> Projection:
    """Our text tower as a BertModel."""
    state = _state(model)
    own = {name: t for name, t in state.items() if name.startswith("towers.text.")}
    write_part("bert", folder, model.model.config, own)
    return _projection(state, "towers.text_projection", pooled=False)


def write_image_tower(model: Pretrained, folder: Path) -> Projection:
    """Our image tower as a CLIPVisionModel, its pooled state normed as ours is; see `splits`."""
    state, config = _state(model), model.model.config
    vision = config.vision
    norm = "towers.vision.output_norm" if vision.output_norm else "towers.pooled_norm"
    own = {name: t for name, t in state.items() if name.startswith("towers.vision.")}
    for end, unused in (("weight", torch.ones), ("bias", torch.zeros)):
        own.pop(f"towers.vision.output_norm.{end}", None)
        # Where there is no norm the class has one all the same, that nobody reads.
        own[f"towers.pooled_norm.{end}"] = state.get(f"{norm}.{end}", unused(vision.width))
    normed = replace(config, vision=replace(vision, output_norm=False, pooled_norm=True))
    write_part("clip", folder, normed, own)
    pooled = vision.output_norm or vision.pooled_norm
    return _projection(state, "towers.image_projection", pooled=pooled)


def _state(model: Pretrained) -> dict[str, Tensor]:
    """All tensors, on the CPU in 32 bits."""
    return {
        name: tensor.detach().to("cpu", torch.float32)
        for name, tensor in model.model.state_dict().items()
    }


def _projection(state: Mapping[str, Tensor], name: str, *, pooled: bool) -> Projection:
    return Projection(state[f"{name}.weight"], state.get(f"{name}.bias"), pooled)


def _as_siglip(
    hf_towers: HfTowersConfig, config: ModelConfig, tensors: dict[str, Tensor]
) -> dict[str, Any]:
    """SigLIP's settings, and in `tensors` its convolution in the place of a matrix."""
    both = build_config(hf_towers)
    text, vision = both.text_config.to_dict(), both.vision_config.to_dict()
    name = "vision_model.embeddings.patch_embedding.weight"
    patch = int(vision["patch_size"])
    matrix = tensors[name]  # (d_v, p * p * 3): rows, columns, colours
    tensors[name] = matrix.view(-1, patch, patch, 3).permute(0, 3, 1, 2).contiguous()
    vision["image_size"] = config.vision.image_size
    vision.pop("num_patches", None)
    parts = {"text_config": text, "vision_config": vision}
    for part, kind in (
        ("text_config", "siglip_text_model"),
        ("vision_config", "siglip_vision_model"),
    ):
        kept = {key: value for key, value in parts[part].items() if value is not None}
        parts[part] = {**kept, "model_type": kind}
    return dict(parts)


def _write(folder: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(settings, indent=2), encoding="utf-8")
