"""Import Hugging Face's dual encoders into a model folder, with new cross encoders on top."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Engine
from tokenizers import normalizers
from torch import Tensor

from r2d2.config import LOGIT_BIAS, HfTowersConfig, ModelConfig, TextConfig
from r2d2.errors import R2D2Error
from r2d2.hf_tokenizer import HfTokenizer
from r2d2.model.families import FAMILIES
from r2d2.model.hf_towers import build_config, family_of
from r2d2.pretrained import Pretrained
from r2d2.tokenizer import Tokenizer, read_engine
from r2d2.weights import fgclip2
from r2d2.weights.files import TOKENIZER, VOCAB
from r2d2.weights.importing import AssembledModel, initialised
from r2d2.weights.longer_texts import with_longer_texts
from r2d2.weights.report import ImportReport, SourceReport, TensorMapping, check_out
from r2d2.weights.source import RawCheckpoint, open_source
from r2d2.weights.vocab import read_tokenizer

# Theirs to ours; the first that fits is taken.
PREFIXES = (
    ("vision_model.", "towers.vision."),
    ("text_model.", "towers.text."),
    ("visual_projection.", "towers.image_projection."),
    ("text_projection.", "towers.text_projection."),
)


@dataclasses.dataclass(frozen=True)
class CheckpointAdapter:
    """How the checkpoint of a model_type is read as towers of a family of `model/families.py`."""

    family: str
    # from its own layout, for texts of a length, into that of the family; None: it is in that
    convert: Callable[[RawCheckpoint, int | None], fgclip2.ConvertedCheckpoint] | None = None
    patch_counts: tuple[int, ...] = ()  # of a picture of any aspect; (): as its processor says


ADAPTERS: Mapping[str, CheckpointAdapter] = {  # by model_type of config.json
    **{family: CheckpointAdapter(family) for family in FAMILIES},
    "fgclip2": CheckpointAdapter(fgclip2.FAMILY, fgclip2.as_siglip2, fgclip2.PATCHES),
}
MASKS = ("[MASK]", "<mask>")
SUMMED = ("position_ids", "token_type_ids")


@dataclasses.dataclass(frozen=True)
class TowerOptions:
    """The user's options for importing towers of Hugging Face's classes."""

    cross_layers: int = 6  # of each cross encoder, initialised afresh; 0: none
    # Tokens of a text; None: as many as a text tower has places (Chinese-CLIP: 52), of a single
    # encoder `fresh`'s at most
    max_length: int | None = None
    mask_token: str | None = None  # stands for masked tokens, where the vocabulary has no mask
    # Settings that the towers do not fix, such as the temperature
    fresh: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    seed: int = 0  # of what is initialised
    embed_dim: int | None = None  # of a pair of encoders: numbers of an embedding; None: `fresh`'s
    # Of a pair: pixels; None: as its processor makes them, else the encoder's own
    image_size: int | None = None


def import_towers(
    source: str | Path,
    out: str | Path,
    options: TowerOptions | None = None,
    *,
    overwrite: bool = False,
) -> ImportReport:
    """Read a Hugging Face folder and write one that `r2d2.load` opens.

    Args:
        source: a folder or hub id with config.json, weights, and tokenizer.json or vocab.txt.
        out: the folder to write; `import.json` there accounts for every tensor.
        options: what the towers leave open; None: the defaults. A `max_length` beyond the places
            of CLIP's or SigLIP's text tower stretches these; see `weights/longer_texts.py`.
        overwrite: replace a folder at `out`.

    Raises:
        R2D2Error: another kind of model, missing files, or tensors that do not fit.
    """
    out = Path(out)
    check_out(out, overwrite, [source])
    read = open_source(source)
    return read_towers(read, options or TowerOptions(), to_train=True).write(out)


def read_towers(
    read: RawCheckpoint, options: TowerOptions, *, to_train: bool = False
) -> AssembledModel:
    """The model of an opened source, in memory; see `import_towers`.

    `to_train`: a token must be found that stands for masked ones, and a `max_length` beyond the
    places of the text tower makes more of them; else it is cut to these.
    """
    model_type = str(read.config.get("model_type"))
    if model_type not in ADAPTERS:
        raise R2D2Error(
            f"{read.name} is a model of type {model_type!r}: towers are taken from "
            f"{', '.join(ADAPTERS)}"
        )
    adapter, converted, max_length = ADAPTERS[model_type], None, options.max_length
    if adapter.convert is not None:
        converted = adapter.convert(read, max_length)
        read, max_length = converted.source, None
    kind = adapter.family
    if to_train and max_length is not None:
        positions = _text_positions(read, kind)
        if max_length > positions:
            read = with_longer_texts(read, positions, max_length)
    options = dataclasses.replace(options, max_length=max_length)
    config, tokenizer = _settings(read, kind, options, to_train)
    model = initialised(config, options.seed)
    state = dict(model.state_dict())
    imported = _fill(state, read)
    if converted is not None:
        imported = converted.account(imported)
    model.load_state_dict(state)
    assembled = AssembledModel(Pretrained(model, tokenizer), (imported,), _notes(config))
    read.refuse_missing([name for name in assembled.fresh if name.startswith("towers.")])
    return assembled


def _text_positions(read: RawCheckpoint, kind: str) -> int:
    """Return the number of positions of a checkpoint's text tower."""
    return family_of(kind).text_positions(build_config(_without_tokens(read, kind)))


