"""The official R2D2 and PRD2 checkpoints (github.com/yuxie11/R2D2): a dict with the key `model`.

Read from its code: V is `last_hidden_state`, so CLIP's post_layernorm is there and unused; the
projections have biases; `temp` is tau itself; the cross encoders get hidden states, so that their
embedding tables are there and unused; match is the mean of both heads' softmax.
"""

from __future__ import annotations

from collections.abc import Set

from r2d2.config import ModelConfig
from r2d2.weights import bert, clip_vision
from r2d2.weights.layout import (
    LEFT_OUT,
    CanonicalCheckpoint,
    ImportOptions,
    Layout,
    PartConfigs,
    PickledFile,
)
from r2d2.weights.rules import Rule, both, temperature

POSITIONS, SEGMENTS = 512, 2  # rows of the tables that its text encoder has
IMAGE_SIZE, TEXT_LENGTH = 224, 64  # pixels and tokens that its scripts train with
_JOINT = {"text_to_image": "text_joint_layer", "image_to_text": "img_joint_layer"}


def _recognises(names: Set[str]) -> bool:
    required = (
        "visual_encoder.embeddings.class_embedding",
        "text_encoder.embeddings.LayerNorm.bias",
    )
    return set(required) <= names


def _parts(checkpoint: CanonicalCheckpoint, options: ImportOptions) -> PartConfigs:
    names = clip_vision.hf_names("visual_encoder.")
    return PartConfigs(
        vision=clip_vision.vision_config(checkpoint, names, {}, options, pooled_norm=False),
        text=bert.text_config(checkpoint, "text_encoder.", {}, options),
        cross_layers=max(checkpoint.count(f"{joint}.encoder.layer.") for joint in _JOINT.values()),
        embed_dim=checkpoint.sizes("vision_proj.weight", 2)[0],
        projection_bias=True,
    )


def _rules(config: ModelConfig) -> list[Rule]:
    rules = [
        *clip_vision.vision_rules(config.vision, clip_vision.hf_names("visual_encoder.")),
        *bert.text_rules(config.text, "text_encoder.", positions=POSITIONS, segments=SEGMENTS),
        *both("projections", "towers.image_projection", "vision_proj"),
        *both("projections", "towers.text_projection", "text_proj"),
        temperature("temperature", "temp", scale=False),
    ]
    for ours, theirs in _JOINT.items():
        for i in range(config.cross_layers):
            layer, joint = f"{ours}.layers.{i}", f"{theirs}.encoder.layer.{i}"
            rules += bert.layer_rules(ours, layer, joint)
            rules += bert.attention_rules(
                ours, f"{layer}.cross_attention", f"{joint}.crossattention"
            )
    if config.cross_layers:
        rules += both("image_to_text", "image_cross_projection", "img_joint_proj")
        rules += both("text_to_image", "match_head_text", "itm_head")
        rules += both("image_to_text", "match_head_image", "itm_head_i")
    return rules


def _export_notes(config: ModelConfig) -> list[str]:
    notes = [
        "position tables are filled with zeros up to 512 rows, which texts of "
        f"{config.text.max_length} tokens never reach; pooler, post_layernorm and the cross "
        "encoders' embedding tables are not written, its forward pass never reads them"
    ]
    size = other_size(config)
    return [*notes, size] if size else notes


LAYOUT = Layout(
    name="official",
    about="R2D2 and PRD2: the official .pth",
    canonical=bert.modern,
    recognises=_recognises,
    parts=_parts,
    rules=_rules,
    required=frozenset({"vision", "text", "projections", "temperature"}),
    unused={
        **bert.COUNTERS,
        r"visual_encoder\.post_layernorm\.": "the official forward pass reads V before this norm",
        r"(text|img)_joint_layer\.embeddings\.": "the cross encoders are given hidden states",
        r"(text|img)_joint_layer\.|img_joint_proj\.|itm_head": "the model asked for has no such",
        r".*_m(\.|$)": "a momentum teacher; training makes its own",
        r".*queue": "a queue of training",
        r"idx_": "a queue of training",
    },
    refusals=lambda config, state: not_official(config),
    left_out=LEFT_OUT,
    pickle=PickledFile("model.pth", "model"),
    export_notes=_export_notes,
    biased=True,
    top_k=128,  # in the official setting for Flickr30k-CNA
)


def not_official(config: ModelConfig) -> list[str]:
    """Why the official code cannot hold a model of ours."""
    vision = config.vision
    why = [*clip_vision.not_clip(vision), *clip_vision.not_fixed(vision)]
    why += bert.plain_bert(config.text)
    if vision.pooled_norm:
        why.append("model.vision.pooled_norm is on, there V_[CLS] is never normed")
    return why


def unlike_official(config: ModelConfig) -> str | None:
    """What of a model the official fine-tuning does not have; None: it has all of it."""
    if config.hf_towers is not None:
        return f"its towers are {config.hf_towers.kind}'s"
    if not config.cross_layers:
        return "it has no cross encoders"
    if reasons := not_official(config):
        return reasons[0]
    if other_size(config):
        return (
            "it is neither ViT-B/16 nor ViT-L/14 with BERT-base, a width of 768 and 6 cross layers"
        )
    numbers = {
        "model.vision.image_size": (config.vision.image_size, IMAGE_SIZE),
        "model.text.max_length": (config.text.max_length, TEXT_LENGTH),
        "model.projection_bias": (config.projection_bias, True),
    }
    for name, (ours, theirs) in numbers.items():
        if ours != theirs:
            return f"{name} is {ours}, there {theirs}"
    return None


def other_size(config: ModelConfig) -> str | None:
    """What of a model's size the official code does not build by itself."""
    vision, text = config.vision, config.text
    known = {(16, 768, 12, 12), (14, 1024, 24, 16)}
    size = (vision.patch_size, vision.width, vision.layers, vision.heads)
    usual = (text.width, text.layers, text.heads, config.embed_dim) == (768, 12, 12, 768)
    if size in known and usual and config.cross_layers in (0, 6):
        return None
    return "the official code builds ViT-B/16 and ViT-L/14 with 6 cross layers only: edit its files"
