"""CLIP's vision tower in Hugging Face's layout, out of CLIPModel or one of its vision models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from r2d2.config import ModelConfig, VisionConfig
from r2d2.errors import R2D2Error
from r2d2.weights.interpolate import square_grid
from r2d2.weights.layout import (
    BIASES,
    CanonicalCheckpoint,
    ImportOptions,
    Layout,
    PartConfigs,
    State,
    biases_that_are_not_zero,
    four_times,
    other_settings,
)
from r2d2.weights.rules import Rule, attention, both, image_positions, patches, same

OURS = "towers.vision"
_PARTS = ("attention_norm", "feed_forward_norm", "feed_forward.0", "feed_forward.2")
_BARE = ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")  # CLIPVisionModel's own


@dataclass(frozen=True)
class VisionNames:
    """The names that a layout has for the parts of CLIP's image tower."""

    patches: str  # the convolution
    class_embedding: str
    positions: str
    input_norm: str  # without the end, "weight" or "bias"
    layers: str  # up to the number of a layer
    parts: tuple[str, str, str, str]  # of a layer, in the order of `_PARTS`
    attention: Callable[[str, str], list[Rule]]  # of our attention, from the name of a layer


def vision_config(
    checkpoint: CanonicalCheckpoint,
    names: VisionNames,
    config: Mapping[str, Any],
    options: ImportOptions,
    *,
    pooled_norm: bool,
) -> VisionConfig:
    """The image tower's settings: sizes from the tensors, the rest from `config`.

    Args:
        checkpoint: the source.
        names: of its image tower.
        config: the part of config.json on the image encoder; empty where there is none.
        options: the user's.
        pooled_norm: whether the norm before the projection is taken along.
    """
    width, channels, height, patch_size = checkpoint.sizes(names.patches, 4)
    if channels != 3 or height != patch_size:
        raise R2D2Error(
            f"{checkpoint.name}: patches of {channels} x {height} x {patch_size}: only square ones "
            "of three colours are read"
        )
    grid = square_grid(checkpoint.sizes(names.positions, 2)[0])[0]
    layers, inner = checkpoint.count(names.layers), 4 * width
    if layers:
        inner = checkpoint.sizes(f"{names.layers}0.{names.parts[2]}.weight", 2)[0]
    checkpoint.agree(
        config,
        {
            "hidden_size": width,
            "num_hidden_layers": layers,
            "intermediate_size": inner,
            "patch_size": patch_size,
        },
    )
    image_size = int(checkpoint.number(config, "image_size", grid * patch_size))
    if image_size // patch_size != grid:
        raise R2D2Error(
            f"{checkpoint.name}: config.json says {image_size} pixels, {image_size // patch_size} "
            f"patches a side, and the weights have {grid}: give the config.json saved with them"
        )
    return VisionConfig(
        image_size=options.image_size or grid * patch_size,
        patch_size=patch_size,
        width=width,
        layers=layers,
        heads=checkpoint.heads(config, width, options.vision_heads, "vision"),
        pooled_norm=pooled_norm,
        inner_width=four_times(inner, width),
        activation=checkpoint.activation(config, "quick_gelu"),
        norm_eps=checkpoint.number(config, "layer_norm_eps", 1e-5),
    )


def hf_names(prefix: str) -> VisionNames:
    """The names in Hugging Face's layout, behind `prefix`, which ends with the dot."""
    return VisionNames(
        patches=f"{prefix}embeddings.patch_embedding.weight",
        class_embedding=f"{prefix}embeddings.class_embedding",
        positions=f"{prefix}embeddings.position_embedding.weight",
        input_norm=f"{prefix}pre_layrnorm",
        layers=f"{prefix}encoder.layers.",
        parts=("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"),
        attention=_hf_attention,
    )


def _hf_attention(ours: str, layer: str) -> list[Rule]:
    maps = ("q_proj", "k_proj", "v_proj", "out_proj")
    return attention("vision", ours, [f"{layer}.self_attn.{name}" for name in maps])


def vision_rules(config: VisionConfig, names: VisionNames) -> list[Rule]:
    """Our image tower from a CLIP's under its `names`."""
    part, side = "vision", config.image_size // config.patch_size
    rules = [
        patches(part, f"{OURS}.patch_embedding.weight", names.patches, config.patch_size),
        same(part, f"{OURS}.class_embedding", names.class_embedding),
        image_positions(part, f"{OURS}.position_embedding", names.positions, side),
        *both(part, f"{OURS}.input_norm", names.input_norm),
    ]
    for i in range(config.layers):
        ours, layer = f"{OURS}.layers.{i}", f"{names.layers}{i}"
        rules += names.attention(f"{ours}.attention", layer)
        for own, theirs in zip(_PARTS, names.parts, strict=True):
            rules += both(part, f"{ours}.{own}", f"{layer}.{theirs}")
    return rules