def _without_tokens(read: RawCheckpoint, kind: str) -> HfTowersConfig:
    """Return the settings of the towers, without those that depend on the tokenizer."""
    plain = {
        name: value
        for name, value in read.config.items()
        if name in ("text_config", "vision_config", "projection_dim", "model_type")
    }
    mean, std = family_of(kind).pixels
    return HfTowersConfig(
        kind,
        json.dumps(plain, sort_keys=True),
        read.colours("mean", mean), read.colours("std", std), 0, 0, 0, (),
    )  # fmt: skip


def _settings(
    read: RawCheckpoint, kind: str, options: TowerOptions, need_mask: bool
) -> tuple[ModelConfig, Tokenizer]:
    """The shape of the model and its tokenizer."""
    family, roles = family_of(kind), _without_tokens(read, kind)
    both = build_config(roles)
    text, positions = both.text_config, family.text_positions(both)
    length = min(options.max_length or positions, positions)
    if family.every_place and length != positions:
        raise R2D2Error(
            f"{read.name} reads a text at its last place, {positions}: leave --max-length out"
        )
    if options.max_length is None:
        length = min(length, family.usual_length or length)
    mask_token = options.mask_token
    tokenizer, roles = read_text_settings(read, roles, text, length, mask_token, need_mask)
    config = model_shape(roles, both, tokenizer, options)
    if "logit_bias" in read.tensors:
        config = dataclasses.replace(config, logit_bias=LOGIT_BIAS)
    return config, tokenizer


def read_text_settings(
    read: RawCheckpoint,
    roles: HfTowersConfig,
    text: Any,
    length: int,
    mask_token: str | None,
    need_mask: bool,
) -> tuple[Tokenizer, HfTowersConfig]:
    """The tokenizer beside a text tower, and `roles` with what it says of tokens.

    Args:
        read: the source of the text tower.
        roles: of the towers, without what the tokenizer tells.
        text: Hugging Face's settings of the text tower.
        length: tokens at which texts are cut.
        mask_token: see `import_towers`.
        need_mask: whether a token must be found that stands for masked ones.

    Raises:
        R2D2Error: there is none, or it is another model's.
    """
    family = family_of(roles.kind)
    tokenizer: Tokenizer
    if family.bert_vocabulary:
        path = read.tokenizer
        if path is None:
            raise R2D2Error(f"there is no {VOCAB} or {TOKENIZER} beside {read.name}: fetch it too")
        tokenizer = read_tokenizer(path, length, family.longest_word)
        token_ids = (tokenizer.pad_id, tokenizer.mask_id, tuple(sorted(tokenizer.special_ids)))
    else:
        path = read.folder / TOKENIZER
        if not path.is_file():
            raise R2D2Error(
                f"there is no {TOKENIZER} beside {read.name}: save its fast tokenizer there"
            )
        engine = read_engine(path)
        if family.lower_case:
            engine.normalizer = _lower(engine.normalizer)
        token_ids = _roles(engine, read, text, mask_token, need_mask)
    roles = dataclasses.replace(
        roles, length=length, pad_id=token_ids[0], mask_id=token_ids[1], special_ids=token_ids[2]
    )
    if not family.bert_vocabulary:
        tokenizer = HfTokenizer(engine, roles)
    if tokenizer.vocab_size > text.vocab_size:
        raise R2D2Error(
            f"the tokenizer beside {read.name} has {tokenizer.vocab_size} tokens and its text "
            f"tower {text.vocab_size}: give the one it was trained with"
        )
    return tokenizer, roles


