"""Chinese-CLIP (arXiv 2211.01335): Hugging Face's ChineseCLIPModel, and the original .pt.

The original names the image tower as OpenAI's CLIP does, with query, key and value in one map, and
multiplies its projections from the right.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from r2d2.config import ModelConfig
from r2d2.errors import R2D2Error
from r2d2.model.families import ChineseClip
from r2d2.weights import bert, clip_vision
from r2d2.weights.layout import (
    BIASES,
    LEFT_OUT,
    CanonicalCheckpoint,
    ImportOptions,
    Layout,
    PartConfigs,
    PickledFile,
    State,
    biases_that_are_not_zero,
)
from r2d2.weights.rules import (
    Rule,
    both,
    fused_attention,
    same,
    temperature,
    transposed,
)

TEXT_LENGTH, LONGEST_WORD = ChineseClip.usual_length, ChineseClip.longest_word
ORIGINAL_POSITIONS, ORIGINAL_SEGMENTS = 512, 2  # rows of the tables that the original code builds
_WHOLE = frozenset({"vision", "text", "pooled_norm", "image_projection", "text_projection"})


_NAMES = clip_vision.VisionNames(  # in the original .pt
    patches="visual.conv1.weight",
    class_embedding="visual.class_embedding",
    positions="visual.positional_embedding",
    input_norm="visual.ln_pre",
    layers="visual.transformer.resblocks.",
    parts=("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj"),
    attention=lambda ours, layer: fused_attention("vision", ours, f"{layer}.attn"),
)


def _hf_recognises(names: Set[str]) -> bool:
    required = {"text_model.embeddings.word_embeddings.weight", "vision_model.pre_layrnorm.weight"}
    return required <= names


def _hf_parts(checkpoint: CanonicalCheckpoint, options: ImportOptions) -> PartConfigs:
    names = clip_vision.hf_names("vision_model.")
    config = checkpoint.section("vision_config")
    return PartConfigs(
        vision=clip_vision.vision_config(checkpoint, names, config, options, pooled_norm=True),
        text=bert.text_config(
            checkpoint, "text_model.", checkpoint.section("text_config"), options, TEXT_LENGTH
        ),
        cross_layers=0,
        embed_dim=checkpoint.sizes("text_projection.weight", 2)[0],
        projection_bias=False,
    )


def _hf_rules(config: ModelConfig) -> list[Rule]:
    return [
        *clip_vision.vision_rules(config.vision, clip_vision.hf_names("vision_model.")),
        *clip_vision.pooled_rules("vision_model."),
        *bert.text_rules(config.text, "text_model."),
        same("text_projection", "towers.text_projection.weight", "text_projection.weight"),
        temperature("temperature", "logit_scale", scale=True),
    ]


def _hf_config(config: ModelConfig, tensors: State) -> dict[str, Any]:
    """Our settings as Hugging Face's ChineseCLIPConfig names them."""
    vision = clip_vision.clip_config(config.vision, config.embed_dim)
    return {
        "architectures": ["ChineseCLIPModel"],
        "model_type": "chinese_clip",
        "projection_dim": config.embed_dim,
        "vision_config": {**vision, "model_type": "chinese_clip_vision_model"},
        "text_config": {**bert.bert_config(config), "model_type": "chinese_clip_text_model"},
    }


def _hf_refusals(config: ModelConfig, state: State) -> list[str]:
    why = clip_vision.not_clip(config.vision)
    if not config.vision.pooled_norm:
        why.append("model.vision.pooled_norm is off, there V_[CLS] is always normed")
    return [*why, *biases_that_are_not_zero(state, *BIASES)]


HF_LAYOUT = Layout(
    name="chinese_clip",
    about="Chinese-CLIP: Hugging Face's ChineseCLIPModel",
    canonical=bert.modern,
    recognises=_hf_recognises,
    parts=_hf_parts,
    rules=_hf_rules,
    required=_WHOLE,
    unused={**bert.COUNTERS},
    refusals=_hf_refusals,
    left_out=LEFT_OUT,
    hf_config=_hf_config,
    longest_word=LONGEST_WORD,
)


def _recognises(names: Set[str]) -> bool:
    if "visual.layer1.0.conv1.weight" in names and "text_projection" in names:
        raise R2D2Error(
            "this is a CLIP with a ResNet (RN50): our image encoder is a ViT, give one of those"
        )
    return {"visual.class_embedding", "bert.embeddings.word_embeddings.weight"} <= names


def _parts(checkpoint: CanonicalCheckpoint, options: ImportOptions) -> PartConfigs:
    return PartConfigs(
        vision=clip_vision.vision_config(checkpoint, _NAMES, {}, options, pooled_norm=True),
        text=bert.text_config(checkpoint, "bert.", {}, options, TEXT_LENGTH),
        cross_layers=0,
        embed_dim=checkpoint.sizes("text_projection", 2)[1],
        projection_bias=False,
    )


def _rules(config: ModelConfig) -> list[Rule]:
    return [
        *clip_vision.vision_rules(config.vision, _NAMES),
        *both("pooled_norm", "towers.pooled_norm", "visual.ln_post"),
        transposed("image_projection", "towers.image_projection.weight", "visual.proj"),
        *bert.text_rules(
            config.text, "bert.", positions=ORIGINAL_POSITIONS, segments=ORIGINAL_SEGMENTS
        ),
        transposed("text_projection", "towers.text_projection.weight", "text_projection"),
        temperature("temperature", "logit_scale", scale=True),
    ]


def _refusals(config: ModelConfig, state: State) -> list[str]:
    """The original code fixes the activation, the norm and the feed-forward of both towers."""
    fixed = clip_vision.not_fixed(config.vision)
    return [*fixed, *bert.plain_bert(config.text), *_hf_refusals(config, state)]


def _export_notes(config: ModelConfig) -> list[str]:
    return [
        "position tables are filled with zeros up to 512 rows: keep context_length at "
        f"{config.text.max_length} or less"
    ]


LAYOUT = Layout(
    name="chinese_clip_pt",
    about="Chinese-CLIP: the original .pt",
    canonical=bert.modern,
    recognises=_recognises,
    parts=_parts,
    rules=_rules,
    required=_WHOLE,
    unused={**bert.COUNTERS},
    refusals=_refusals,
    left_out=LEFT_OUT,
    pickle=PickledFile("clip.pt", "state_dict", {"epoch": 0, "step": 0, "name": "r2d2"}),
    # the original code tells by this prefix how to read a file
    written_name=lambda name, state: f"module.{name}",
    export_notes=_export_notes,
    longest_word=LONGEST_WORD,
)
