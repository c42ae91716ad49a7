"""A model of ours in the layouts of others, where they can hold it.

What would make the other side compute something else is refused with the reason. What the other
side has no place for, and does not need for what it computes, is left out and listed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from r2d2.config import ModelConfig
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.models import load_network
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import UNK, Tokenizer
from r2d2.weights import bert, chinese_clip, clip_vision, official
from r2d2.weights.layouts import SAFE_OFFICIAL, layout_of
from r2d2.weights.report import ExportReport, TensorMapping, check_out
from r2d2.weights.vocab import write_vocab

_BIASES = ("towers.image_projection.bias", "towers.text_projection.bias")
_TOKENIZER_NOTE = (
    "the vocabulary was trained here and folds full-width forms (NFKC): readers of vocab.txt alone "
    "will not, use tokenizer.json"
)


def export_weights(
    model_dir: str | Path, kind: str, out: str | Path, overwrite: bool = False
) -> ExportReport:
    """Write a saved model in another's layout.

    Args:
        model_dir: a run's folder or its model/ folder, as `r2d2.load` takes it.
        kind: one of `kinds()`. `official` and `chinese_clip_pt` are written by torch.save, since
            that is what their code reads: a dict of tensors that torch.load(weights_only=True)
            opens. All others are safetensors.
        out: the folder to write.
        overwrite: replace a folder at `out`.

    Raises:
        R2D2Error: the layout cannot hold this model, and why; or nothing is there.
    """
    layout, out = layout_of(kind), Path(out)
    check_out(out, overwrite, [model_dir, Path(model_dir) / "model"])
    pretrained = load_network(model_dir, "export", "cpu")
    config = pretrained.model.config
    state = {name: tensor.detach() for name, tensor in pretrained.model.state_dict().items()}
    why = refusals(layout.name, config, state)
    if why:
        raise R2D2Error(f"{kind} cannot hold {model_dir}: {'; '.join(why)}")
    tensors, written = _write_tensors(layout.name, config, state)
    done = {used.ours for used in written}
    left_out = {name: _left(layout.name, name) for name in state if name not in done}
    with whole_folder(out) as work:
        files = _write_files(kind, work, tensors, pretrained)
    notes = _notes(layout.name, config, _folds_width(pretrained.tokenizer))
    return ExportReport(out, kind, tuple(files), tuple(written), left_out, tuple(notes))


def _folds_width(tokenizer: Tokenizer) -> bool:
    """Whether full-width forms count as the half-width ones, which is not so in a plain BERT."""
    return tokenizer.tokens("ａ") == tokenizer.tokens("a") != [UNK]


def write_part(layout: str, folder: Path, config: ModelConfig, state: Mapping[str, Tensor]) -> None:
    """Write weights and config.json of what `state` holds, in one of Hugging Face's layouts.

    Args:
        layout: bert, clip or chinese_clip.
        folder: is there.
        config: the model's.
        state: tensors by our names; those of a part that is not to be written are left out.
    """
    tensors, _ = _write_tensors(layout, config, state)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = _hf_config(layout, config, tensors)
    (folder / "config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def refusals(layout: str, config: ModelConfig, state: Mapping[str, Tensor]) -> list[str]:
    """Why a layout cannot hold a model; empty: it can."""
    if layout == "bert":
        return []
    if layout == "official":
        return official.not_official(config)
    if layout == "clip":
        why = clip_vision.not_clip(config.vision)
    else:
        why = chinese_clip.not_chinese_clip(config, fixed=layout == "chinese_clip_pt")
    biased = [name for name in _BIASES if name in state and bool(state[name].any())]
    if layout == "clip":
        biased = [n for n in biased if config.vision.pooled_norm and "image" in n]
    return [*why, *(f"{name} is not zero, there are no such biases" for name in biased)]


def _write_tensors(
    layout: str, config: ModelConfig, state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[TensorMapping]]:
    """Their tensors, and which of ours went where."""
    if layout == "official" and not config.projection_bias:
        sizes = {name: torch.zeros(config.embed_dim) for name in _BIASES}
        state = {**state, **sizes}
    tensors: dict[str, Tensor] = {}
    written: list[TensorMapping] = []
    for rule in layout_of(layout).rules(config):
        if not set(rule.ours) <= state.keys():
            continue
        made = rule.write([state[name] for name in rule.ours])
        for name, tensor in zip(rule.theirs, made, strict=True):
            tensors[_theirs(layout, name, state)] = tensor.clone(
                memory_format=torch.contiguous_format
            )
        written += [TensorMapping(name, rule.theirs, rule.how) for name in rule.ours]
    return tensors, written


def _theirs(layout: str, name: str, state: Mapping[str, Tensor]) -> str:
    """A name as the files of this layout have it."""
    if layout == "chinese_clip_pt":
        return f"module.{name}"  # the original code tells by this prefix how to read it
    if layout == "clip" and "towers.pooled_norm.weight" not in state:
        return name.removeprefix("vision_model.")
    whole_bert = layout == "bert" and "mlm_head.bias" in state and not name.startswith("cls.")
    return f"bert.{name}" if whole_bert else name


def _write_files(
    kind: str, work: Path, tensors: dict[str, Tensor], pretrained: Pretrained
) -> list[str]:
    config = pretrained.model.config
    if kind == "official":
        torch.save({"model": tensors}, work / "model.pth")
        return ["model.pth", *write_vocab(pretrained.tokenizer, work)]
    if kind == "chinese_clip_pt":
        torch.save({"epoch": 0, "step": 0, "name": "r2d2", "state_dict": tensors}, work / "clip.pt")
        return ["clip.pt", *write_vocab(pretrained.tokenizer, work)]
    save_file(tensors, work / "model.safetensors", metadata={"format": "pt"})
    files = ["model.safetensors"]
    if kind != SAFE_OFFICIAL:
        settings = _hf_config(kind, config, tensors)
        (work / "config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
        files.append("config.json")
    if kind == "clip":
        return files
    return [*files, *write_vocab(pretrained.tokenizer, work)]


def _hf_config(kind: str, config: ModelConfig, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if kind == "chinese_clip":
        return chinese_clip.hf_config(config)
    if kind == "clip":
        whole = "visual_projection.weight" in tensors
        name = "CLIPVisionModelWithProjection" if whole else "CLIPVisionModel"
        vision = clip_vision.hf_config(config.vision, config.embed_dim)
        return {"architectures": [name], **vision}
    name = "BertForMaskedLM" if "cls.predictions.bias" in tensors else "BertModel"
    return {"architectures": [name], **bert.hf_config(config)}


def _left(layout: str, name: str) -> str:
    """Why a tensor of ours is not written."""
    if name in _BIASES and layout not in ("bert", "clip"):
        return "all zero; the layout has no such biases"
    if layout == "bert":
        return "the layout holds a text encoder only"
    if layout == "clip":
        return "the layout holds an image encoder only"
    if name.startswith("mlm_head."):
        return "the layout has no head for masked tokens"
    return "the layout has no cross encoders: it can pre-rank, not rank again"


def _notes(layout: str, config: ModelConfig, folds: bool) -> list[str]:
    notes = []
    if layout == "official":
        notes.append(
            "position tables are filled with zeros up to 512 rows, which texts of "
            f"{config.text.max_length} tokens never reach; pooler, post_layernorm and the cross "
            "encoders' embedding tables are not written, its forward pass never reads them"
        )
        size = official.other_size(config)
        notes += [size] if size else []
    if layout == "chinese_clip_pt":
        notes.append(
            "position tables are filled with zeros up to 512 rows: keep context_length at "
            f"{config.text.max_length} or less"
        )
    if layout == "clip" and not config.vision.pooled_norm:
        notes.append(
            "post_layernorm is not written, ours has none: use last_hidden_state, not pooler_output"
        )
    if layout != "clip" and folds:
        notes.append(_TOKENIZER_NOTE)
    return notes