def pooled_rules(theirs: str) -> list[Rule]:
    """The norm of V_[CLS] and the projection after it, as CLIP and Chinese-CLIP have them."""
    return [
        *both("pooled_norm", "towers.pooled_norm", f"{theirs}post_layernorm"),
        same("image_projection", "towers.image_projection.weight", "visual_projection.weight"),
    ]


def _canonical(name: str) -> str:
    return f"vision_model.{name}" if name.startswith(_BARE) else name


def _recognises(names: Set[str]) -> bool:
    return "vision_model.pre_layrnorm.weight" in names


def _parts(checkpoint: CanonicalCheckpoint, options: ImportOptions) -> PartConfigs:
    config = checkpoint.section("vision_config") or checkpoint.config
    keep = options.keep_projection
    vision = vision_config(checkpoint, hf_names("vision_model."), config, options, pooled_norm=keep)
    if not keep:
        return PartConfigs(vision=vision)
    projection = "visual_projection.weight"
    width = checkpoint.sizes(projection, 2)[0] if projection in checkpoint.tensors else None
    return PartConfigs(vision=vision, embed_dim=width, projection_bias=False)


def _rules(config: ModelConfig) -> list[Rule]:
    pooled = pooled_rules("vision_model.") if config.vision.pooled_norm else []
    return [*vision_rules(config.vision, hf_names("vision_model.")), *pooled]


COUNTER = {r".*embeddings\.position_ids$": "a counter, not weights"}
_CLIP_SPACE = "leads into the space of CLIP's own text encoder; --keep-projection takes it along"


def clip_config(config: VisionConfig, embed_dim: int) -> dict[str, Any]:
    """The image tower's settings as Hugging Face's CLIPVisionConfig names them."""
    return {
        "model_type": "clip_vision_model",
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": 3,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.inner_width or 4 * config.width,
        "hidden_act": config.activation,
        "layer_norm_eps": config.norm_eps,
        "attention_dropout": 0.0,
        "projection_dim": embed_dim,
    }


def _hf_config(config: ModelConfig, tensors: State) -> dict[str, Any]:
    projected = "visual_projection.weight" in tensors
    name = "CLIPVisionModelWithProjection" if projected else "CLIPVisionModel"
    return {"architectures": [name], **clip_config(config.vision, config.embed_dim)}


def _refusals(config: ModelConfig, state: State) -> list[str]:
    biases = BIASES[:1] if config.vision.pooled_norm else ()
    return [*not_clip(config.vision), *biases_that_are_not_zero(state, *biases)]


def _written_name(name: str, state: State) -> str:
    projected = "towers.pooled_norm.weight" in state
    return name if projected else name.removeprefix("vision_model.")


def _export_notes(config: ModelConfig) -> list[str]:
    if config.vision.pooled_norm:
        return []
    return [
        "post_layernorm is not written, ours has none: use last_hidden_state, not pooler_output"
    ]


LAYOUT = Layout(
    name="clip",
    about="CLIP's vision tower: Hugging Face's CLIPModel, CLIPVisionModel(WithProjection)",
    canonical=_canonical,
    recognises=_recognises,
    parts=_parts,
    rules=_rules,
    required=frozenset({"vision"}),
    unused={
        **COUNTER,
        r"text_model\.|text_projection\.": "CLIP's own text encoder, which is no BERT",
        r"logit_scale$": "the temperature of CLIP's own pair of encoders",
        r"visual_projection\.": _CLIP_SPACE,
        r"vision_model\.post_layernorm\.": f"stands before visual_projection, which {_CLIP_SPACE}",
    },
    refusals=_refusals,
    left_out={"": "the layout holds an image encoder only"},
    hf_config=_hf_config,
    written_name=_written_name,
    export_notes=_export_notes,
    has_vocabulary=False,
)


def not_clip(config: VisionConfig) -> list[str]:
    """Why CLIP's code cannot hold an image tower."""
    why = []
    if config.output_norm:
        why.append("model.vision.output_norm is on, a norm on V that is nowhere there")
    if config.stem != "patch":
        why.append(f"model.vision.stem is {config.stem}, there each patch is mapped by itself")
    return why


def not_fixed(config: VisionConfig) -> list[str]:
    """Which settings of an image tower differ from those that OpenAI's own code fixes."""
    return other_settings(
        config, "model.vision", {"inner_width": 0, "activation": "quick_gelu", "norm_eps": 1e-5}
    )
