"""BERT and RoBERTa-wwm-ext in Hugging Face's layout, old names (gamma, beta) included."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from r2d2.config import ModelConfig, TextConfig
from r2d2.errors import R2D2Error
from r2d2.tokenizer import MAX_LENGTH
from r2d2.weights.layout import (
    CanonicalCheckpoint,
    ImportOptions,
    Layout,
    PartConfigs,
    State,
    four_times,
    other_settings,
)
from r2d2.weights.rules import Rule, attention, both, first_row, first_rows, same

OURS = "towers.text"

COUNTERS = {  # patterns of names, after any prefix
    r"(.*\.)?embeddings\.(position|token_type)_ids$": "a counter, not weights",
    r"(.*\.)?pooler\.": "our embedding is a projection of T_[CLS] itself",
}


def modern(name: str) -> str:
    """Return a name in the form that files since 2019 have."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def text_config(
    checkpoint: CanonicalCheckpoint,
    prefix: str,
    config: Mapping[str, Any],
    options: ImportOptions,
    length: int = MAX_LENGTH,
) -> TextConfig:
    """Return the text tower's settings: sizes from the tensors, the rest from `config`.

    Args:
        checkpoint: the source.
        prefix: of its names, with the dot.
        config: the part of config.json on the text encoder; empty where there is none, or where
            the layout's own code fixes the rest.
        options: the user's.
        length: tokens at which its own code cuts a text.
    """
    vocab, width = checkpoint.sizes(f"{prefix}embeddings.word_embeddings.weight", 2)
    positions = checkpoint.sizes(f"{prefix}embeddings.position_embeddings.weight", 2)[0]
    layers = checkpoint.count(f"{prefix}encoder.layer.")
    inner = 4 * width
    if layers:
        inner = checkpoint.sizes(f"{prefix}encoder.layer.0.intermediate.dense.weight", 2)[0]
    checkpoint.agree(
        config,
        {
            "vocab_size": vocab,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "intermediate_size": inner,
        },
    )
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise R2D2Error(
            f"{checkpoint.name}: {kind} position embeddings: only absolute ones are read"
        )
    length = options.max_length or min(length, options.fresh.text.max_length, positions)
    if length > positions:
        raise R2D2Error(
            f"{checkpoint.name} has {positions} text positions, fewer than the {length} asked for: "
            f"give --max-length {positions} or less"
        )
    return TextConfig(
        vocab_size=vocab,
        max_length=length,
        width=width,
        layers=layers,
        heads=checkpoint.heads(config, width, options.text_heads, "text"),
        inner_width=four_times(inner, width),
        activation=checkpoint.activation(config, "gelu"),
        norm_eps=checkpoint.number(config, "layer_norm_eps", 1e-12),
    )


def text_rules(
    config: TextConfig, theirs: str, *, positions: int = 0, segments: int = 1
) -> list[Rule]:
    """Return the rules that make our text tower from a BertModel.

    Args:
        config: ours.
        theirs: prefix of their names, with the dot.
        positions: rows of their position table when written; 0: as many as ours.
        segments: rows of their segment table when written.
    """
    part, embeddings = "text", f"{theirs}embeddings"
    rules = [
        same(part, f"{OURS}.token_embedding.weight", f"{embeddings}.word_embeddings.weight"),
        first_rows(
            part,
            f"{OURS}.position_embedding",
            f"{embeddings}.position_embeddings.weight",
            config.max_length,
            positions,
        ),
        first_row(
            part,
            f"{OURS}.segment_embedding",
            f"{embeddings}.token_type_embeddings.weight",
            segments,
        ),
        *both(part, f"{OURS}.input_norm", f"{embeddings}.LayerNorm"),
    ]
    for i in range(config.layers):
        rules += layer_rules(part, f"{OURS}.layers.{i}", f"{theirs}encoder.layer.{i}")
    return rules


def layer_rules(part: str, ours: str, theirs: str) -> list[Rule]:
    """Return the rules of a BERT layer, without those that only a cross encoder's layer has."""
    return [
        *attention_rules(part, f"{ours}.attention", f"{theirs}.attention"),
        *both(part, f"{ours}.feed_forward.0", f"{theirs}.intermediate.dense"),
        *both(part, f"{ours}.feed_forward.2", f"{theirs}.output.dense"),
        *both(part, f"{ours}.feed_forward_norm", f"{theirs}.output.LayerNorm"),
    ]


def attention_rules(part: str, ours: str, theirs: str) -> list[Rule]:
    """BertAttention: `self`, and `output` with the norm after it."""
    inside = [f"{theirs}.self.{name}" for name in ("query", "key", "value")]
    return [
        *attention(part, ours, (*inside, f"{theirs}.output.dense")),
        *both(part, f"{ours}_norm", f"{theirs}.output.LayerNorm"),
    ]


def _canonical(name: str) -> str:
    return modern(name).removeprefix("bert.")


def _recognises(names: Set[str]) -> bool:
    return "embeddings.word_embeddings.weight" in names


def _parts(checkpoint: CanonicalCheckpoint, options: ImportOptions) -> PartConfigs:
    model_type = checkpoint.config.get("model_type", "bert")
    if model_type != "bert":
        raise R2D2Error(
            f"{checkpoint.name} is a {model_type} by its config.json: of text encoders, only bert "
            "is read, which RoBERTa-wwm-ext and MacBERT are too"
        )
    return PartConfigs(text=text_config(checkpoint, "", checkpoint.config, options))


def _rules(config: ModelConfig) -> list[Rule]:
    head = "cls.predictions"
    return [
        *text_rules(config.text, ""),
        *both("mlm", "mlm_head.dense", f"{head}.transform.dense"),
        *both("mlm", "mlm_head.norm", f"{head}.transform.LayerNorm"),
        same("mlm", "mlm_head.bias", f"{head}.bias"),
    ]


def bert_config(model: ModelConfig) -> dict[str, Any]:
    """The text tower's settings as Hugging Face's BertConfig names them."""
    config = model.text
    return {
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.inner_width or 4 * config.width,
        "hidden_act": config.activation,
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.dropout,
        "max_position_embeddings": config.max_length,
        "type_vocab_size": 1,
        "layer_norm_eps": config.norm_eps,
    }


def _hf_config(model: ModelConfig, tensors: State) -> dict[str, Any]:
    name = "BertForMaskedLM" if "cls.predictions.bias" in tensors else "BertModel"
    return {"architectures": [name], **bert_config(model)}


def _written_name(name: str, state: State) -> str:
    with_head = "mlm_head.bias" in state and not name.startswith("cls.")
    return f"bert.{name}" if with_head else name


LAYOUT = Layout(
    name="bert",
    about="BERT, RoBERTa-wwm-ext, MacBERT: Hugging Face's layout",
    canonical=_canonical,
    recognises=_recognises,
    parts=_parts,
    rules=_rules,
    required=frozenset({"text"}),
    unused={**COUNTERS, r"cls\.seq_relationship\.": "next-sentence prediction: no such objective"},
    copies={
        "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    refusals=lambda config, state: [],
    left_out={"": "the layout holds a text encoder only"},
    hf_config=_hf_config,
    written_name=_written_name,
)


def plain_bert(config: TextConfig) -> list[str]:
    """Why code that fixes BERT's activation, norm and feed-forward cannot hold a text tower."""
    return other_settings(
        config, "model.text", {"inner_width": 0, "activation": "gelu", "norm_eps": 1e-12}
    )
