"""Export a model of ours to other layouts, where these have a place for all of it.

A layout that would make the other side compute something else is refused with the reason. Tensors
for which the other side has no place, and which it does not need, are left out and listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from r2d2.config import ModelConfig
from r2d2.errors import R2D2Error
from r2d2.files import whole_folder
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import UNK, Tokenizer
from r2d2.weights.files import CONFIG, WEIGHTS
from r2d2.weights.layout import BIASES, Layout, PickledFile, State
from r2d2.weights.layouts import SAFE_OFFICIAL, layout_of
from r2d2.weights.report import ExportReport, TensorMapping, check_out
from r2d2.weights.vocab import write_vocab

_TOKENIZER_NOTE = (
    "the vocabulary was trained here and folds full-width forms (NFKC): readers of vocab.txt alone "
    "will not, use tokenizer.json"
)


def export_weights(
    model: Pretrained,
    kind: str,
    out: str | Path,
    *,
    inputs: Iterable[str | Path] = (),
    overwrite: bool = False,
) -> ExportReport:
    """Write a model in another's layout.

    Args:
        model: as `r2d2.models.load_network` opens it.
        kind: one of `kinds()`. `official` and `chinese_clip_pt` are written by torch.save, since
            that is what their code reads: a dict of tensors that torch.load(weights_only=True)
            opens. All others are safetensors.
        out: the folder to write.
        inputs: what `out` must not replace, such as the folder of the model.
        overwrite: replace a folder at `out`.

    Raises:
        R2D2Error: the layout cannot hold this model, and why; or `out` may not be written.
    """
    layout, out = layout_of(kind), Path(out)
    check_out(out, overwrite, inputs)
    config = model.model.config
    state = {name: tensor.detach() for name, tensor in model.model.state_dict().items()}
    why = layout.refusals(config, state)
    if why:
        raise R2D2Error(f"{kind} cannot hold {model.name}: {'; '.join(why)}")
    tensors, mappings = _converted(layout, config, state)
    written = {mapping.ours for mapping in mappings}
    left_out = {name: layout.reason_left_out(name) for name in state if name not in written}
    pickle = None if kind == SAFE_OFFICIAL else layout.pickle
    with whole_folder(out) as work:
        files = _write_files(layout, pickle, work, config, tensors)
        files += write_vocab(model.tokenizer, work) if layout.has_vocabulary else []
    notes = layout.export_notes(config)
    if layout.has_vocabulary and _folds_width(model.tokenizer):
        notes = [*notes, _TOKENIZER_NOTE]
    return ExportReport(out, kind, tuple(files), tuple(mappings), left_out, tuple(notes))


def write_part(kind: str, folder: Path, config: ModelConfig, state: State) -> None:
    """Write weights and config.json of what `state` holds, in one of Hugging Face's layouts.

    Args:
        kind: bert, clip or chinese_clip.
        folder: is there.
        config: the model's.
        state: tensors by our names; those of a part that is not to be written are left out.
    """
    layout = layout_of(kind)
    tensors, _ = _converted(layout, config, state)
    _write_files(layout, None, folder, config, tensors)


def refusals(kind: str, config: ModelConfig, state: State) -> list[str]:
    """Return why a layout cannot hold a model; empty if it can."""
    return layout_of(kind).refusals(config, state)


def _converted(
    layout: Layout, config: ModelConfig, state: State
) -> tuple[dict[str, Tensor], list[TensorMapping]]:
    """Return the tensors of a layout, and which of our tensors each is made of."""
    if layout.biased and not config.projection_bias:
        state = {**state, **{name: torch.zeros(config.embed_dim) for name in BIASES}}
    tensors: dict[str, Tensor] = {}
    mappings: list[TensorMapping] = []
    for rule in layout.rules(config):
        if not set(rule.ours) <= state.keys():
            continue
        written = rule.write([state[name] for name in rule.ours])
        for name, tensor in zip(rule.theirs, written, strict=True):
            copy = tensor.clone(memory_format=torch.contiguous_format)
            tensors[layout.written_name(name, state)] = copy
        mappings += [TensorMapping(name, rule.theirs, rule.how) for name in rule.ours]
    return tensors, mappings


def _write_files(
    layout: Layout,
    pickle: PickledFile | None,
    folder: Path,
    config: ModelConfig,
    tensors: dict[str, Tensor],
) -> list[str]:
    """Write the weights, and config.json where the layout has one; gives the files' names."""
    if pickle is not None:
        torch.save({**pickle.others, pickle.key: tensors}, folder / pickle.name)
        return [pickle.name]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if layout.hf_config is None:
        return [WEIGHTS]
    settings = layout.hf_config(config, tensors)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return [WEIGHTS, CONFIG]


def _folds_width(tokenizer: Tokenizer) -> bool:
    """Whether full-width forms count as the half-width ones, which is not so in a plain BERT."""
    return tokenizer.tokens("ａ") == tokenizer.tokens("a") != [UNK]