def model_shape(
    roles: HfTowersConfig, both: Any, tokenizer: Tokenizer, options: TowerOptions
) -> ModelConfig:
    """The shape of a model on these towers."""
    family, text = family_of(roles.kind), both.text_config
    return dataclasses.replace(
        options.fresh,
        vision=family.vision_shape(both),
        text=TextConfig(
            vocab_size=text.vocab_size,
            max_length=tokenizer.max_length,
            width=text.hidden_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
        ),
        cross_layers=options.cross_layers,
        embed_dim=family.embed_dim(both),
        hf_towers=roles,
    )


def _lower(normalizer: Any) -> Any:
    lower = normalizers.Lowercase()
    return lower if normalizer is None else normalizers.Sequence([lower, normalizer])


def _roles(
    engine: Engine, read: RawCheckpoint, text: Any, mask_token: str | None, need_mask: bool
) -> tuple[int, int, tuple[int, ...]]:
    """Ids of the padding, of what stands for a masked token, and of all that is never masked."""
    pad = text.pad_token_id if text.pad_token_id is not None else text.eos_token_id
    pad_token = read.tokenizer_settings.get("pad_token")
    pad_token = pad_token.get("content") if isinstance(pad_token, Mapping) else pad_token
    if engine.padding:
        pad = engine.padding["pad_id"]
    elif isinstance(pad_token, str) and engine.token_to_id(pad_token) is not None:
        pad = engine.token_to_id(pad_token)
    names = (mask_token,) if mask_token else MASKS
    mask_ids = [engine.token_to_id(name) for name in names]
    mask = next((token_id for token_id in mask_ids if token_id is not None), None)
    if mask is None and not need_mask:
        mask = pad
    if mask is None:
        raise R2D2Error(
            f"the vocabulary of {read.name} has no {' or '.join(names)}: name a token of it, "
            "rarely used, that shall stand for masked ones, by --mask-token"
        )
    added = engine.get_added_tokens_decoder()
    special = {index for index, token in added.items() if token.special}
    special |= {text.bos_token_id, text.eos_token_id, pad, mask}
    return pad, mask, tuple(sorted(i for i in special if isinstance(i, int)))


def _fill(state: dict[str, Tensor], read: RawCheckpoint) -> SourceReport:
    """Put the towers into `state`; every tensor is used, or has a reason."""
    used: list[TensorMapping] = []
    unused: dict[str, str] = {}
    for name, tensor in read.tensors.items():
        if name == "logit_scale":
            state["log_temperature"] = -tensor.float().reshape(())
            used.append(TensorMapping("log_temperature", (name,), "tau = exp(-scale)"))
            continue
        if name == "logit_bias":
            state[name] = tensor.float().reshape(())
            used.append(TensorMapping(name, (name,), ""))
            continue
        ours = next(
            (new + name.removeprefix(old) for old, new in PREFIXES if name.startswith(old)), ""
        )
        if ours not in state:
            unused[name] = _reason(name)
            continue
        if tensor.shape != state[ours].shape:
            raise R2D2Error(
                f"{read.name}: {name} has shape {tuple(tensor.shape)} where {ours} has "
                f"{tuple(state[ours].shape)}: config.json is another model's"
            )
        read.refuse_not_finite({name: tensor})
        stored = "" if tensor.dtype == torch.float32 else f"stored as {tensor.dtype}"
        state[ours] = tensor.float().clone()
        used.append(TensorMapping(ours, (name,), stored))
    return SourceReport(read.name, "towers", tuple(used), unused | read.beside)


def _reason(name: str) -> str:
    if name.rsplit(".", 1)[-1] in SUMMED:
        return "counters, not weights"
    if ".pooler." in name:
        return "its embedding does not pass there"
    return "no part of the towers"


def _notes(config: ModelConfig) -> tuple[str, ...]:
    hf_towers = config.hf_towers
    assert hf_towers is not None
    notes = []
    family = family_of(hf_towers.kind)
    if family.sigmoid:
        notes.append(
            "tau and the bias come from a sigmoid loss, which training goes on with; "
            "objectives.contrast=softmax takes the other"
        )
    if family.flexible:
        notes.append(f"pictures are squeezed to {config.vision.image_size} pixels, square")
    return tuple(notes)
