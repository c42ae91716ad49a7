"""Tokenizer and image processor beside a model of Hugging Face's classes, which do as ours do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from r2d2.data.augment import MEAN, STD
from r2d2.pretrained import Pretrained
from r2d2.weights.files import PREPROCESSOR, TOKENIZER, TOKENIZER_CONFIG


def write_tokenizer(model: Pretrained, folder: Path) -> None:
    """tokenizer.json as it is, and how it cuts and pads.

    The class is named: one that is derived from the kind of model would build a tokenizer of its
    own from the vocabulary, without our folding of full-width forms.
    """
    tokenizer = model.tokenizer
    tokenizer.save(folder / TOKENIZER)
    engine = tokenizer._engine
    roles = {"pad_token": tokenizer.pad_id, "unk_token": tokenizer.unk_id}
    if not reads_padding(model):
        roles["mask_token"] = tokenizer.mask_id
    names = {role: engine.id_to_token(index) for role, index in roles.items() if index >= 0}
    inputs = ["input_ids"] if reads_padding(model) else ["input_ids", "attention_mask"]
    _write(folder / TOKENIZER_CONFIG, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.max_length,
        "padding_side": "right",
        "truncation_side": "right",
        # A user who types "[MASK]" means these six characters.
        "split_special_tokens": bool(engine.encode_special_tokens),
        "model_input_names": inputs,
        **{role: name for role, name in names.items() if name is not None},
    })  # fmt: skip


def write_image_processor(model: Pretrained, folder: Path) -> None:
    """Resizing by Pillow, as here: that of torchvision differs by a grey level."""
    preprocessing, hf_towers = model.preprocessing, model.model.config.hf_towers
    square = {"height": preprocessing.side, "width": preprocessing.side}
    shortest = preprocessing.shortest
    mean, std = (MEAN, STD) if hf_towers is None else (hf_towers.mean, hf_towers.std)
    _write(folder / PREPROCESSOR, {
        "image_processor_type": "CLIPImageProcessorPil",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if shortest is None else {"shortest_edge": shortest},
        "resample": preprocessing.resample,
        "do_center_crop": shortest is not None,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
    })  # fmt: skip


def reads_padding(model: Pretrained) -> bool:
    """Whether its text tower looks at padding, so that texts are padded to all places."""
    towers: Any = model.model.towers
    return model.model.config.hf_towers is not None and bool(towers.family.every_place)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
